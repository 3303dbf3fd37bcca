#!/usr/bin/env python3
"""Makes a model call tools of generated schemas, and validates every call by an independent library.

    bench/schemas.py --pensieve build/release/pensieve --model smollm2:135m --model qwen2.5-coder:0.5b
    bench/schemas.py --url http://127.0.0.1:7777 --schemas 50

Schema n is the same on every machine and for every model.  It is built of what the tools of real
clients have: nested objects, arrays with limits, enumerations, constants, patterns, formats, numbers
with limits, alternatives, references, recursion, lists of types, `$schema`, descriptions and defaults.
Each is sent as the one tool of a request, with `tool_choice` (--choice), temperature 1 and --max-tokens;
--at-once of them at a time, as agents do, which is also faster.

Counted for each model: calls that are valid against their schema, that are not, requests that failed,
replies without a call (only --choice auto may have them), and calls that ended with an error because
the window cut them.  Prints what was wrong with each bad call and exits 1 if there was one, or a failed
request.

With --speed, nothing is judged: each of the schemas is asked for twice, with the call held to the schema
and as free text (`tool_choice` none) of the same prompt, which has been read before; told is the ratio of
tokens a second over all of them.  Answers come whole there, as a client that reads a stream takes a core.

Needs the `anthropic` and `jsonschema` packages.
"""
import argparse
import collections
import concurrent.futures
import json
import pathlib
import random
import sys
import tempfile
import time

import anthropic
import jsonschema

import servers

WORDS = ("path", "name", "count", "mode", "lines", "query", "limit", "tags", "owner", "start",
         "options", "items", "size", "unit", "color", "target", "filter", "depth", "kind", "value")
PATTERNS = ("^[a-z]{1,8}$", "^[A-Z]{2}-[0-9]{3}$", "^v[0-9]+\\.[0-9]+$", "^#[0-9a-f]{6}$",
            "^(red|green|blue)$", "^\\d{4}$")
FORMATS = ("date", "date-time", "time", "uuid")
MAX_DEPTH = 3


