"""The official TypeScript SDK: its stream helper, tool runner, parse helper and errors
(typescript_sdk.cjs)."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest
from support.claude_code import claude
from support.pensieve_server import Server, model_path, script_server

PROGRAM = pathlib.Path(__file__).resolve().parent / "typescript_sdk.cjs"


def run_sdk(server, **environment):
    """Runs the program against a server; its report, after seeing that no test of it failed."""
    node = shutil.which("node")
    if not node:
        pytest.skip("there is no node: make test installs it with npm")
    folder = pathlib.Path(claude()).parent
    env = {"PATH": os.environ["PATH"], "HOME": server.home.name, "PENSIEVE_TEST_URL": server.url,
           "PENSIEVE_TEST_SDK": str(folder), **environment}
    done = subprocess.run([node, "--test", "--test-reporter=tap", PROGRAM], env=env, timeout=600,
                          capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def passed(report):
    """How many tests ran and passed; a file that ran nothing must not count as success."""
    return len(re.findall(r"^ *ok \d+ - (?!.*# SKIP)(?!.*typescript_sdk\.cjs)", report, re.MULTILINE))


def test_against_the_scripted_engine():
    with script_server() as server:
        report = run_sdk(server)
    assert passed(report) == 17, report


def test_against_a_real_model():
    with Server("--model", model_path("qwen2.5-coder:0.5b"), "--ctx", "8192") as server:
        server.wait_ready()
        report = run_sdk(server, PENSIEVE_TEST_MODEL="yes")
    assert passed(report) == 3, report
