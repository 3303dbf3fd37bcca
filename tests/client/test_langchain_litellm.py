"""langchain-anthropic and litellm, as programs use them, against the scripted engine."""
import anthropic
import litellm
import pydantic
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from support.pensieve_server import KEY, Server, model_path, script_server

TEXT = "Hello, wörld 😀!"
BASH = {"type": "function", "function": {
    "name": "Bash", "description": "Runs a command.",
    "parameters": {"type": "object", "properties": {"command": {"type": "string"}},
                   "required": ["command"]}}}


@pytest.fixture(scope="module")
def server():
    with script_server() as s:
        yield s


@tool("Bash")
def bash(command: str) -> str:
    """Runs a command."""
    return f"ran {command}"


class Read(pydantic.BaseModel):
    """Reads a file."""
    path: str


def chat(server, **more):
    return ChatAnthropic(model="claude-local", base_url=server.url, api_key=KEY, max_retries=0,
                         **more)


def complete(server, text, **more):
    return litellm.completion(model="anthropic/claude-local", api_base=server.url, api_key=KEY,
                              messages=[{"role": "user", "content": text}], num_retries=0, **more)


def test_langchain_invokes_and_streams(server):
    whole = chat(server).invoke("hello")
    assert whole.content == TEXT
    assert whole.usage_metadata["input_tokens"] == 10
    parts = list(chat(server).stream("hello"))
    assert "".join(part.text for part in parts) == TEXT
    assert len(parts) > 2


def test_langchain_goes_through_a_tool_and_back(server):
    model = chat(server).bind_tools([bash])
    history = [HumanMessage("makefile")]
    history.append(model.invoke(history))
    (call,) = history[1].tool_calls
    assert call["args"]["command"] == "echo made > made.txt"
    history.append(ToolMessage(bash.invoke(call["args"]), tool_call_id=call["id"]))
    assert model.invoke(history).content == "It is done."


def test_langchain_builds_streamed_calls(server):
    gathered = None
    for part in chat(server).bind_tools([bash, Read]).stream("tools-split1"):
        gathered = part if gathered is None else gathered + part
    assert [(c["name"], c["args"]) for c in gathered.tool_calls] == [
        ("Read", {"path": "a.c"}), ("Bash", {"command": "ls"})]


def test_langchain_parses_a_structured_answer(server):
    assert chat(server).with_structured_output(Read).invoke("tools") == Read(path="a.c")


def test_langchain_counts_and_reports_errors(server):
    assert chat(server).get_num_tokens_from_messages([HumanMessage("hello")]) == 10
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long"):
        chat(server).invoke("toolong")


def test_litellm_completes_and_streams(server):
    whole = complete(server, "hello")
    assert whole.choices[0].message.content == TEXT
    assert whole.usage.prompt_tokens == 10
    parts = [part.choices[0].delta.content or "" for part in complete(server, "hello", stream=True)]
    assert "".join(parts) == TEXT


@pytest.mark.parametrize("stream", [False, True])
def test_litellm_returns_calls(server, stream):
    answer = complete(server, "makefile", tools=[BASH], stream=stream)
    if stream:
        answer = litellm.stream_chunk_builder(list(answer))
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "Bash"
    assert "echo made > made.txt" in call.function.arguments
    assert answer.choices[0].finish_reason == "tool_calls"


def test_litellm_reports_errors(server):
    with pytest.raises(litellm.ContextWindowExceededError):
        complete(server, "toolong")
    with pytest.raises(litellm.InternalServerError):
        complete(server, "broken")


def test_a_real_model_fills_a_structure():
    with Server("--model", model_path("qwen2.5-coder:0.5b"), "--ctx", "8192") as server:
        server.wait_ready()
        model = chat(server, max_tokens=100, temperature=0).with_structured_output(Read)
        assert isinstance(model.invoke("Read the file /etc/hostname.").path, str)
        answer = complete(server, "Say hello in five words.", max_tokens=40)
        assert answer.choices[0].message.content.strip()
