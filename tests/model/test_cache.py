"""Prompts over restarts of the whole program, on real weights."""
import json
import os
import re
import shutil
import signal
import stat
import subprocess

import pytest
from support.pensieve_server import Server, message, model_path, program, wait_until

MODEL = "smollm2:135m"
SECRET = "the wine cellar behind the oak door"
SYSTEM = f"You are a careful clerk. You know of {SECRET}. " + " ".join(
    f"Rule {i}: entry {i * 37 % 101} of the ledger is checked before entry {i * 53 % 97}."
    for i in range(60))


def start(folder, *options, **more):
    return Server("--model", model_path(MODEL), "--ctx", "4096", "--cache-dir", str(folder),
                  *options, **more)


def ask(server, text="Which entry is checked first, and why?", **more):
    body = message(text, system=SYSTEM, temperature=0, max_tokens=24, **more)
    status, _, answer = server.post("/v1/messages", body)
    assert status == 200, answer
    return "".join(block["text"] for block in answer["content"]), answer["usage"]


def n_prompt(usage):
    return (usage["input_tokens"] + usage["cache_read_input_tokens"]
            + usage["cache_creation_input_tokens"])


def is_all_but_one_read(usage):
    return (usage["input_tokens"], usage["cache_creation_input_tokens"],
            usage["cache_read_input_tokens"]) == (1, 0, n_prompt(usage) - 1)


def blocks(folder):
    return [p for p in (folder / "prompts").iterdir() if re.fullmatch(r"[0-9a-f]{80}", p.name)]


