"""The official Python SDK against the scripted engine: its own accumulator, errors and helpers."""
import anthropic
import pytest
from support.pensieve_server import KEY, script_server


@pytest.fixture(scope="module")
def server():
    with script_server() as s:
        yield s


@pytest.fixture(scope="module")
def client(server):
    return anthropic.Anthropic(base_url=server.url, api_key=KEY, max_retries=0)


def ask(text, **more):
    return {"model": "claude-sonnet-5-5", "max_tokens": 100,
            "messages": [{"role": "user", "content": text}], **more}


def test_create(client):
    answer = client.messages.create(**ask("hello"))
    assert answer.content[0].text == "Hello, wörld 😀!"
    assert answer._request_id.startswith("req_")


@pytest.mark.parametrize("name", ["hello", "tools", "tools-split1", "stopseq", "maxtokens"])
def test_the_stream_helper_builds_what_create_returns(client, name):
    whole = client.messages.create(**ask(name))
    with client.messages.stream(**ask(name)) as stream:
        for _ in stream:
            pass
        streamed = stream.get_final_message()
    assert [b.to_dict() for b in streamed.content] == [b.to_dict() for b in whole.content]
    assert streamed.stop_reason == whole.stop_reason
    assert streamed.usage.input_tokens == whole.usage.input_tokens


def test_progress_becomes_a_thinking_block_that_comes_back_well():
    with script_server("--progress-ms", "20") as server:
        client = anthropic.Anthropic(base_url=server.url, api_key=KEY, max_retries=0)
        thinking = {"type": "enabled", "budget_tokens": 1024}
        with client.messages.stream(**ask("slow"), thinking=thinking) as stream:
            for event in stream:
                if event.type == "thinking" and "Waiting" in event.thinking:
                    for name in ("place", "more", "last"):
                        server.release(name)
            answer = stream.get_final_message()
        assert [b.type for b in answer.content] == ["thinking", "thinking", "text"]
        assert answer.content[0].signature == "pensieve-progress"
        assert answer.content[0].thinking.startswith("Waiting for other requests")
        again = ask("hello")
        again["messages"] = [{"role": "user", "content": "slow"},
                             {"role": "assistant", "content": answer.content}, *again["messages"]]
        assert client.messages.create(**again).stop_reason == "end_turn"


def test_tools(client):
    tools = [{"name": "Read", "input_schema": {"type": "object"}}]
    answer = client.messages.create(**ask("tools"), tools=tools, tool_choice={"type": "auto"})
    calls = [b for b in answer.content if b.type == "tool_use"]
    assert [c.input for c in calls] == [{"path": "a.c"}, {"command": "ls"}]


def test_count_and_models(client):
    assert client.messages.count_tokens(
        model="claude-x", messages=[{"role": "user", "content": "hello"}]).input_tokens == 10
    models = client.models.list()
    assert client.models.retrieve(models.data[0].id).id == models.data[0].id
    assert [m.id for m in client.models.list(limit=1)] == [models.data[0].id]  # all pages
    assert models.data[0].capabilities.thinking.types.disabled.supported is True


@pytest.mark.parametrize("name,kind", [
    ("toolong", anthropic.BadRequestError), ("busy", anthropic.APIStatusError),
    ("nomemory", anthropic.InternalServerError), ("broken", anthropic.InternalServerError)])
def test_errors(client, name, kind):
    with pytest.raises(kind):
        client.messages.create(**ask(name))


def test_a_wrong_key_is_an_authentication_error(server):
    client = anthropic.Anthropic(base_url=server.url, api_key="wrong", max_retries=2)
    with pytest.raises(anthropic.AuthenticationError):
        client.messages.create(**ask("hello"))


def test_an_error_in_the_stream_is_raised(client):
    with pytest.raises(anthropic.APIStatusError):
        with client.messages.stream(**ask("failmid")) as stream:
            stream.until_done()
