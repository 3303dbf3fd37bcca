"""Runs the real Claude Code CLI for tests, in a HOME of its own."""
import os
import subprocess

import pytest
from support.pensieve_server import KEY


def claude():
    path = os.environ.get("PENSIEVE_TEST_CLAUDE", "")
    if not os.access(path, os.X_OK):
        pytest.skip("PENSIEVE_TEST_CLAUDE names no claude: make test installs it")
    return path


def environment(folder, **more):
    """What claude needs and nothing else; the HOME is `folder`/home."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return {"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", **more}


def run_in(folder, command, env, timeout=240):
    work = folder / "work"
    work.mkdir(exist_ok=True)
    return subprocess.run(command, cwd=work, env=env, capture_output=True, text=True,
                          timeout=timeout, stdin=subprocess.DEVNULL)


def run(url, folder, *arguments, key=KEY, timeout=240, extra=None):
    env = environment(folder, ANTHROPIC_BASE_URL=url, ANTHROPIC_AUTH_TOKEN=key,
                      ANTHROPIC_MODEL="claude-local-test", **(extra or {}))
    return run_in(folder, [claude(), *arguments], env, timeout)
