# shellcheck shell=bash
# What every script of tools/ shares: where things are, how it talks, hashes and locks.  Sourced,
# never run.  Kept to bash 3.2, which macOS ships.
#
# Talk goes to stderr, so that a script's standard output is its result alone.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/pensieve
OS=$(uname -s)

if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then
    BOLD=$'\033[1m' RED=$'\033[31m' PLAIN=$'\033[0m'
else
    BOLD='' RED='' PLAIN=''
fi

# say TEXT: one step, as the user reads it.
say() {
    printf '%s==> %s%s\n' "$BOLD" "$*" "$PLAIN" >&2
}

# note TEXT: a detail under a step.
note() {
    printf '    %s\n' "$*" >&2
}

# die TEXT...: what went wrong, then one line per remedy.
die() {
    printf '%serror:%s %s\n' "$RED" "$PLAIN" "$1" >&2
    shift
    for line in "$@"; do
        note "$line"
    done
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

cores() {
    getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2
}

# The system's own Python on Linux: one in a user's home folder (pyenv, conda) cannot be run by the
# unprivileged user that tools/fetch-sources works as.
python_path() {
    if [ "$OS" = Linux ] && [ -x /usr/bin/python3 ]; then
        echo /usr/bin/python3
    else
        command -v python3 || die "python3 is missing" "Run: make setup"
    fi
}

# sha256 [FILE...]: the digest of the files' bytes joined, or of standard input.
sha256() {
    if have sha256sum; then
        cat "$@" | sha256sum | cut -d ' ' -f 1
    else
        cat "$@" | shasum -a 256 | cut -d ' ' -f 1
    fi
}

# lock NAME: one holder at a time per user; released when the script ends.  The lock belongs to file
# descriptor 9, which Python only helps to take, as macOS has no flock(1).
lock() {
    local program='
import fcntl, sys
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    print("    waiting for another run that holds the lock", file=sys.stderr, flush=True)
    fcntl.flock(9, fcntl.LOCK_EX)
'
    mkdir -p "$CACHE"
    exec 9>"$CACHE/$1.lock"
    "$(python_path)" -c "$program"
}

# python_env_path REQUIREMENTS: the folder where python_env keeps that file's packages.
python_env_path() {
    local python key
    python=$(python_path)
    key=$({ cat "$1"; echo "$python"; "$python" -V; } | sha256)
    echo "$CACHE/python/${key:0:16}"
}

# python_env REQUIREMENTS: prints the folder of a virtual environment that holds exactly the pinned
# packages of that file.  Made once; an interrupted installation is made anew.
python_env() {
    local requirements=$1 folder
    folder=$(python_env_path "$requirements")
    if [ ! -e "$folder/complete" ]; then
        say "Installing the Python packages of ${requirements#"$ROOT"/}"
        rm -rf "$folder"
        mkdir -p "$CACHE/python"
        "$(python_path)" -m venv "$folder" >&2
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
            --only-binary=:all: --require-hashes -r "$requirements" >&2 ||
            die "pip could not install them" \
                "Check the network and pip's settings (pip config list), then run this again."
        touch "$folder/complete"
    fi
    echo "$folder"
}

# client_path: the folder where tools/install-client keeps the Claude Code of the tests.
client_path() {
    echo "$CACHE/client/$(sha256 "$ROOT/tests/client/package-lock.json" | cut -c 1-16)"
}

# Where one names no options of one's own.  The dependencies are not instrumented, so a standard
# container that they and we both touch must not be checked for overflow.
export_sanitizer_options() {
    export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_stack_use_after_return=1:strict_string_checks=1:detect_container_overflow=0}
    export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
    export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1}
}
