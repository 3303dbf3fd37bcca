"""Requests of the shape and sizes of a coding agent's (Claude Code 2.1 in its terminal), made up.

What real ones were seen to do, and these do too:
  * system: an attribution line whose end depends on the first prompt, a line of identity, and a long
    text that names the directory after its first half; tools: 12, about 31 KB
  * the first user message tells the state of git before the prompt; a message of role "system" with
    environment and skills follows it, as blocks at first and as a string later; cache_control moves
  * what the model said comes back changed: keys of a tool's input in the schema's order, values of
    the schema's type, Edit's replace_all filled in, blank text dropped
  * a title is asked for without tools and with a schema; sub-agents have a system prompt and tools of
    their own; after /compact the history is one string

Sizes are bytes times `scale`; about 4.4 of them make a token.
"""
import hashlib
import json

from day_text import Text

BYTES_PER_TOKEN = 4.4
SYSTEM_BYTES, TOOLS_BYTES, ENVIRONMENT_BYTES = 7400, 31200, 9300
AGENT_SYSTEM_BYTES, AGENT_TOOLS_BYTES = 3400, 26000
TITLE_BYTES, COMPACT_BYTES, SUMMARY_BYTES = 3400, 2400, 6000


def _schema(required, **properties):
    """Properties in the order in which the client sends them back."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
            "properties": {name: {"type": kind} for name, kind in properties.items()},
            "required": required, "additionalProperties": False}


SCHEMAS = {
    "Agent": _schema(["description", "prompt"], description="string", prompt="string",
                     subagent_type="string", run_in_background="boolean"),
    "AskUser": _schema(["question"], question="string"),
    "Bash": _schema(["command"], command="string", timeout="number", description="string",
                    run_in_background="boolean"),
    "Edit": _schema(["file_path", "old_string", "new_string"], replace_all="boolean",
                    file_path="string", old_string="string", new_string="string"),
    "ListAgents": _schema([]),
    "Read": _schema(["file_path"], file_path="string", offset="integer", limit="integer"),
    "Report": _schema(["findings"], findings="string"),
    "Schedule": _schema(["delay_seconds", "prompt"], delay_seconds="number", prompt="string"),
    "Skill": _schema(["skill"], skill="string", args="string"),
    "ToolSearch": _schema(["query"], query="string", max_results="number"),
    "Workflow": _schema(["script"], script="string"),
    "Write": _schema(["file_path", "content"], file_path="string", content="string"),
}
AGENT_TOOLS = [name for name in SCHEMAS if name not in ("Agent", "AskUser")]


def make_tools(names, n_bytes, seed):
    fixed = sum(len(json.dumps(SCHEMAS[name])) for name in names)
    each = max(40, (n_bytes - fixed) // len(names))
    return [{"name": name, "description": Text("tool", seed, name).prose(each),
             "input_schema": SCHEMAS[name]} for name in names]


class Setting:
    """What the requests of one day have in common: sizes, and whether the attribution line is sent
    (a client's variable switches it off)."""

    def __init__(self, scale=1.0, attribution=True):
        self.scale = scale
        self.attribution = attribution
        self.tools = make_tools(list(SCHEMAS), self.size(TOOLS_BYTES), "main")
        self.agent_tools = make_tools(AGENT_TOOLS, self.size(AGENT_TOOLS_BYTES), "agent")

    def size(self, n_bytes):
        return max(16, int(n_bytes * self.scale))

    def tokens(self, n_tokens):
        """Bytes of about n_tokens."""
        return self.size(n_tokens * BYTES_PER_TOKEN)

    def system(self, identity, text, first_prompt):
        mark = {"cache_control": {"type": "ephemeral"}}
        blocks = [{"type": "text", "text": identity, **mark}, {"type": "text", "text": text, **mark}]
        if self.attribution:
            end = hashlib.sha256(first_prompt.encode()).hexdigest()[:3]
            blocks.insert(0, {"type": "text", "text": "x-anthropic-billing-header: "
                              f"cc_version=2.1.330.{end}; cc_entrypoint=cli;"})
        return blocks

    def main_system(self, directory, first_prompt):
        half = self.size(SYSTEM_BYTES) // 2
        text = (Text("system", 1).prose(half) + f"\nYour memory is in ~/.agent/projects/{directory}/"
                + "memory/.\n" + Text("system", 2).prose(half))
        return self.system("You are an agent for the command line.", text, first_prompt)


def coerced(value, kind):
    """As the client makes of a string what the schema asks for."""
    if not isinstance(value, str):
        return value
    if kind == "boolean" and value in ("true", "false"):
        return value == "true"
    if kind in ("integer", "number"):
        try:
            return int(value) if "." not in value else float(value)
        except ValueError:
            pass
    return value


def returned_input(name, given):
    properties = SCHEMAS.get(name, {}).get("properties", {})
    if not isinstance(given, dict):
        return given
    given = {key: coerced(value, properties.get(key, {}).get("type"))
             for key, value in given.items()}
    if name == "Edit":
        given.setdefault("replace_all", False)
    known = {key: given[key] for key in properties if key in given}
    return {**known, **{key: value for key, value in given.items() if key not in known}}


def returned(content):
    """The blocks of an answer as the client sends them back."""
    blocks = []
    for block in content:
        if block["type"] == "text" and block["text"].strip():
            blocks.append({"type": "text", "text": block["text"]})
        elif block["type"] == "thinking":
            blocks.append({"type": "thinking", "thinking": block["thinking"],
                           "signature": block.get("signature", "")})
        elif block["type"] == "tool_use":
            blocks.append({"type": "tool_use", "id": block["id"], "name": block["name"],
                           "input": returned_input(block["name"], block["input"])})
    return blocks or [{"type": "text", "text": "(no content)"}]


class Conversation:
    """One conversation of the client: what was said so far, and the next request of it."""

    def __init__(self, setting, directory, prompt, seed):
        self.setting = setting
        self.session = str(seed)
        self.text = Text("conversation", seed)
        self.system = setting.main_system(directory, prompt)
        self.tools = setting.tools
        self.messages = [{"role": "user", "content": [
            {"type": "text", "text": "<system-reminder>\ngitStatus: branch main of "
             f"{directory}\n" + Text("git", directory).prose(setting.size(1500))
             + "\n</system-reminder>"},
            {"type": "text", "text": prompt}]}]
        environment = (f"# Environment\nWorking directory: /home/user/{directory}\n"
                       + Text("environment").prose(setting.size(ENVIRONMENT_BYTES)))
        self.messages.append({"role": "system", "content": [{"type": "text", "text": environment}]})

    def body(self, max_tokens, **more):
        messages = [dict(m) for m in self.messages]
        last = messages[-1]
        blocks = last["content"]
        if isinstance(blocks, str):
            blocks = [{"type": "text", "text": blocks}]
        last["content"] = blocks[:-1] + [dict(blocks[-1], cache_control={"type": "ephemeral"})]
        return {"model": "claude-local", "messages": messages, "system": self.system,
                "tools": self.tools, **more,
                "metadata": {"user_id": json.dumps({"session_id": self.session})},
                "max_tokens": max_tokens, "stream": True}

    def take(self, content):
        """The model's answer; after the first, the environment is sent as a string."""
        for message in self.messages:
            if message["role"] == "system" and not isinstance(message["content"], str):
                message["content"] = message["content"][0]["text"]
        self.messages.append({"role": "assistant", "content": returned(content)})

    def go_on(self, n_bytes):
        """What comes back from the tools, or where none was called, what the user says next."""
        calls = [b for b in self.messages[-1]["content"] if b["type"] == "tool_use"]
        blocks = [{"tool_use_id": call["id"], "type": "tool_result",
                   "content": self.text.code(max(16, n_bytes // len(calls)), numbered=True)}
                  for call in reversed(calls)]
        if not blocks:
            blocks = [{"type": "text", "text": f"This is {self.text.path()}:\n```python\n"
                       + self.text.code(n_bytes) + "\n```\nGo on with the next step."}]
        self.messages.append({"role": "user", "content": blocks})

    def ask_to_compact(self):
        text = "Answer with text only, and call no tool. " + self.text.prose(
            self.setting.size(COMPACT_BYTES))
        self.messages.append({"role": "user", "content": [{"type": "text", "text": text}]})

    def compacted(self, summary):
        """The conversation that goes on after /compact."""
        after = Conversation.__new__(Conversation)
        after.__dict__.update(self.__dict__)
        text = ("This session goes on from an earlier conversation that ran out of room.\n"
                + summary + "\n" + self.text.prose(self.setting.size(SUMMARY_BYTES)))
        after.system = self.setting.system(self.system[-2]["text"], self.system[-1]["text"], text)
        after.messages = [{"role": "user", "content": text},
                          {"role": "system", "content": self.messages[1]["content"]}]
        return after


class SubAgent(Conversation):
    """A sub-agent's: system prompt, tools and the head of its task are the same for all of them."""

    def __init__(self, setting, directory, task, seed):
        super().__init__(setting, directory, task, seed)
        self.system = setting.system(
            "You are an agent for the command line.",
            Text("agent system").prose(setting.size(AGENT_SYSTEM_BYTES)), task)
        self.tools = setting.agent_tools
        self.messages = [{"role": "user", "content": [
            {"type": "text", "text": Text("agent context", directory).prose(setting.size(2500))},
            {"type": "text", "text": task}]}]


def title_body(setting, prompt):
    schema = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"],
              "additionalProperties": False}
    text = Text("title").prose(setting.size(TITLE_BYTES))
    return {"model": "claude-local",
            "messages": [{"role": "user", "content": f"<session>\n{prompt}\n</session>"}],
            "system": setting.system("You are an agent for the command line.", text, prompt),
            "tools": [], "max_tokens": 40,
            "output_config": {"format": {"type": "json_schema", "schema": schema}}, "stream": True}


# ---- What two requests have in common ----

def plain(body):
    """A request's content in the order in which templates print it, without what no model is shown;
    equal beginnings of two of these are equal beginnings of two prompts."""
    parts = [json.dumps(body.get("tools") or [])]
    parts += [b["text"] for b in body.get("system") or []
              if not b["text"].startswith("x-anthropic-billing-header:")]
    for message in body["messages"]:
        content = message["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        parts.append(message["role"])
        parts += [json.dumps({k: v for k, v in b.items() if k not in ("cache_control", "id",
                                                                      "tool_use_id")},
                             sort_keys=True) for b in content]
    return "\x00".join(parts)


def common_length(a, b):
    """Of the longest common beginning."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[:middle] == b[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
