#!/usr/bin/env bash
# Sends every Claude Code of this user to the local Pensieve (global mode), or takes that back.
#
#   setup-claude-code.sh [--lite | --full] [--port N] [--model NAME]    set up; safe to repeat
#   setup-claude-code.sh ... --dry-run    shows what would change
#   setup-claude-code.sh --undo           gives back what was changed
#   setup-claude-code.sh --status         says whether it is set up (exit code 3: it is not)
#
# Writes the variables that claude-local sets for one terminal into the "env" block of
# ~/.claude/settings.json ($CLAUDE_CONFIG_DIR), keeps everything else there, and makes a copy first.
# scripts/claude-local needs none of this.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
action=apply
options=()

while [ $# -gt 0 ]; do
    case $1 in
    --undo | --status | --dry-run) action=${1#--} ;;
    --lite | --full | --port=*) options+=("$1") ;;
    --port | --model) options+=("$1" "${2:?$1 needs a value}"); shift ;;
    -h | --help)
        sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0"
        exit 0 ;;
    *)
        printf 'setup-claude-code: unknown option %s; see --help\n' "$1" >&2
        exit 64 ;;
    esac
    shift
done

program=$here/claude_settings.py
[ -e "$program" ] || program=$here/../share/pensieve/claude_settings.py
if ! command -v python3 >/dev/null; then
    echo "setup-claude-code: python3 is missing; scripts/claude-local works without it" >&2
    exit 1
fi

case $action in
apply | dry-run)
    # Claude-local knows the variables, starts the server where none runs, and says why it chooses
    # the short prompt if it does.
    variables=$("$here/claude-local" ${options[@]+"${options[@]}"} --print-env)
    ;;
*) variables= ;;
esac
printf '%s\n' "$variables" |
    python3 "$program" "${CLAUDE_CONFIG_DIR:-$HOME/.claude}" "$action"
