#!/usr/bin/env python3
"""Measures the figures of README's table on this machine, with the program as users run it.

    bench/figures.py [--program build/release/pensieve] [--model qwen2.5-coder:1.5b] [--json FILE]

For one server process: time from exec to the first answered /health and to a loaded model; resident
memory, anonymous and file-backed, idle, with four requests at once, and at the end; then for prompts of about 100, 4,000 and
12,000 tokens the time to the first token and the speed of reading and of writing; last the time
that the wrapper script adds before `claude` starts.  Everything goes over loopback.  The machine's
other work shows in the figures: compare only figures of one run.
"""
import argparse
import http.client
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time

import servers

ROOT = pathlib.Path(__file__).resolve().parent.parent
KEY = os.environ.get("PENSIEVE_API_KEY", "pensieve-local-token")
RUN = time.time_ns()


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    return json.loads(connection.getresponse().read())


def memory_mib(pid):
    fields = {}
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("RssAnon", "RssFile", "VmHWM"):
            fields[name] = int(value.split()[0]) / 1024
    return fields


def start(program, model, extra):
    begin = time.monotonic()
    process = subprocess.Popen([program, "serve", "--port", "0", "--model", model,
                                "--cache-dir", servers.fresh_cache(), *extra],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    line = process.stdout.readline()
    if "listening on" not in line:
        sys.exit(f"the server did not start: {line!r}")
    port = int(line.strip().rsplit(":", 1)[1].strip("/"))
    health = get(port, "/health")
    first_health = time.monotonic() - begin
    while health["state"] == "loading":
        time.sleep(0.01)
        health = get(port, "/health")
    return process, port, first_health, time.monotonic() - begin, health


def words(n, seed):
    """About n tokens of text that no earlier prompt begins with, nor one of an earlier run that the
    server kept on disk."""
    rng = random.Random(f"{RUN} {seed}")
    pool = ("file line open read write path name test build error value count list table index "
            "cache token model batch step queue time limit start end").split()
    return " ".join(rng.choice(pool) for _ in range(n))


def ask(port, n_tokens, seed, max_tokens=64):
    body = {"model": "claude-local", "max_tokens": max_tokens, "stream": True,
            "messages": [{"role": "user", "content":
                          words(n_tokens, seed) + "\nExplain in detail what this text is about."}]}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3600)
    begin = time.monotonic()
    connection.request("POST", "/v1/messages", json.dumps(body),
                       {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"})
    response = connection.getresponse()
    if response.status != 200:
        sys.exit(f"{response.status}: {response.read()[:300]!r}")
    first = last = usage = None
    for raw in response:
        line = raw.decode()
        if not line.startswith("data: "):
            continue
        event = json.loads(line[6:])
        if event["type"] == "content_block_delta":
            last = time.monotonic()
            first = first or last
        elif event["type"] == "message_delta":
            usage = event["usage"]
    prompt = sum(usage.get(k) or 0 for k in
                 ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"))
    said = usage["output_tokens"]
    return {"prompt_tokens": prompt, "first_token_s": first - begin,
            "read_tokens_per_s": prompt / (first - begin),
            "write_tokens_per_s": (said - 1) / (last - first) if said > 1 and last > first else None,
            "said": said}


def peak_of_four(process, port):
    """The highest memory while four requests of 200 tokens get 256 each, at once."""
    with servers.MemoryWatch(process.pid) as watch:
        clients = [threading.Thread(target=ask, args=(port, 200, 1000 + i, 256)) for i in range(4)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    return watch.peak


def wrapper_overhead_ms(port):
    """Median time of claude-local with a `claude` that does nothing, less that `claude` alone."""
    with tempfile.TemporaryDirectory() as folder:
        fake = pathlib.Path(folder, "claude")
        fake.write_text("#!/bin/sh\nexit 0\n")
        fake.chmod(0o755)
        env = dict(os.environ, PATH=f"{folder}:{os.environ['PATH']}", HOME=folder)

        def median(command):
            times = []
            for _ in range(21):
                begin = time.monotonic()
                subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
                times.append(time.monotonic() - begin)
            return sorted(times)[10] * 1000

        wrapped = median([str(ROOT / "scripts/claude-local"), "--port", str(port), "--full"])
        return wrapped - median([str(fake)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--program", default=str(ROOT / "build/release/pensieve"))
    parser.add_argument("--model", default="qwen2.5-coder:1.5b")
    parser.add_argument("--prompts", type=int, nargs="*", default=[100, 4000, 12000])
    parser.add_argument("--json", help="write the figures here too")
    parser.add_argument("serve_options", nargs="*", help="after --: passed to pensieve serve")
    args = parser.parse_args()

    process, port, first_health, loaded, health = start(args.program, args.model, args.serve_options)
    try:
        figures = {"model": args.model, "first_health_s": first_health, "loaded_s": loaded,
                   "window": health.get("context_window"), "idle_mib": memory_mib(process.pid)}
        figures["four_at_once_mib"] = peak_of_four(process, port)
        figures["prompts"] = [ask(port, n, seed=n) for n in args.prompts]
        figures["again"] = ask(port, args.prompts[-1], seed=args.prompts[-1])
        figures["after_mib"] = memory_mib(process.pid)
        figures["wrapper_ms"] = wrapper_overhead_ms(port)
    finally:
        process.terminate()
        process.wait(60)
    text = json.dumps(figures, indent=1)
    print(text)
    if args.json:
        pathlib.Path(args.json).write_text(text + "\n")


if __name__ == "__main__":
    main()
