"""What the Claude Agent SDK does with a server.  test_agent_sdk.py runs this with the Python of
requirements-agent-sdk.txt: the name of one function below; it prints what that returns as JSON.

PENSIEVE_TEST_CLAUDE is the Claude Code that the SDK drives; server and key come as for any client."""
import asyncio
import json
import os
import sys

from claude_agent_sdk import (AgentDefinition, AssistantMessage, ClaudeAgentOptions,
                              ClaudeSDKClient, PermissionResultDeny, ResultMessage, StreamEvent,
                              TextBlock, create_sdk_mcp_server, query, tool)

SCHEMA = {"type": "object", "properties": {"name": {"type": "string"},
                                           "count": {"type": "integer"}},
          "required": ["name", "count"]}


def options(**more):
    return ClaudeAgentOptions(cli_path=os.environ["PENSIEVE_TEST_CLAUDE"], **more)


def texts_of(messages):
    return [block.text for message in messages if isinstance(message, AssistantMessage)
            for block in message.content if isinstance(block, TextBlock)]


def result_of(messages):
    (result,) = [message for message in messages if isinstance(message, ResultMessage)]
    return result


async def ask(prompt, **more):
    return [message async for message in query(prompt=prompt, options=options(**more))]


async def answer():
    messages = await ask("fits")
    usage = result_of(messages).usage
    return {"texts": texts_of(messages), "is_error": result_of(messages).is_error,
            "input_tokens": usage["input_tokens"]}


async def short():
    """A prompt so short that a real model reads it in seconds."""
    messages = await ask("Say hello in five words.", tools=[], system_prompt="You are brief.",
                         extra_args={"bare": None}, env={"CLAUDE_CODE_MAX_OUTPUT_TOKENS": "64"})
    return {"texts": texts_of(messages), "is_error": result_of(messages).is_error}


async def parts():
    messages = await ask("fits", include_partial_messages=True)
    events = [message.event for message in messages if isinstance(message, StreamEvent)]
    deltas = [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"]
    return {"text": "".join(deltas), "texts": texts_of(messages)}


async def own_tools():
    """Two tools of this process; Claude Code has to search for them first."""
    notes = []

    @tool("add", "Adds a note to the notebook.", {"text": str})
    async def add(arguments):
        notes.append(arguments["text"])
        return {"content": [{"type": "text", "text": "added"}]}

    @tool("list", "Lists the notes of the notebook.", {})
    async def list_notes(arguments):
        text = "\n".join(f"{i}. {note}" for i, note in enumerate(notes, 1))
        return {"content": [{"type": "text", "text": text}]}

    messages = await ask(
        "notes", mcp_servers={"notes": create_sdk_mcp_server("notes", tools=[add, list_notes])},
        allowed_tools=["mcp__notes__add", "mcp__notes__list"])
    return {"notes": notes, "result": result_of(messages).result}


async def conversation():
    results = []
    async with ClaudeSDKClient(options()) as client:
        for prompt in ("fits", "recall"):
            await client.query(prompt)
            messages = [message async for message in client.receive_response()]
            results.append(result_of(messages).result)
    return {"results": results}


async def resumed():
    first = result_of(await ask("fits"))
    second = result_of(await ask("recall", resume=first.session_id))
    return {"result": second.result, "is_same": second.session_id == first.session_id}


async def structured():
    messages = await ask("structured", output_format={"type": "json_schema", "schema": SCHEMA})
    return {"output": result_of(messages).structured_output}


async def subagent():
    finder = AgentDefinition(description="Finds words.", prompt="You find words.", tools=["Read"])
    return {"result": result_of(await ask("appoint", agents={"finder": finder})).result}


async def denied():
    asked = []

    async def decide(name, arguments, context):
        asked.append([name, arguments["command"]])
        return PermissionResultDeny(message="Not in this house.")

    async with ClaudeSDKClient(options(can_use_tool=decide)) as client:
        await client.query("forbidden")
        messages = [message async for message in client.receive_response()]
    return {"asked": asked, "result": result_of(messages).result}


async def interrupted():
    async with ClaudeSDKClient(options(include_partial_messages=True)) as client:
        await client.query("endless")
        messages = []
        async for message in client.receive_response():
            messages.append(message)
            if isinstance(message, StreamEvent) and message.event["type"] == "content_block_delta":
                await client.interrupt()
    return {"subtype": result_of(messages).subtype}


SCENARIOS = (answer, short, parts, own_tools, conversation, resumed, structured, subagent, denied,
             interrupted)

if __name__ == "__main__":
    (wanted,) = [scenario for scenario in SCENARIOS if scenario.__name__ == sys.argv[1]]
    print(json.dumps(asyncio.run(wanted())))
