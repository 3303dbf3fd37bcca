#!/usr/bin/env python3
"""Pensieve and llama-server beside each other: the same model, machine, requests and run.

    bench/peers.py --gguf FILE [--pensieve build/release/pensieve] [--llama-server PROGRAM]
                   [--prompts 100 4000 12000] [--rounds 3] [--out FOLDER]

llama-server is built by bench/build-llama-server unless one is named.  The servers take turns, a
fresh process each round, and the table shows the medians:

  * first token: of a prompt that the server has never seen, and of the same prompt again
  * writing: tokens a second behind that prompt
  * memory: resident when idle and at its peak
  * a running stream's longest pause while another client's longest prompt is read
  * free again: from a client's leaving, in the middle of that, to the next client's first token
  * the contract: checks of what clients of the Messages API rely on

Prompts are made by the program.  The table goes to standard output, in Markdown.
"""
import argparse
import concurrent.futures
import datetime
import http.client
import json
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import servers

ROOT = pathlib.Path(__file__).resolve().parent.parent
POOL = ("file line open read write path name test build error value count list table index cache "
        "token model batch step queue time limit start end").split()
TOOL = {"name": "look_up", "description": "Looks a word up.", "input_schema": {
    "type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}}


RUN = time.time_ns()  # a server that keeps prompts on disk has seen none of an earlier run


def words(n, seed):
    rng = random.Random(f"{RUN} {seed}")
    return " ".join(rng.choice(POOL) for _ in range(n))


def message(text, max_tokens=32, **more):
    return {"model": "claude-local", "max_tokens": max_tokens, "temperature": 0,
            "messages": [{"role": "user", "content": text}], **more}


def post(port, path, body, key=servers.KEY, timeout=1800):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    connection.request("POST", path, json.dumps(body),
                       {"content-type": "application/json", "x-api-key": key,
                        "anthropic-version": "2023-06-01"})
    return connection, connection.getresponse()


def ask(port, body, path="/v1/messages", key=servers.KEY):
    connection, response = post(port, path, body, key)
    text = response.read()
    connection.close()
    try:
        return response.status, dict(response.getheaders()), json.loads(text)
    except ValueError:
        return response.status, dict(response.getheaders()), {}


def stream(port, body, on_delta=None):
    """(time to the first delta, times of deltas, all events)"""
    begin = time.monotonic()
    connection, response = post(port, "/v1/messages", dict(body, stream=True))
    times, events = [], []
    for line in response:
        if not line.startswith(b"data: {"):
            continue
        events.append(json.loads(line[6:]))
        if events[-1].get("type") == "content_block_delta":
            times.append(time.monotonic())
            if on_delta:
                on_delta()
    connection.close()
    return (times[0] - begin if times else float("nan")), times, events


def measure_prompt(port, n, seed, figures):
    body = message(words(n, seed) + "\nRepeat the text above.")
    cold, times, events = stream(port, body)
    again, _, _ = stream(port, body)
    said = [e for e in events if e.get("type") == "message_delta"][-1]["usage"]["output_tokens"]
    figures[f"first token, {n}, s"] = cold
    figures[f"first token again, {n}, s"] = again
    if len(times) > 1:
        figures[f"writing behind {n}, tokens/s"] = (said - 1) / (times[-1] - times[0])


def measure_pause(port, n, seed, figures):
    """A stream's longest pause beside a long prompt; then how soon the engine is free."""
    begun = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(stream, port, message("Count from 1 to 100, one a line.", 200),
                              begun.set)
        while not begun.wait(0.1) and not running.done():
            pass
        connection, _ = post_only(port, dict(message(words(n, seed)), stream=True))
        _, times, _ = running.result()
        pauses = [b - a for a, b in zip(times, times[1:])]
        figures["longest pause of a stream, s"] = max(pauses, default=float("nan"))
        connection.close()
        left = time.monotonic()
        stream(port, message("Hi", 1))
        figures["free again, s"] = time.monotonic() - left


def post_only(port, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1800)
    connection.request("POST", "/v1/messages", json.dumps(body),
                       {"content-type": "application/json", "x-api-key": servers.KEY})
    return connection, None


# ---- The contract ----

def counted_is_used(port):
    body = message("Count me, please: " + words(20, 5), 4, tools=[TOOL])
    _, _, counted = ask(port, {k: v for k, v in body.items() if k not in ("max_tokens",
                                                                          "temperature")},
                        "/v1/messages/count_tokens")
    _, _, answer = ask(port, body)
    usage = answer["usage"]
    return counted["input_tokens"] == sum(usage.get(k) or 0 for k in (
        "input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"))


def unknown_fields(port):
    return ask(port, message("Hi", 4, some_new_field={"a": 1}))[0] == 200


def system_in_messages(port):
    body = message("Hi", 4)
    body["messages"] += [{"role": "assistant", "content": "Hello."},
                         {"role": "user", "content": "Go on."},
                         {"role": "system", "content": "Be brief."}]
    return ask(port, body)[0] == 200


def stop_sequence(port):
    _, _, answer = ask(port, message("Tell me about the sea.", 60, stop_sequences=["e"]))
    return answer["stop_reason"] == "stop_sequence" and answer["stop_sequence"] == "e"


def error_shape(port):
    status, headers, answer = ask(port, {"model": "m", "max_tokens": 5, "messages": 7})
    return (status == 400 and answer.get("type") == "error"
            and answer["error"]["type"] == "invalid_request_error"
            and "messages" in answer["error"]["message"] and "request-id" in headers)


def wrong_key(port):
    status, headers, answer = ask(port, message("Hi", 4), key="wrong")
    return (status == 401 and answer["error"]["type"] == "authentication_error"
            and headers.get("x-should-retry") == "false")


def overflow_words(port):
    status, _, answer = ask(port, message(words(60000, 9), 4))
    text = answer.get("error", {}).get("message", "")
    return status == 400 and text.startswith("prompt is too long: ") and " maximum" in text


def large_max_tokens(port):
    body = message("Say hello.", 1000000, stop_sequences=["."])
    return ask(port, body)[0] == 200


def forced_tool(port):
    _, _, answer = ask(port, message("Look up 'kite'.", 80, tools=[TOOL],
                                     tool_choice={"type": "any"}))
    blocks = answer["content"]
    return blocks[0]["type"] == "tool_use" and isinstance(blocks[0]["input"].get("word"), str)


def events_in_order(port):
    _, _, events = stream(port, message("Say hello.", 8))
    kinds = [e["type"] for e in events if e["type"] != "ping"]
    return (kinds[0] == "message_start" and kinds[1] == "content_block_start"
            and kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"])


def ping_soon(port):
    _, _, events = stream(port, message("Say hello.", 4))
    return any(e["type"] == "ping" for e in events[:3])


def cache_read_reported(port):
    body = message(words(300, 77), 1)
    ask(port, body)
    _, _, answer = ask(port, body)
    return (answer["usage"].get("cache_read_input_tokens") or 0) > 250


def models_shape(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/v1/models?limit=1000", headers={
        "x-api-key": servers.KEY, "anthropic-version": "2023-06-01"})
    answer = json.loads(connection.getresponse().read())
    return "claude" in answer["data"][0]["id"] and "has_more" in answer


CONTRACT = [counted_is_used, unknown_fields, system_in_messages, stop_sequence, error_shape,
            wrong_key, overflow_words, large_max_tokens, forced_tool, events_in_order, ping_soon,
            cache_read_reported, models_shape]


def check_contract(port):
    results = {}
    for check in CONTRACT:
        try:
            results[check.__name__.replace("_", " ")] = bool(check(port))
        except (KeyError, IndexError, TypeError, ValueError, OSError, AttributeError):
            results[check.__name__.replace("_", " ")] = False
    return results


# ---- The run ----

def measure(server, args, seed):
    figures = {}
    with server:
        port, pid = server.port, server.process.pid
        idle = servers.memory_mib(pid)
        figures["idle memory, own, MiB"] = idle["RssAnon"]
        figures["idle memory, of the file, MiB"] = idle["RssFile"]
        with servers.MemoryWatch(pid) as watch:
            for n in args.prompts:
                measure_prompt(port, n, seed * 1000003 + n, figures)
            measure_pause(port, max(args.prompts), seed * 1000003 + 1, figures)
        figures["peak memory, own, MiB"] = watch.peak["RssAnon"]
        contract = check_contract(port) if seed == 1 else {}
    return figures, contract


def print_table(names, rounds, contracts):
    print(f"| {datetime.date.today()} | " + " | ".join(names) + " |")
    print("|---|" + "---|" * len(names))
    for key in rounds[names[0]][0]:
        cells = [statistics.median(r.get(key, float("nan")) for r in rounds[name])
                 for name in names]
        print(f"| {key} | " + " | ".join(f"{c:.2f}" if c < 10 else f"{c:.1f}" for c in cells) + " |")
    for key in contracts[names[0]]:
        print(f"| {key} | " + " | ".join("yes" if contracts[n][key] else "no" for n in names) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--gguf", required=True, help="the model's file, for both")
    parser.add_argument("--pensieve", default=str(ROOT / "build/release/pensieve"))
    parser.add_argument("--llama-server", help="default: built by bench/build-llama-server")
    parser.add_argument("--window", type=int, default=16384)
    parser.add_argument("--prompts", type=int, nargs="+", default=[100, 4000, 12000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path, help="for the servers' logs")
    args = parser.parse_args()
    peer = args.llama_server or subprocess.check_output(
        [ROOT / "bench/build-llama-server"], text=True).strip()
    out = args.out or pathlib.Path(tempfile.mkdtemp(prefix="peers-"))

    def start(name, seed):
        log = out / f"{name}-{seed}.log"
        if name == "Pensieve":
            return servers.Pensieve(args.pensieve, args.gguf, args.window, log,
                                    ["--cache-dir", out / "cache"])
        return servers.LlamaServer(peer, args.gguf, args.window, log)

    names = ["Pensieve", "llama-server"]
    rounds, contracts = {name: [] for name in names}, {}
    for seed in range(1, args.rounds + 1):
        for name in names if seed % 2 else reversed(names):
            figures, contract = measure(start(name, seed), args, seed)
            rounds[name].append(figures)
            contracts.setdefault(name, {}).update(contract)
            print(name, seed, json.dumps(figures), file=sys.stderr, flush=True)
    print_table(names, rounds, contracts)


if __name__ == "__main__":
    main()
