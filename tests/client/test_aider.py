"""The real aider, in a HOME of its own and an environment of its own (requirements-aider.txt)."""
import json
import os
import re
import subprocess

import pytest
from support.pensieve_server import KEY, Server, model_path, script_server

# Where aider's reminder of the edit format goes is a setting of the model; in the system prompt it
# leaves the last message what was asked, by which the scripted engine finds its script.
SETTINGS = """\
- name: anthropic/claude-local
  edit_format: whole
  reminder: sys
  use_repo_map: false
"""

METADATA = {"anthropic/claude-local": {"litellm_provider": "anthropic", "mode": "chat",
                                       "max_input_tokens": 32768, "max_output_tokens": 4096}}


def run_aider(server, folder, message, *options):
    aider = os.environ.get("PENSIEVE_TEST_AIDER", "")
    if not os.access(aider, os.X_OK):
        pytest.skip("PENSIEVE_TEST_AIDER names no aider: make test installs it")
    home, work = folder / "home", folder / "work"
    home.mkdir()
    work.mkdir()
    (work / ".aider.model.settings.yml").write_text(SETTINGS)
    (work / ".aider.model.metadata.json").write_text(json.dumps(METADATA))
    env = {"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8",
           "ANTHROPIC_API_BASE": server.url, "ANTHROPIC_API_KEY": KEY,
           "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    command = [aider, "--model", "anthropic/claude-local", "--message", message, "--yes-always",
               "--no-git", "--no-check-update", "--no-show-model-warnings", "--analytics-disable",
               "--no-pretty", "--no-auto-lint", "--no-suggest-shell-commands", *options]
    return subprocess.run(command, cwd=work, env=env, capture_output=True, text=True, timeout=600,
                          stdin=subprocess.DEVNULL), work


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_it_writes_the_file_of_the_reply(tmp_path, stream):
    with script_server() as server:
        done, work = run_aider(server, tmp_path, "wholefile", stream, "greeting.txt")
        assert server.stats()["started"] == 1, done.stdout + done.stderr
    assert (work / "greeting.txt").read_text() == "Hello, aider!\n", done.stdout + done.stderr


def test_a_refusal_is_shown_to_the_user(tmp_path):
    with script_server() as server:
        done, _ = run_aider(server, tmp_path, "toolong")
    # aider reads in the message that the prompt is too long, and shows a text of its own for that.
    assert "token limit" in done.stdout, done.stdout + done.stderr


def test_a_real_model_answers_it(tmp_path):
    options = ("--model", model_path("qwen2.5-coder:0.5b"), "--ctx", "8192")
    with Server(*options) as server:
        server.wait_ready()
        done, _ = run_aider(server, tmp_path, "Say hello in five words.", "--edit-format", "ask")
    assert done.returncode == 0, done.stderr
    assert re.search(r"Tokens: \S+ sent, [1-9]\S* received", done.stdout), done.stdout + done.stderr
