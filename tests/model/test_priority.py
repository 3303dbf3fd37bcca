"""What a user's request waits for on real weights: side requests, and what the prefix header tells."""
import json
import re
import threading

import pytest
from support.pensieve_server import Server, message, model_path, parse_events, wait_until

AGENT = {"User-Agent": "claude-cli/2.1.0 (external, cli)"}
TITLE = {"format": {"type": "json_schema", "schema": {
    "type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"],
    "additionalProperties": False}}}


@pytest.fixture(scope="module")
def small():
    with Server("--model", model_path("smollm2:135m"), "--ctx", "4096", "--pool", "8192",
                "--cache=false", "--prefix-header", "--log-level", "debug") as server:
        yield server.wait_ready()


def words(n, seed):
    return " ".join(f"word{(seed * 7919 + i * 31) % 997}" for i in range(n))


def parting(headers):
    """The numbers of a pensieve-prefix header."""
    return {name: int(n) for name, n in re.findall(r"(\w+)=(\d+)", headers["pensieve-prefix"])}


def test_the_header_tells_where_a_prompt_parts(small):
    first = message("The report is about rivers. " + words(40, 1), max_tokens=4, temperature=0)
    other = message("The report is about lakes. " + words(40, 2), max_tokens=4, temperature=0)
    status, headers, answer = small.post("/v1/messages", first)
    assert status == 200
    assert parting(headers)["known"] == 0
    _, headers, _ = small.post("/v1/messages", first)
    again = parting(headers)
    assert again["prompt"] == again["known"] + 1
    status, headers, body = small.request("POST", "/v1/messages", dict(other, stream=True))
    found = parting(headers)
    events = parse_events(body)
    usage = [data["usage"] for name, data in events if name == "message_delta"][0]
    assert found["known"] == usage["cache_read_input_tokens"] > 0
    assert found["known"] < found["nearest"] < found["prompt"] + 10
    assert found["turn"] >= 1
    assert "word" not in small.log(), "a prompt's words are in the log"
    assert f"{found['known']} known" in small.log()


def test_a_title_does_not_hold_up_the_user(small):
    """The title's prompt would take many chunks; it is asked for first and ends last."""
    ended = []

    def ask(name, body, headers):
        status, _, _ = small.request("POST", "/v1/messages", body, headers=headers, timeout=600)
        ended.append((name, status))

    title = message(words(300, 3), max_tokens=8, temperature=0, output_config=TITLE)
    user = message(words(60, 4), max_tokens=2, temperature=0)
    threads = [threading.Thread(target=ask, args=("title", title, AGENT))]
    threads[0].start()
    wait_until(lambda: small.get("/health")["prefill"]["total"] > 0, 30, "the title's prompt")
    threads.append(threading.Thread(target=ask, args=("user", user, AGENT)))
    threads[1].start()
    for thread in threads:
        thread.join()
    assert ended == [("user", 200), ("title", 200)], json.dumps(ended)
