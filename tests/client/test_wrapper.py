"""scripts/claude-local: what it decides, what it sets, and that it is claude itself otherwise."""
import json
import os
import pathlib
import pty
import select
import shlex
import shutil
import subprocess
import time

import pytest
from support.claude_code import claude, environment, run_in
from support.health_server import HealthServer
from support.pensieve_server import KEY, script_server

WRAPPER = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "claude-local"
SHOW_ENV = "#!/bin/sh\nenv\n"
SHOW_ARGUMENTS = '#!/bin/sh\nfor a in "$@"; do printf "[%s]" "$a"; done\nexit 37\n'


@pytest.fixture(scope="module")
def scripted():
    with script_server() as s:
        yield s


def fake_claude(folder, script):
    fake = folder / "claude"
    fake.write_text(script)
    fake.chmod(0o755)
    return {"HOME": str(folder), "PATH": "/usr/bin:/bin", "PENSIEVE_CLAUDE": str(fake)}


def wrapper(folder, server, *arguments, script=SHOW_ENV, extra=None):
    env = {**fake_claude(folder, script), "ANTHROPIC_API_KEY": "cloud-key", **(extra or {})}
    return subprocess.run([str(WRAPPER), "--port", str(server.port), *arguments], env=env,
                          capture_output=True, text=True, timeout=60)


def variables(done):
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


# ---- It is claude, set up for this server ----


