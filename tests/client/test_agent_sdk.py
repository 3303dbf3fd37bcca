"""The Claude Agent SDK (agent_sdk.py), which drives the real Claude Code.

It has an environment of its own (requirements-agent-sdk.txt).  The scripted engine plays the model
where one this small cannot be relied on."""
import json
import os
import pathlib

import pytest
from support.claude_code import claude, environment, run_in
from support.pensieve_server import KEY, Server, model_path, script_server, wait_until

HERE = pathlib.Path(__file__).resolve().parent
SUMMARY = "<summary>The word is marmalade.</summary>"


@pytest.fixture
def server():
    with script_server(scripts=HERE / "scripts") as s:
        yield s


def play(server, folder, scenario):
    """What the function of agent_sdk.py returns."""
    python = os.environ.get("PENSIEVE_TEST_AGENT_SDK", "")
    if not os.access(python, os.X_OK):
        pytest.skip("PENSIEVE_TEST_AGENT_SDK names no Python that has the SDK: make test installs it")
    env = environment(folder, ANTHROPIC_BASE_URL=server.url, ANTHROPIC_AUTH_TOKEN=KEY,
                      ANTHROPIC_MODEL="claude-local-test", PENSIEVE_TEST_CLAUDE=claude())
    done = run_in(folder, [python, str(HERE / "agent_sdk.py"), scenario], env)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_it_returns_the_answer_and_its_usage(server, tmp_path):
    assert play(server, tmp_path, "answer") == {"texts": [SUMMARY], "is_error": False,
                                                "input_tokens": 15000}


def test_it_streams_the_answer_in_parts(server, tmp_path):
    assert play(server, tmp_path, "parts") == {"text": SUMMARY, "texts": [SUMMARY]}


def test_tools_of_the_own_process_are_found_and_called(server, tmp_path):
    assert play(server, tmp_path, "own_tools") == {"notes": ["buy marmalade"],
                                                   "result": "It is noted."}


def test_a_client_holds_a_conversation(server, tmp_path):
    assert play(server, tmp_path, "conversation") == {"results": [SUMMARY, "I remember."]}


def test_a_session_is_resumed(server, tmp_path):
    assert play(server, tmp_path, "resumed") == {"result": "I remember.", "is_same": True}


def test_a_schema_is_filled(server, tmp_path):
    assert play(server, tmp_path, "structured") == {"output": {"name": "apple", "count": 3}}


def test_a_subagent_of_ones_own_does_its_part(server, tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "word.txt").write_text("marmalade\n")
    assert play(server, tmp_path, "subagent") == {"result": "My finder found it."}


def test_a_call_that_the_program_denies_is_told_to_the_model(server, tmp_path):
    assert play(server, tmp_path, "denied") == {"asked": [["Bash", "touch forbidden.txt"]],
                                                "result": "Then I leave it."}
    assert not list((tmp_path / "work").iterdir())


def test_an_interrupt_ends_the_turn_on_the_server(server, tmp_path):
    assert play(server, tmp_path, "interrupted") == {"subtype": "error_during_execution"}
    wait_until(lambda: server.stats()["cancelled"] == 1, what="the end of the turn")


def test_a_real_model_answers_it(tmp_path):
    with Server("--model", model_path("qwen2.5-coder:0.5b"), "--ctx", "8192") as server:
        server.wait_ready()
        told = play(server, tmp_path, "short")
    assert not told["is_error"]
    assert "".join(told["texts"]).strip()