class Generator:
    """One schema from one seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.definitions = {}

    def schema(self):
        schema = self.an_object(0)
        if self.random.random() < 0.3:
            schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
        if self.definitions:
            schema["$defs"] = self.definitions
        return schema

    def pick(self, choices):
        return self.random.choice(choices)

    def value(self, depth):
        kinds = [self.a_string, self.a_number, self.an_enumeration, self.a_boolean, self.a_constant,
                 self.several_types]
        if depth < MAX_DEPTH:
            kinds += [self.an_object, self.an_array, self.alternatives, self.a_reference, self.a_map,
                      self.all_of]
        schema = self.pick(kinds)(depth)
        if self.random.random() < 0.3:
            schema["description"] = f"The {self.pick(WORDS)} of it"
        return schema

    def an_object(self, depth):
        names = self.random.sample(WORDS, self.random.randint(1, 5 if depth == 0 else 3))
        schema = {"type": "object", "properties": {name: self.value(depth + 1) for name in names}}
        required = [name for name in names if self.random.random() < 0.6]
        if required:
            schema["required"] = required
        if self.random.random() < 0.5:
            schema["additionalProperties"] = False
        return schema

    def an_array(self, depth):
        schema = {"type": "array", "items": self.value(depth + 1)}
        if self.random.random() < 0.5:
            schema["minItems"] = self.random.randint(0, 2)
        if self.random.random() < 0.6:
            schema["maxItems"] = self.random.randint(2, 4)
        return schema

    def a_map(self, depth):
        return {"type": "object", "additionalProperties": self.value(depth + 1)}

    def a_string(self, _):
        schema = {"type": "string"}
        chosen = self.random.random()
        if chosen < 0.2:
            schema["pattern"] = self.pick(PATTERNS)
        elif chosen < 0.35:
            schema["format"] = self.pick(FORMATS)
        elif chosen < 0.5:
            schema["minLength"] = self.random.randint(1, 4)
            schema["maxLength"] = self.random.randint(4, 24)
        return schema

    def a_number(self, _):
        schema = {"type": self.pick(("integer", "number"))}
        if schema["type"] == "integer" and self.random.random() < 0.5:
            schema["minimum"] = self.random.randint(-20, 5)
            schema["maximum"] = self.random.randint(6, 2000)
        return schema

    def an_enumeration(self, _):
        values = self.random.sample(WORDS, self.random.randint(2, 5))
        if self.random.random() < 0.3:
            return {"enum": values + [self.random.randint(0, 9), None]}
        return {"type": "string", "enum": values}

    def a_boolean(self, _):
        return {"type": "boolean"}

    def a_constant(self, _):
        return {"const": self.pick((True, 7, "fixed", None))}

    def several_types(self, _):
        return {"type": [self.pick(("string", "integer", "boolean")), "null"]}

    def alternatives(self, depth):
        # oneOf with two kinds that exclude each other, as generators of schemas write unions.
        return {self.pick(("anyOf", "oneOf")): [{"type": "integer"}, self.an_array(depth + 1),
                                                {"type": "null"}]}

    def all_of(self, depth):
        left, right = self.random.sample(WORDS, 2)
        return {"allOf": [{"type": "object", "properties": {left: self.value(depth + 1)},
                           "required": [left]},
                          {"type": "object", "properties": {right: self.value(depth + 1)}}]}

    def a_reference(self, depth):
        name = f"part{len(self.definitions)}"
        self.definitions[name] = {}
        if self.random.random() < 0.4:
            self.definitions[name] = {
                "type": "object", "required": ["name"], "additionalProperties": False,
                "properties": {"name": {"type": "string"},
                               "items": {"type": "array", "maxItems": 2,
                                         "items": {"$ref": f"#/$defs/{name}"}}}}
        else:
            self.definitions[name] = self.value(depth + 1)
        return {"$ref": f"#/$defs/{name}"}


CHOICES = {"tool": {"type": "tool", "name": "record"}, "any": {"type": "any"},
           "auto": {"type": "auto"}, "none": {"type": "none"}}


def request(schema, choice, max_tokens):
    return {"model": "claude-local", "max_tokens": max_tokens,
            "system": "Call the tool `record` with values of your own, as short as they may be.",
            "messages": [{"role": "user", "content": "Record something."}],
            "tools": [{"name": "record", "description": "Records something.",
                       "input_schema": schema}],
            "tool_choice": CHOICES[choice], "extra_body": {"temperature": 1}}


def answer(client, schema, choice, max_tokens):
    """One reply, as a message, put together of its stream."""
    with client.messages.stream(**request(schema, choice, max_tokens)) as stream:
        return stream.get_final_message()


def ask(client, schema, args):
    """The tool calls of one reply, and the reply."""
    message = answer(client, schema, args.choice, args.max_tokens)
    return [block.input for block in message.content if block.type == "tool_use"], message


def judge(schema, call):
    """What the validator has against a call; None where it is valid."""
    validator = jsonschema.Draft202012Validator(schema)
    error = jsonschema.exceptions.best_match(validator.iter_errors(call))
    return None if error is None else f"{error.json_path}: {error.message[:200]}"


def try_schema(client, args, n):
    """What became of schema n: counts, tokens, and lines about what was wrong."""
    counts, lines = collections.Counter(), []
    schema = Generator(n).schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    try:
        calls, message = ask(client, schema, args)
    except anthropic.APIStatusError as error:
        # A call that the window cuts ends as an error event of the stream, status 200.
        cut = "cut inside the input" in str(error) or "repeated itself" in str(error)
        counts["cut" if cut else "failed"] += 1
        return counts, 0, [] if cut else [f"schema {n}: {error}"]
    if not calls:
        cut = message.stop_reason in ("max_tokens", "model_context_window_exceeded")
        counts["cut" if cut else "no call"] += 1
        if not cut:
            lines.append(f"schema {n}: no call, {message.stop_reason}: {message.content}")
    for call in calls:
        problem = judge(schema, call)
        counts["valid" if problem is None else "invalid"] += 1
        if problem is not None:
            lines.append(f"schema {n}: {problem}\n  {json.dumps(schema)}\n  {json.dumps(call)}")
    return counts, message.usage.output_tokens, lines


def run(client, args, label):
    counts = collections.Counter()
    n_tokens, begin = 0, time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(args.at_once) as pool:
        for some, n, lines in pool.map(lambda n: try_schema(client, args, n),
                                       range(args.first, args.first + args.schemas)):
            counts += some
            n_tokens += n
            for line in lines:
                print(label, line, flush=True)
    seconds = time.monotonic() - begin
    print(f"{label}: " + ", ".join(f"{counts[what]} {what}" for what in
                                   ("valid", "invalid", "failed", "no call", "cut"))
          + f"; {n_tokens} tokens in {seconds:.0f} s", flush=True)
    missing = counts["no call"] if args.choice != "auto" else 0
    return counts["invalid"] + counts["failed"] + missing


def compare_speed(client, args, label):
    tokens, seconds = collections.Counter(), collections.Counter()
    for n in range(args.first, args.first + args.schemas):
        schema = Generator(n).schema()
        for choice in ("none", args.choice) if n % 2 else (args.choice, "none"):
            try:
                client.messages.create(**request(schema, choice, 1))
                begin = time.monotonic()
                message = client.messages.create(**request(schema, choice, args.max_tokens))
            except anthropic.APIStatusError:
                continue  # a call that the window cut, or that went round in circles
            seconds[choice] += time.monotonic() - begin
            tokens[choice] += message.usage.output_tokens
    held, free = (tokens[c] / seconds[c] for c in (args.choice, "none"))
    print(f"{label}: held to the schema {held:.1f} tokens/s ({tokens[args.choice]} tokens), free "
          f"{free:.1f} ({tokens['none']}): {held / free:.3f}", flush=True)
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--url", help="a server that runs already")
    parser.add_argument("--pensieve", help="the program to start")
    parser.add_argument("--model", action="append", default=[], help="once for each model")
    parser.add_argument("--schemas", type=int, default=500)
    parser.add_argument("--first", type=int, default=0, help="the number of the first schema")
    parser.add_argument("--at-once", type=int, default=4, help="requests, where speed is not told")
    parser.add_argument("--threads", type=int, help="of the server: 1 where several runs share cores")
    parser.add_argument("--speed", action="store_true", help="compare with free text instead")
    parser.add_argument("--choice", choices=("tool", "any", "auto"), default="tool")
    parser.add_argument("--max-tokens", type=int, default=400)
    parser.add_argument("--window", type=int, default=4096)
    args = parser.parse_args()

    def client_of(url):
        return anthropic.Anthropic(base_url=url, api_key=servers.KEY, max_retries=0, timeout=600)

    work = compare_speed if args.speed else run
    if args.url:
        return 1 if work(client_of(args.url), args, args.url) else 0
    if not args.pensieve or not args.model:
        parser.error("either --url, or --pensieve and --model")
    bad = 0
    with tempfile.TemporaryDirectory(prefix="bench-schemas.") as folder:
        for model in args.model:
            log = pathlib.Path(folder) / "server.log"
            options = ["--pool", args.window * (1 if args.speed else args.at_once)]
            if args.threads:
                options += ["--threads", args.threads]
            if args.speed:
                options += ["--drafts=false"]  # guesses gain more or less by what is said
            with servers.Pensieve(args.pensieve, model, args.window, log, options) as server:
                bad += work(client_of(server.url), args, model)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