def test_it_sets_this_process_only(scripted, tmp_path):
    seen = variables(wrapper(tmp_path, scripted, "--lite"))
    assert seen["ANTHROPIC_BASE_URL"] == scripted.url
    assert seen["ANTHROPIC_AUTH_TOKEN"] == KEY
    assert seen["ANTHROPIC_MODEL"] == "claude-local-script"
    assert seen["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "32768"
    assert seen["CLAUDE_CODE_SIMPLE"] == "1"
    assert "ANTHROPIC_API_KEY" not in seen
    assert "ANTHROPIC_BASE_URL" not in os.environ
    assert [p.name for p in tmp_path.iterdir()] == ["claude"], "no file was written"


def test_it_hands_everything_on(scripted, tmp_path):
    done = wrapper(tmp_path, scripted, "--full", "--print", "a b", "", "--model", "x", "$HOME",
                   script=SHOW_ARGUMENTS)
    assert done.returncode == 37
    assert done.stdout == "[--print][a b][][--model][x][$HOME]"
    killed = wrapper(tmp_path, scripted, script="#!/bin/sh\nkill -TERM $$\n")
    assert killed.returncode == -15


def test_two_of_them_beside_each_other_do_not_mix(scripted, tmp_path):
    with HealthServer() as other:
        one, two = tmp_path / "one", tmp_path / "two"
        one.mkdir()
        two.mkdir()
        assert scripted.url in wrapper(one, scripted).stdout
        assert other.url in wrapper(two, other).stdout
        assert scripted.url not in wrapper(two, other).stdout


def test_it_prints_what_it_would_set(tmp_path):
    with HealthServer(speed=50) as server:
        done = wrapper(tmp_path, server, "--full", "--print-env", script="#!/bin/sh\necho ran\n")
    assert done.returncode == 0
    assert "ran" not in done.stdout
    assert variables(done)["ANTHROPIC_BASE_URL"] == server.url
    assert variables(done)["ANTHROPIC_API_KEY"] == ""
    assert "CLAUDE_CODE_SIMPLE" not in variables(done)


# ---- How long the first answer takes ----

LITE = "so this is --lite"


@pytest.mark.parametrize("speed, window, arguments, is_lite, said", [
    (0, 32768, [], True, ["no speed has been measured", LITE]),
    (50, 32768, [], True, ["takes about 246 s", "the measured 50 tokens/s", LITE, "about 18 s"]),
    (50.75, 32768, ["-p", "hi"], True, ["about 11000 tokens", "takes about 220 s", LITE]),
    (0.4, 32768, [], True, ["no speed has been measured", LITE]),
    (1e-7, 32768, [], True, [LITE]),
    (201, 32768, [], True, ["takes about 61 s", LITE]),
    (205, 32768, [], False, []),
    (1200.5, 32768, ["-p", "hi"], False, []),
    (185, 32768, ["-p", "hi"], False, []),
    (9000, 8192, [], True, ["does not fit the model's window of 8192 tokens", LITE]),
    (50, 32768, ["--lite"], True, []),
    (50, 32768, ["--full"], False, ["takes about 246 s"]),
    (0, 32768, ["--full"], False, ["no speed has been measured"]),
    (9000, 32768, ["--lite"], True, []),
    (50, 32768, ["--bare"], True, []),
    (50, 32768, ["--version"], False, []),
])
def test_it_chooses_the_prompt_by_the_measured_speed(tmp_path, speed, window, arguments, is_lite,
                                                     said):
    with HealthServer(speed, window) as server:
        done = wrapper(tmp_path, server, *arguments)
    assert done.returncode == 0
    assert ("CLAUDE_CODE_SIMPLE" in variables(done)) == is_lite
    assert [text for text in said if text not in done.stderr] == []
    assert (LITE in done.stderr) == (LITE in said)
    assert (done.stderr == "") == (said == [])


def test_a_user_who_set_the_short_prompt_is_told_nothing(tmp_path):
    with HealthServer(50) as server:
        done = wrapper(tmp_path, server, extra={"CLAUDE_CODE_SIMPLE": "1"})
    assert done.stderr == ""


# ---- Which terminal is local ----


def in_terminal(command, env, cwd, until=None, seconds=30):
    """What the command prints on a terminal, until it ends or prints `until`."""
    parent, child = pty.openpty()
    process = subprocess.Popen(command, env=env, cwd=cwd, stdin=child, stdout=child, stderr=child,
                               start_new_session=True)
    os.close(child)
    seen = b""
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end and (until is None or until not in seen):
            if not select.select([parent], [], [], 0.1)[0]:
                continue
            try:
                part = os.read(parent, 65536)
            except OSError:  # Linux: the other side is closed
                part = b""
            if not part:
                break
            seen += part
    finally:
        process.kill()
        process.wait(30)
        os.close(parent)
    return seen


def shown_in_terminal(folder, *arguments, program=WRAPPER, **more):
    with HealthServer(speed=5000) as server:
        command = [str(program), "--port", str(server.port), *arguments]
        env = {**fake_claude(folder, SHOW_ARGUMENTS), **more}
        return server, in_terminal(command, env, folder).decode()


def test_a_person_sees_which_terminal_is_local(tmp_path):
    program = tmp_path / "it's a \"folder\"" / "claude-local"
    program.parent.mkdir()
    shutil.copy(WRAPPER, program)
    server, seen = shown_in_terminal(tmp_path, "fix the bug", program=program)
    assert f"this terminal is local: small:1b on {server.url}" in seen
    given, rest = seen[seen.index("[--settings]["):].removeprefix("[--settings][").split("][", 1)
    assert rest.startswith("fix the bug]")
    line = json.loads(given)["statusLine"]
    assert line["type"] == "command"
    assert shlex.split(line["command"]) == [str(program), "--port", str(server.port),
                                            "--print-status-line"]


@pytest.mark.parametrize("arguments", [["-p", "hi"], ["mcp", "list"], ["--settings", "{}"],
                                       ["--version"]])
def test_other_uses_get_no_argument_more(tmp_path, arguments):
    seen = shown_in_terminal(tmp_path, *arguments)[1]
    assert "".join(f"[{a}]" for a in arguments) in seen
    assert "statusLine" not in seen


@pytest.mark.parametrize("place", ["home", "config", "project"])
def test_a_status_line_of_the_user_stays(tmp_path, place):
    folder = tmp_path / ("config" if place == "config" else ".claude")
    folder.mkdir()
    name = "settings.local.json" if place == "project" else "settings.json"
    (folder / name).write_text('{"statusLine": {"type": "command", "command": "date"}}')
    more = {"CLAUDE_CONFIG_DIR": str(folder)} if place == "config" else {}
    seen = shown_in_terminal(tmp_path, **more)[1]
    assert "this terminal is local" in seen
    assert "--settings" not in seen


def status_line(port):
    return subprocess.run([str(WRAPPER), "--port", str(port), "--print-status-line"], text=True,
                          capture_output=True, timeout=60, stdin=subprocess.DEVNULL).stdout


def test_the_status_line_tells_how_far_a_prompt_is_read():
    with HealthServer(prefill=(4000, 11000)) as server:
        assert status_line(server.port) == (f"● local: small:1b on 127.0.0.1:{server.port} · "
                                            "reading the prompt: 4000 of 11000 tokens\n")
    with HealthServer(prefill=(11000, 11000)) as server:
        assert status_line(server.port) == f"● local: small:1b on 127.0.0.1:{server.port}\n"
    assert "no server answers" in status_line(server.port)


# ---- With the real Claude Code ----


def test_settings_that_name_another_server_do_not_win(scripted, tmp_path):
    env = environment(tmp_path, PENSIEVE_CLAUDE=claude())
    with HealthServer() as other:
        settings = tmp_path / "home" / ".claude" / "settings.json"
        settings.parent.mkdir()
        settings.write_text(json.dumps({
            "apiKeyHelper": "echo other-key",
            "env": {"ANTHROPIC_BASE_URL": other.url, "ANTHROPIC_AUTH_TOKEN": "other",
                    "ANTHROPIC_API_KEY": "other", "ANTHROPIC_MODEL": "other"}}))
        before = settings.read_bytes()
        done = run_in(tmp_path, [str(WRAPPER), "--port", str(scripted.port), "--lite", "-p",
                                 "hello"], env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == "Hello, wörld 😀!"
    assert settings.read_bytes() == before


@pytest.mark.parametrize("mode", ["--lite", "--full"])
def test_the_real_claude_shows_the_status_line(scripted, tmp_path, mode):
    env = environment(tmp_path, PENSIEVE_CLAUDE=claude(), TERM="xterm-256color")
    (tmp_path / "home" / ".claude.json").write_text(json.dumps({
        "hasCompletedOnboarding": True, "theme": "dark",
        "projects": {str(tmp_path): {"hasTrustDialogAccepted": True}}}))
    expected = f"● local: script on 127.0.0.1:{scripted.port}".encode()
    command = [str(WRAPPER), "--port", str(scripted.port), mode]
    assert expected in in_terminal(command, env, tmp_path, until=expected, seconds=60)
