"""The real Claude Code CLI, in a HOME of its own, against the program."""
import os
import pathlib
import subprocess

import pytest
from support.pensieve_server import KEY, Server, model_path, script_server


def claude():
    path = os.environ.get("PENSIEVE_TEST_CLAUDE", "")
    if not os.access(path, os.X_OK):
        pytest.skip("PENSIEVE_TEST_CLAUDE names no claude: make test installs it")
    return path


def run(url, folder, *arguments, key=KEY, timeout=240, extra=None):
    home = folder / "home"
    work = folder / "work"
    home.mkdir(exist_ok=True)
    work.mkdir(exist_ok=True)
    env = {"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", "ANTHROPIC_BASE_URL": url,
           "ANTHROPIC_AUTH_TOKEN": key, "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
           "ANTHROPIC_MODEL": "claude-local-test", **(extra or {})}
    return subprocess.run([claude(), *arguments], cwd=work, env=env, capture_output=True, text=True,
                          timeout=timeout, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def scripted():
    with script_server() as s:
        yield s


def test_it_prints_the_answer(scripted, tmp_path):
    done = run(scripted.url, tmp_path, "--bare", "-p", "hello")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "Hello, wörld 😀!"


def test_it_runs_a_tool_and_sends_the_result_back(scripted, tmp_path):
    done = run(scripted.url, tmp_path, "--bare", "-p", "makefile", "--allowedTools", "Bash")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "work" / "made.txt").read_text() == "made\n"
    assert "It is done." in done.stdout


def test_a_wrong_key_fails_at_once(scripted, tmp_path):
    before = scripted.stats()["started"]
    done = run(scripted.url, tmp_path, "--bare", "-p", "hello", key="wrong", timeout=60)
    assert done.returncode != 0
    assert scripted.stats()["started"] == before


def test_an_invalid_request_is_shown_and_not_repeated_for_long(scripted, tmp_path):
    before = scripted.stats()["started"]
    done = run(scripted.url, tmp_path, "--bare", "-p", "no-such-script", timeout=60)
    assert done.returncode != 0
    assert "400 no script of this name" in done.stdout
    # Once more for each capability that it drops after a 400; never on and on.
    assert scripted.stats()["started"] <= before + 4


def test_a_real_model_answers_it(tmp_path):
    with Server("--model", model_path("qwen2.5-coder:0.5b"), "--ctx", "8192") as server:
        server.wait_ready()
        done = run(server.url, tmp_path, "--bare", "-p", "Hello in 5 words", timeout=600)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


def wrapper(folder, server, *arguments, script="#!/bin/sh\nenv\n", home=None):
    fake = folder / "claude"
    fake.write_text(script)
    fake.chmod(0o755)
    path = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "claude-local"
    env = {"HOME": str(home or folder), "PATH": "/usr/bin:/bin", "PENSIEVE_CLAUDE": str(fake),
           "ANTHROPIC_API_KEY": "cloud-key"}
    return subprocess.run([str(path), "--port", str(server.port), *arguments], env=env,
                          capture_output=True, text=True, timeout=60)


def test_the_wrapper_sets_this_process_only(scripted, tmp_path):
    done = wrapper(tmp_path, scripted, "--lite")
    seen = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert seen["ANTHROPIC_BASE_URL"] == scripted.url
    assert seen["ANTHROPIC_AUTH_TOKEN"] == KEY
    assert seen["ANTHROPIC_MODEL"] == "claude-local-script"
    assert seen["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "32768"
    assert seen["CLAUDE_CODE_SIMPLE"] == "1"
    assert "ANTHROPIC_API_KEY" not in seen
    assert "ANTHROPIC_BASE_URL" not in os.environ
    assert [p.name for p in tmp_path.iterdir()] == ["claude"], "no file was written"


def test_the_wrapper_hands_everything_on(scripted, tmp_path):
    script = '#!/bin/sh\nfor a in "$@"; do printf "[%s]" "$a"; done\nexit 37\n'
    done = wrapper(tmp_path, scripted, "--full", "--print", "a b", "", "--model", "x", "$HOME",
                   script=script)
    assert done.returncode == 37
    assert done.stdout == "[--print][a b][][--model][x][$HOME]"
    killed = wrapper(tmp_path, scripted, script="#!/bin/sh\nkill -TERM $$\n")
    assert killed.returncode == -15


def test_wrappers_beside_each_other_do_not_mix(scripted, tmp_path):
    with script_server() as other:
        one, two = tmp_path / "one", tmp_path / "two"
        one.mkdir()
        two.mkdir()
        assert scripted.url in wrapper(one, scripted).stdout
        assert other.url in wrapper(two, other, home=two).stdout
        assert scripted.url not in wrapper(two, other).stdout