def cache(folder, verb, *options):
    done = subprocess.run([program(), "cache", verb, "--json", "--cache-dir", str(folder),
                           *options], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder with one prompt in it, and what was answered from live cells."""
    folder = tmp_path_factory.mktemp("cache")
    with start(folder) as server:
        server.wait_ready()
        _, cold = ask(server)
        assert cold["cache_read_input_tokens"] == 0 and n_prompt(cold) > 1000
        live, usage = ask(server)
        assert is_all_but_one_read(usage)
    return folder, live


@pytest.fixture
def folder(kept, tmp_path):
    """A copy of it, to be changed."""
    shutil.copytree(kept[0] / "prompts", tmp_path / "prompts")
    return tmp_path


def test_a_restarted_server_computes_one_token_and_says_the_same(kept, folder):
    with start(folder) as server:
        server.wait_ready()
        text, usage = ask(server)
        assert is_all_but_one_read(usage)
        assert text == kept[1]
        assert ask(server)[0] == kept[1]


def test_another_question_shares_the_system_prompt(folder):
    with start(folder) as server:
        server.wait_ready()
        _, usage = ask(server, "How many rules are there?")
        assert usage["cache_read_input_tokens"] > 0.95 * n_prompt(usage) > 950


def test_a_server_that_was_killed_has_kept_what_it_wrote(kept, tmp_path):
    with start(tmp_path) as server:
        server.wait_ready()
        n_blocks = n_prompt(ask(server)[1]) // 256 + 1
        wait_until(lambda: server.get("/health")["store"]["blocks"] >= n_blocks
                   and server.get("/health")["store"]["waiting_bytes"] == 0, 30, "writing")
        assert "pensieve_store_written_bytes_total" in server.request("GET", "/metrics")[2].decode()
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(20)
        server.expected_exit = -signal.SIGKILL
    with start(tmp_path) as server:
        server.wait_ready()
        text, usage = ask(server)
        assert is_all_but_one_read(usage) and text == kept[1]


def test_another_key_shares_nothing(folder, tmp_path):
    (tmp_path / "key").write_text("another-key-of-mine\n")
    with start(folder, "--api-key-file", str(tmp_path / "key")) as server:
        server.wait_ready()
        body = message("Which entry is checked first, and why?", system=SYSTEM, max_tokens=1)
        status, _, answer = server.post("/v1/messages", body, key="another-key-of-mine")
        assert status == 200 and answer["usage"]["cache_read_input_tokens"] == 0


def test_files_are_private_and_their_names_say_nothing(folder):
    with start(folder) as server:
        server.wait_ready()
        ask(server)
        log = server.log()
    assert SECRET not in log and "ledger" not in log
    assert stat.S_IMODE((folder / "prompts").stat().st_mode) == 0o700
    assert len(blocks(folder)) >= 5
    for path in (folder / "prompts").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert re.fullmatch(r"[0-9a-f]{80}|written-today|turns", path.name)


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_damaged_blocks_cost_time_and_nothing_else(kept, folder, damage):
    for path in blocks(folder)[::2]:
        if damage == "gone":
            path.unlink()
            continue
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(data if damage == "flipped" else data[:len(data) // 3])
    with start(folder) as server:
        server.wait_ready()
        text, usage = ask(server)
        assert text == kept[1]
        assert not is_all_but_one_read(usage)
        metrics = server.request("GET", "/metrics")[2].decode()
    damaged = int(re.search(r"^pensieve_store_damaged_total (\d+)", metrics, re.M)[1])
    assert (damaged > 0) == (damage != "gone")
    # A block that was computed over, behind a damaged one, is looked at the next time only.
    for _ in range(3):
        with start(folder) as server:
            server.wait_ready()
            text, usage = ask(server)
            assert text == kept[1]
    assert is_all_but_one_read(usage)


def test_a_disk_that_takes_no_more_costs_no_answer(kept, tmp_path):
    if shutil.which("prlimit") is None:
        pytest.skip("prlimit is not here")
    with start(tmp_path, wrapper=["prlimit", "--fsize=300000", "--"]) as server:
        server.wait_ready()
        assert ask(server)[1]["cache_read_input_tokens"] == 0
        wait_until(lambda: server.get("/health")["store"]["paused"], 30, "a write that fails")
        assert ask(server)[0] == kept[1]
        log = server.log()
    assert log.count("prompts can't be kept on disk") == 1
    assert len(blocks(tmp_path)) == 0 or cache(tmp_path, "verify")["damaged"] == 0


def test_a_folder_that_cannot_be_made_costs_no_answer(kept, tmp_path):
    (tmp_path / "prompts").write_text("in the way")
    with start(tmp_path) as server:
        server.wait_ready()
        ask(server)
        assert ask(server)[0] == kept[1]
        assert server.get("/health")["store"]["enabled"] is False
        assert "prompts are not kept on disk" in server.log()


def test_switched_off_it_deletes_what_was_kept(folder):
    other = folder / "prompts" / "mine.txt"
    other.write_text("mine")
    (folder / "prompts" / "turns").write_bytes(b"replies")
    with start(folder, "--cache=false") as server:
        server.wait_ready()
        _, usage = ask(server)
        assert usage["cache_read_input_tokens"] == 0
        assert "switched off" in server.log()
    assert list((folder / "prompts").iterdir()) == [other]


def test_the_command_line_lists_checks_and_clears(folder):
    (row,) = cache(folder, "ls")
    assert row["blocks"] == len(blocks(folder)) and row["tokens"] > 1000 and row["model"]
    total = cache(folder, "stat", "--cache-gb", "3")
    assert total["bytes"] == row["bytes"] == sum(p.stat().st_size for p in blocks(folder))
    assert total["budget_bytes"] == 3 << 30 and total["folder"] == str(folder / "prompts")

    verified = cache(folder, "verify")
    assert verified["damaged_replies"] == 0
    assert {k: verified[k] for k in ("blocks", "damaged", "unreadable")} == {
        "blocks": row["blocks"], "damaged": 0, "unreadable": 0}
    victim = blocks(folder)[0]
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    assert cache(folder, "verify")["damaged"] == 1
    assert not victim.exists()

    assert cache(folder, "clear")["deleted_blocks"] == row["blocks"] - 1
    assert not (folder / "prompts").exists()
    assert cache(folder, "ls") == [] and cache(folder, "clear")["deleted_blocks"] == 0


def test_the_command_line_speaks_to_people_too(folder):
    for verb, word in {"ls": "MODEL", "stat": "holds",
                       "verify": "sound", "clear": "deleted"}.items():
        done = subprocess.run([program(), "cache", verb, "--cache-dir", str(folder)],
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and word in done.stdout
    done = subprocess.run([program(), "cache", "shrink"], capture_output=True, text=True,
                          timeout=60, env=dict(os.environ))
    assert done.returncode == 64 and "ls, stat, verify or clear" in done.stderr


TOOL = {"name": "record", "description": "Records an entry.", "input_schema": {
    "type": "object", "required": ["entry", "mark"], "additionalProperties": False,
    "properties": {"entry": {"type": "integer", "maximum": 99},
                   "mark": {"enum": ["checked", "open"]},
                   "urgent": {"type": "boolean", "default": False}}}}


def changed(block):
    """As Claude Code sends a call back: in another order, with defaults, numbers as they are."""
    assert block["type"] == "tool_use"
    wanted = {"urgent": False, **dict(reversed(block["input"].items()))}
    return {**block, "input": wanted}


@pytest.mark.parametrize("restarts", [False, True])
def test_a_call_that_comes_back_changed_is_not_read_again(tmp_path, restarts):
    body = {"model": "claude-x", "max_tokens": 200, "temperature": 0, "system": SYSTEM,
            "tools": [TOOL], "tool_choice": {"type": "tool", "name": "record"},
            "messages": [{"role": "user", "content": "Record entry 7 as checked."}]}

    def post(server, body):
        status, _, answer = server.post("/v1/messages", body)
        assert status == 200, answer
        return answer

    with start(tmp_path) as server:
        server.wait_ready()
        first = post(server, body)
        call, = first["content"]
        body["messages"] += [{"role": "assistant", "content": [changed(call)]},
                             {"role": "user", "content": [{
                                 "type": "tool_result", "tool_use_id": call["id"],
                                 "content": "It is recorded."}]}]
        second = None if restarts else post(server, body)
    if restarts:
        assert (tmp_path / "prompts/turns").stat().st_mode & 0o777 == 0o600
        with start(tmp_path) as server:
            server.wait_ready()
            second = post(server, body)
    known = n_prompt(first["usage"]) + first["usage"]["output_tokens"]
    assert second["usage"]["cache_read_input_tokens"] >= known - 1
