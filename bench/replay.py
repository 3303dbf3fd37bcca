#!/usr/bin/env python3
"""Replays recorded client requests against a running server and checks every answer.

    bench/replay.py --url http://127.0.0.1:7777 FOLDER...

A recording is a JSON file with "method", "path", "headers" (pairs) and "body"; the files of one
folder are one conversation, sent in order.  Each POST /v1/messages goes out as a stream through the
official Python SDK, under the recorded user agent, and the SDK's own accumulator must be able to
build the message.  Checked for each:

  * the stream is well formed, and usage adds up to what count_tokens says of the same body;
  * a request that goes on with the conversation of the one before reads at least 95 % of that one's
    prompt from the cache.

Prints one line a request and exits 1 if a check failed.  Needs the `anthropic` package.
"""
import argparse
import json
import pathlib
import sys
import time

import anthropic


def conversation_goes_on(before, now):
    """Whether `now` continues `before`: the same first user text and at least as many messages."""

    def head(body):
        first = body["messages"][0]["content"]
        return first if isinstance(first, str) else [b.get("text") for b in first]

    return len(now["messages"]) > len(before["messages"]) and head(before) == head(now)


def send(client, record, max_tokens):
    body = record["body"]
    agent = {k: v for k, v in record["headers"] if k.lower() == "user-agent"}
    sent = dict(body, max_tokens=min(max_tokens, body.get("max_tokens", max_tokens)))
    fixed = {key: sent.pop(key) for key in ("model", "messages", "max_tokens")}
    sent.pop("stream", None)
    begin = time.monotonic()
    first = None
    with client.messages.stream(**fixed, extra_body=sent, extra_headers=agent,
                                timeout=3600) as stream:
        for event in stream:
            if first is None and event.type == "content_block_delta":
                first = time.monotonic() - begin
        message = stream.get_final_message()
    return message, first, time.monotonic() - begin


def replay_folder(client, folder, max_tokens):
    failures = 0
    earlier = []  # (body, tokens of the prompt); a sub-agent's requests come between two of one run
    for path in sorted(pathlib.Path(folder).glob("*.json")):
        record = json.loads(path.read_text())
        if record["method"] != "POST" or not record["path"].startswith("/v1/messages"):
            continue
        body = record["body"]
        counted = client.messages.count_tokens(
            model=body["model"], messages=body["messages"],
            extra_body={k: body[k] for k in ("system", "tools", "tool_choice", "thinking",
                                             "output_config") if k in body}).input_tokens
        message, first, total = send(client, record, max_tokens)
        usage = message.usage
        prompt = (usage.input_tokens + (usage.cache_read_input_tokens or 0)
                  + (usage.cache_creation_input_tokens or 0))
        problems = []
        if prompt != counted:
            problems.append(f"usage adds up to {prompt}, counted {counted}")
        before_prompt = next((n for before, n in reversed(earlier)
                              if conversation_goes_on(before, body)), 0)
        if before_prompt:
            share = (usage.cache_read_input_tokens or 0) / before_prompt
            if share < 0.95:
                problems.append(f"reads only {share:.1%} of the request before")
        print(f"{path.parent.name}/{path.name}: prompt {prompt}, "
              f"from cache {usage.cache_read_input_tokens}, said {usage.output_tokens} "
              f"({message.stop_reason}), first delta {first or total:.1f} s, all {total:.1f} s"
              + "".join("  FAILED: " + p for p in problems), flush=True)
        failures += bool(problems)
        earlier.append((body, prompt))
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--url", default="http://127.0.0.1:7777")
    parser.add_argument("--key", default="pensieve-local-token")
    parser.add_argument("--max-tokens", type=int, default=16)
    parser.add_argument("folders", nargs="+")
    args = parser.parse_args()
    client = anthropic.Anthropic(base_url=args.url, api_key=args.key, max_retries=0)
    failures = sum(replay_folder(client, f, args.max_tokens) for f in args.folders)
    print(f"{failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
