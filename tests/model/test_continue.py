"""Requests that end with the assistant's own words: the answer goes on from there."""
import pytest
from support.pensieve_server import Server, message, model_path

ASK = "Write the numbers from one to nine as words, separated by commas, and nothing else."
TOOL = {"name": "read_file", "description": "Reads a file",
        "input_schema": {"type": "object", "properties": {"path": {"type": "string"}},
                         "required": ["path"]}}


@pytest.fixture(scope="module")
def server():
    with Server("--model", model_path("qwen2.5-coder:0.5b"), "--ctx", "4096") as s:
        yield s.wait_ready()


def opened(words, **more):
    ask = message(ASK, max_tokens=40, temperature=0, **more)
    ask["messages"].append({"role": "assistant", "content": words})
    return ask


def text_of(answer):
    return "".join(block["text"] for block in answer["content"])


@pytest.mark.parametrize("more", [{}, {"tools": [TOOL]}], ids=["plain", "tools"])
@pytest.mark.parametrize("words", ["one, two, three,", "one, two, three, \n"])
def test_an_answer_goes_on_where_the_assistants_words_end(server, words, more):
    status, _, answer = server.post("/v1/messages", opened(words, **more))
    assert status == 200 and answer["stop_reason"] == "end_turn"
    assert text_of(answer).strip().startswith("four, five")
    assert "three" not in text_of(answer)


def test_a_stream_goes_on_the_same_way(server):
    ask = opened("one, two, three,")
    events = server.events(ask)
    streamed = "".join(d["delta"]["text"] for n, d in events if n == "content_block_delta")
    assert streamed == text_of(server.post("/v1/messages", ask)[2])


def test_opening_words_are_read_only_once(server):
    usage = server.post("/v1/messages", opened("one, two, three, four,"))[2]["usage"]
    again = server.post("/v1/messages", opened("one, two, three, four, five,"))[2]["usage"]
    assert again["cache_read_input_tokens"] >= usage["cache_creation_input_tokens"] - 2


def test_a_tool_can_be_demanded_behind_opening_words(server):
    ask = opened("I read it.", tools=[TOOL], tool_choice={"type": "any"})
    status, _, answer = server.post("/v1/messages", ask)
    assert status == 200
    assert [b["name"] for b in answer["content"] if b["type"] == "tool_use"] == ["read_file"]
