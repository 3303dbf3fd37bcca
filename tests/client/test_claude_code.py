"""The real Claude Code CLI, in a HOME of its own, against the program."""
import pytest
from support.claude_code import run
from support.pensieve_server import Server, model_path, script_server


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


@pytest.mark.parametrize("tool", ["Write", "Edit"])
def test_half_a_call_writes_nothing(scripted, tmp_path, tool):
    """A reply that was cut inside the input of a call: its input is no JSON, and nobody closes it."""
    done = run(scripted.url, tmp_path, "--print", f"cut{tool.lower()}", "--tools", tool,
               "--dangerously-skip-permissions", "--output-format", "stream-json", "--verbose",
               extra={"IS_SANDBOX": "1"})
    assert "Nothing was written." in done.stdout, done.stderr
    assert '"is_error":true' in done.stdout
    assert not list((tmp_path / "work").rglob("cut.txt"))


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
