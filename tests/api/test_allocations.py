"""Every allocation that may fail, fails once, in each of these requests.

The rule of base/mem.h: what a client or a file sizes may be refused, and then only that request suffers.
So the answer is the right one, or an error that says so, or a connection that breaks; never a wrong answer
that looks whole, and never the end of the program.  A sanitized build also sees what leaks, at the exit.
"""
import http.client
import json
import os
import re
import signal
import subprocess

import pytest
from support.pensieve_server import (KEY, SCRIPTS, message, parse_events, program, script_server,
                                     wait_until)

MOST = 100_000  # far more allocations than any of these requests makes
FEW = 150       # so many are made to fail one by one; of more, one in twenty

TOOLS = [{"name": "Read", "description": "Reads.", "input_schema": {
    "type": "object", "properties": {"path": {"type": "string"}}}}]
THREAD = [
    {"role": "user", "content": [{"type": "text", "text": "hello"}]},
    {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "a", "n": 1.50}}]},
    {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": [
            {"type": "text", "text": "x"}, {"type": "image", "source": {
                "type": "base64", "media_type": "image/png", "data": "QQ=="}}]},
        {"type": "text", "text": "makefile"}]},
]


def post(body, path="/v1/messages", **headers):
    body = body if isinstance(body, str) else json.dumps(body)
    return "POST", path, body, {"content-type": "application/json", **headers}


def get(path, method="GET"):
    return method, path, None, {}


SCENARIOS = {
    "whole": post(message("hello")),
    "whole_with_tools": post(message("tools", tools=TOOLS, tool_choice={"type": "any"})),
    "whole_that_is_long": post(message("long")),
    "whole_of_a_cut_input": post(message("cutinput")),
    "whole_with_a_stop_sequence": post(message("stopseq", stop_sequences=["END", "x"])),
    "stream": post(message("hello", stream=True)),
    "stream_with_tools": post(message("tools", stream=True, tools=TOOLS)),
    "stream_cut_up": post(message("tools-split1", stream=True)),
    "stream_that_is_long": post(message("long", stream=True)),
    "stream_that_fails": post(message("failmid", stream=True)),
    "thread_of_blocks": post({"model": "m", "max_tokens": 9, "messages": THREAD, "tools": TOOLS,
                              "system": [{"type": "text", "text": "Be brief."}]}),
    "escapes": post('{"model":"\\u00e4","max_tokens":9,"messages":[{"role":"user","content":'
                    '"\\u0068ello"}],"metadata":{"\\n":["\\ud83d\\ude00"]}}'),
    "large_body": post(message("hello", system="x" * 300_000)),
    "many_values": post(message("hello", unknown=[[i] for i in range(20_000)])),
    "refused_too_long": post(message("toolong")),
    "refused_busy": post(message("busy", stream=True)),
    "no_json": post('{"model":'),
    "wrong_field": post(message("hello", messages=[{"role": "user", "content": [{"type": 1}]}])),
    "thread_unsupported": post(message("hello", thread={"type": "create"})),
    "wrong_key": post(message("hello"), **{"x-api-key": "wrong"}),
    "count": post({k: v for k, v in message("hello").items() if k != "max_tokens"},
                  "/v1/messages/count_tokens"),
    "health": get("/health"),
    "metrics": get("/metrics"),
    "models": get("/v1/models?limit=5"),
    "no_such_path": get("/nowhere?" + "a" * 3000),
}

# What says that it was memory; 500 where an answer could not be made whole.
REFUSALS = {500, 503}


@pytest.fixture(scope="module")
def server():
    with script_server("--log-level", "error") as s:
        yield s


def ask(server, scenario):
    """(status, headers, body), or None where the connection broke before the answer was whole."""
    method, path, body, headers = scenario
    connection = server.connection(timeout=30)
    try:
        connection.request(method, path, body, {"x-api-key": KEY, **headers})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    except (http.client.HTTPException, ConnectionError):
        return None
    finally:
        connection.close()


