"""Long silence: clients that give up without a delta are told the progress in a thinking block."""
import json

import pytest
from support.pensieve_server import KEY, message, parse_events, script_server

SIGNATURE = "pensieve-progress"
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
CLAUDE = {"user-agent": "claude-cli/2.1.330 (external, cli)"}


@pytest.fixture
def server():
    with script_server("--progress-ms", "20", "--ping-ms", "10") as s:
        yield s


class Stream:
    """A streamed answer that is read while it comes."""

    def __init__(self, server, body, headers=None):
        self.connection = server.connection()
        self.connection.request("POST", "/v1/messages", json.dumps(dict(body, stream=True)),
                                {"content-type": "application/json", "x-api-key": KEY,
                                 **(headers or {})})
        self.response = self.connection.getresponse()
        self.seen = b""

    def read_line(self):
        line = self.response.readline()
        assert line, "the stream ended"
        return line

    def read_until(self, words, times=1):
        """In what clients see: without comments."""
        before = self.seen.count(words)
        while self.seen.count(words) < before + times:
            line = self.read_line()
            self.seen += b"" if line.startswith(b":") else line

    def events(self):
        """All of them, to the end."""
        events = parse_events(self.seen + self.response.read())
        self.connection.close()
        return events


def blocks_of(events):
    """(type, text, signature) of each block; fails where indices or order are wrong."""
    blocks, is_open = [], False
    for name, data in events:
        if name == "content_block_start":
            assert not is_open and data["index"] == len(blocks)
            is_open = True
            blocks.append([data["content_block"]["type"], "", None])
        elif name == "content_block_delta":
            assert is_open and data["index"] == len(blocks) - 1
            delta = data["delta"]
            blocks[-1][1] += delta.get("thinking", "") + delta.get("text", "") + \
                delta.get("partial_json", "")
            blocks[-1][2] = delta.get("signature")
        elif name == "content_block_stop":
            assert is_open and data["index"] == len(blocks) - 1
            is_open = False
    assert not is_open
    return [tuple(b) for b in blocks]


def test_the_progress_is_told_before_the_reply(server):
    stream = Stream(server, message("slow", **THINKING))
    stream.read_until(b"Waiting for other requests to finish ...", times=2)
    server.release("place")
    stream.read_until(b"Reading the prompt: 4,096 of 12,288 tokens ...", times=2)
    server.release("more")
    stream.read_until(b"Reading the prompt: 8,192 of 12,288 tokens ...")
    server.release("last")
    events = stream.events()
    (kind, told, signature), *reply = blocks_of(events)
    assert (kind, signature) == ("thinking", SIGNATURE)
    lines = list(dict.fromkeys(told.splitlines()))
    assert lines == ["Waiting for other requests to finish ...",
                     "Reading the prompt: 4,096 of 12,288 tokens ...",
                     "Reading the prompt: 8,192 of 12,288 tokens ..."]
    assert reply == [("thinking", "Hm.", "sig"), ("text", "Done.", None)]
    assert [name for name, _ in events][-2:] == ["message_delta", "message_stop"]
    assert events[-2][1]["usage"]["output_tokens"] == 2, "the progress is not the model's"


def test_pings_go_on_between(server):
    stream = Stream(server, message("slow", **THINKING))
    stream.read_until(b"Waiting for other requests")
    stream.read_until(b"event: ping")
    stream.read_until(b"Waiting for other requests")
    for name in ("place", "more", "last"):
        server.release(name)
    assert blocks_of(stream.events())[-1] == ("text", "Done.", None)


def test_pings_tell_it_in_a_comment(server):
    """To anybody, also to clients that take no thinking: they leave comments out."""
    stream = Stream(server, message("slow"))
    for words in ("Waiting for other requests to finish ...",
                  "Reading the prompt: 4,096 of 12,288 tokens ..."):
        while stream.read_line() != f": {words}\n".encode():
            pass
        assert stream.read_line() == b"event: ping\n"
        assert stream.read_line() == b'data: {"type":"ping"}\n'
        assert stream.read_line() == b"\n"
        server.release({"W": "place", "R": "more"}[words[0]])
    server.release("last")
    assert blocks_of(stream.events()) == [("thinking", "Hm.", "sig"), ("text", "Done.", None)]


def test_between_blocks_of_the_reply_it_is_told_too(server):
    stream = Stream(server, message("heldback"), CLAUDE)
    stream.read_until(b"Writing the reply; tokens so far: 1 ...")
    server.release("called")
    blocks = blocks_of(stream.events())
    assert [b[0] for b in blocks] == ["text", "thinking", "tool_use"]
    assert blocks[1][2] == SIGNATURE


def test_a_failure_closes_it_first(server):
    stream = Stream(server, message("slowfail", **THINKING))
    stream.read_until(b"Waiting for other requests")
    server.release("fail")
    events = stream.events()
    assert [name for name, _ in events][-2:] == ["content_block_stop", "error"]


def test_only_who_takes_it_is_told(server):
    """All wait longer than the one that is told, and hear nothing but pings."""
    others = [Stream(server, message("slow")),
              Stream(server, message("slow", thinking={"type": "disabled"})),
              Stream(server, message("slow"), {"user-agent": "my-claude-cli/1"})]
    told = Stream(server, message("slow"), CLAUDE)
    told.read_until(b"Waiting for other requests", times=3)
    for name in ("place", "more", "last"):
        server.release(name)
    assert blocks_of(told.events())[0][2] == SIGNATURE
    for stream in others:
        assert blocks_of(stream.events()) == [("thinking", "Hm.", "sig"), ("text", "Done.", None)]


def test_a_whole_answer_leaves_it_out(server):
    connection = server.connection()
    connection.request("POST", "/v1/messages", json.dumps(message("slow", **THINKING)),
                       {"content-type": "application/json", "x-api-key": KEY, **CLAUDE})
    told = Stream(server, message("slow"), CLAUDE)
    told.read_until(b"Waiting for other requests", times=3)
    for name in ("place", "more", "last"):
        server.release(name)
    content = json.loads(connection.getresponse().read())["content"]
    assert [b["type"] for b in content] == ["thinking", "text"]
    assert content[0]["signature"] == "sig"
    blocks_of(told.events())


def test_deltas_that_come_in_time_need_none(server):
    assert [b[0] for b in blocks_of(Stream(server, message("hello", **THINKING)).events())] == \
        ["text"]
