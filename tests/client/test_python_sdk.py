"""The official Python SDK: its stream helper, tool runner, parse helper and errors."""
from typing import Literal

import anthropic
import pydantic
import pytest
from support.pensieve_server import KEY, Server, model_path, script_server


class Fruit(pydantic.BaseModel):
    name: str
    count: int


class Animal(pydantic.BaseModel):
    is_mammal: bool
    legs: Literal["none", "two", "four"]


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


@anthropic.beta_tool(name="Read")
def read(path: str) -> str:
    """Reads a file.

    Args:
        path: Where it is.
    """
    return f"the text of {path}"


@anthropic.beta_tool(name="Bash")
def bash(command: str) -> str:
    """Runs a command.

    Args:
        command: What to run.
    """
    return f"ran {command}"


def test_the_tool_runner_runs_what_is_called_and_sends_it_back(client):
    runner = client.beta.messages.tool_runner(**ask("tools"), tools=[read, bash])
    first, last = list(runner)
    assert [b.type for b in first.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert last.content[0].text == "Both ran."


def test_the_streaming_tool_runner_does_the_same(client):
    runner = client.beta.messages.tool_runner(**ask("tools"), tools=[read, bash], stream=True)
    texts = ["".join(stream.text_stream) for stream in runner]
    assert texts == ["I will read.", "Both ran."]


def test_a_tool_that_fails_is_told_to_the_model(client):
    @anthropic.beta_tool(name="Bash")
    def broken(command: str) -> str:
        """Runs a command."""
        raise anthropic.lib.tools.ToolError(f"cannot, so nobody ran {command}")

    runner = client.beta.messages.tool_runner(**ask("tools"), tools=[read, broken])
    assert runner.until_done().content[0].text == "Both ran."


@pytest.mark.parametrize("where", ["messages", "beta"])
def test_parse_returns_what_the_schema_says(client, where):
    messages = {"messages": client.messages, "beta": client.beta.messages}[where]
    assert messages.parse(**ask("fruit"), output_format=Fruit).parsed_output == Fruit(
        name="apple", count=3)
    with messages.stream(**ask("fruit"), output_format=Fruit) as stream:
        assert stream.get_final_message().parsed_output == Fruit(name="apple", count=3)


def test_parse_refuses_what_is_no_json(client):
    with pytest.raises(pydantic.ValidationError):
        client.messages.parse(**ask("hello"), output_format=Fruit)


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


@pytest.fixture(scope="module")
def real():
    with Server("--model", model_path("qwen2.5-coder:0.5b"), "--ctx", "8192") as server:
        server.wait_ready()
        yield anthropic.Anthropic(base_url=server.url, api_key=KEY, max_retries=0)


def test_a_real_models_answer_is_held_to_the_schema(real):
    """Nothing in the question says that JSON is wanted."""
    asked = ask("How many legs has a horse?")
    assert isinstance(real.messages.parse(**asked, output_format=Animal).parsed_output, Animal)
    with real.messages.stream(**asked, output_format=Animal) as stream:
        assert isinstance(stream.get_final_message().parsed_output, Animal)


def test_a_real_model_calls_a_tool_through_the_runner(real):
    """It has to call one, so that this does not hang on what so small a model likes to do."""
    runner = real.beta.messages.tool_runner(
        **ask("Run the command `ls /data` with the Bash tool."), tools=[bash], max_iterations=2,
        tool_choice={"type": "any"}, extra_body={"temperature": 0})
    calls = [b for message in runner for b in message.content if b.type == "tool_use"]
    assert calls and all(isinstance(call.input["command"], str) for call in calls)


FIND = [{"type": "tool_search_tool_bm25_20251119", "name": "find"},
        {"name": "get_weather", "description": "the weather in a city", "defer_loading": True,
         "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]


def test_a_found_tool_is_called_in_the_same_answer(client):
    request = ask("findtool", tools=FIND)
    with client.messages.stream(**request) as stream:
        for _ in stream:
            pass
        answer = stream.get_final_message()
    assert [b.type for b in answer.content] == ["text", "server_tool_use",
                                                "tool_search_tool_result", "tool_use"]
    assert answer.content[1].input == {"query": "weather in a city"}
    found = answer.content[2].content.tool_references
    assert [reference.tool_name for reference in found] == ["get_weather"]
    assert answer.content[2].tool_use_id == answer.content[1].id
    assert answer.stop_reason == "tool_use" and answer.content[3].input == {"city": "Paris"}
    whole = client.messages.create(**request)
    assert [b.to_dict() for b in answer.content] == [b.to_dict() for b in whole.content]
    assert whole.usage.input_tokens + whole.usage.cache_read_input_tokens == 90

    request["messages"] += [{"role": "assistant", "content": answer.content},
                            {"role": "user", "content": [
                                {"type": "tool_result", "tool_use_id": answer.content[3].id,
                                 "content": "17 degrees"}]}]
    assert client.messages.create(**request).content[0].text == "It is 17 degrees."


def test_a_web_search_is_unavailable_without_searxng(client):
    answer = client.messages.create(
        **ask("searchweb", tools=[{"type": "web_search_20250305", "name": "web_search"}]))
    assert [b.type for b in answer.content] == ["server_tool_use", "web_search_tool_result", "text"]
    assert answer.content[1].content.error_code == "unavailable"
    assert answer.usage.server_tool_use.web_search_requests == 1


def test_a_conversation_is_summed_up(client):
    # The scripted engine is asked for the summary by the instructions, which name a script; the
    # summary names the next, as words of the user's over 8 KiB are not kept behind it.
    request = {"model": "claude-sonnet-5-5", "max_tokens": 100, "betas": ["compact-2026-01-12"],
               "messages": [{"role": "user", "content": "words " * 2000}],
               "compaction": {"type": "summarize", "instructions": "sumup"}}
    with client.beta.messages.stream(**request) as stream:
        for _ in stream:
            pass
        answer = stream.get_final_message()
    assert [b.type for b in answer.content] == ["compaction"]
    assert answer.content[0].content == "hello" and answer.stop_reason == "compaction"
    assert answer.usage.input_tokens == 0
    assert [i.type for i in answer.usage.iterations] == ["compaction"]
    assert answer.usage.iterations[0].input_tokens == 9000

    del request["compaction"]
    request["messages"] = [{"role": "assistant", "content": answer.content}]
    assert client.beta.messages.create(**request).content[0].text == "Hello, wörld \U0001f600!"