def fail_at(server, n):
    """Makes the n-th allocation fail.  True where the one that was to fail before has not come."""
    while True:
        answer = ask(server, ("POST", f"/test/fail-alloc?{n}", None, {}))
        assert server.process.poll() is None, server.log()
        if answer is not None and answer[0] == 200:
            return json.loads(answer[2])["left"] > 0


# Their figures are the machine's, and differ each time.
FIGURES = ("health", "metrics", "models")


def shape(name, answer):
    """An answer without what differs each time."""
    status, headers, body = answer
    kind = headers["content-type"]
    if kind.startswith("text/event-stream"):
        events = [event for event in parse_events(body) if event[0] != "ping"]
        assert events[-1][0] in ("message_stop", "error"), "an end that looks whole, and is not"
        body = json.dumps(events).encode()
    elif kind == "application/json" and body:
        json.loads(body)
    text = re.sub(rb"(req|msg)_[A-Za-z0-9]{24}", b"ID", body)
    if name in FIGURES:
        text = re.sub(rb"[0-9]+(\.[0-9]+)?", b"0", text)
    return status, kind, text


def is_refusal(wanted, answer):
    """Memory was short; or the refusal that was due, with fewer words."""
    status, _, body = answer
    error = json.loads(body)
    assert error["type"] == "error" and error["error"]["message"]
    return status in REFUSALS or (status == wanted[0] and status >= 400)


def is_failed_stream(wanted, got):
    """A stream may turn into an error, and then is a beginning of the right one."""
    if got[0] != 200 or not got[1].startswith("text/event-stream"):
        return False
    whole, cut = json.loads(wanted[2]), json.loads(got[2])
    return cut[-1][0] == "error" and cut[:-1] == whole[:len(cut) - 1]


@pytest.mark.parametrize("name", SCENARIOS)
def test_an_allocation_that_fails_costs_one_request(server, name):
    fail_at(server, 0)
    wanted = shape(name, ask(server, SCENARIOS[name]))
    n_answers = {"right": 0, "refused": 0, "broken": 0}
    n = 1
    while not fail_at(server, n):
        assert n < MOST, f"the sweep found no end: {n_answers}"
        answer = ask(server, SCENARIOS[name])
        assert server.process.poll() is None, f"allocation {n}:\n{server.log()}"
        if answer is None:
            n_answers["broken"] += 1
        elif shape(name, answer) == wanted:
            n_answers["right"] += 1
        elif is_failed_stream(wanted, shape(name, answer)) or is_refusal(wanted, answer):
            n_answers["refused"] += 1
        else:
            pytest.fail(f"allocation {n}: {answer}")
        n += max(1, (n - FEW) // 20)
    assert n_answers["refused"] + n_answers["broken"] > 0, "no allocation was made to fail"
    fail_at(server, 0)
    assert shape(name, ask(server, SCENARIOS[name])) == wanted
    wait_until(lambda: server.stats()["turns"] == 0, what="the end of all turns")
    stats = server.stats()
    assert stats["bodies_bytes"] == stats["waiting"] == 0
    assert stats["started"] == stats["finished"]


@pytest.mark.parametrize("n", range(1, 31))
def test_a_start_without_memory_serves_or_says_why(n, tmp_path):
    """PENSIEVE_FAIL_ALLOC counts from the first instruction."""
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PENSIEVE_FAIL_ALLOC": str(n),
           **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}}
    process = subprocess.Popen(
        [program(), "serve", "--port", "0", "--engine", f"script:{SCRIPTS}"], env=env,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    is_up = process.stdout.readline().startswith(b"listening on ")
    if is_up:
        process.send_signal(signal.SIGTERM)
    _, words = process.communicate(timeout=60)
    assert (process.returncode == 0) == is_up, words
    assert process.returncode >= 0, f"ended by signal {-process.returncode}: {words}"
    assert is_up or b"memory" in words or b"pensieve: " in words
