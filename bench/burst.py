#!/usr/bin/env python3
"""What bursts of small requests cost, and what they wait for.

    bench/burst.py --url http://127.0.0.1:7777 [--tokens 12000] [--rounds 5]

Claude Code sends up to 26 count_tokens at once.  Measured are, against a running server:

  * how long 26 count_tokens at once take, of a prompt with tools like an agent's, while nothing else
    runs and while a prompt of --tokens is read;
  * what a running stream loses when 26 count_tokens come once a second and /health ten times a
    second: streams without and with that, in turn, and the median of the rounds' ratios.

Speed is tokens behind the first delta, as usage counts them: a delta may hold several.
"""
import argparse
import concurrent.futures
import contextlib
import http.client
import json
import random
import statistics
import threading
import time
import urllib.parse

KEY = "pensieve-local-token"
BURST = 26


def tools(n):
    rng = random.Random(1)
    words = "reads writes finds the a file folder line text pattern of in with every match".split()
    return [{"name": f"Tool{i}", "description": " ".join(rng.choices(words, k=150)),
             "input_schema": {"type": "object", "required": ["path"], "properties": {
                 "path": {"type": "string", "description": " ".join(rng.choices(words, k=20))},
                 "limit": {"type": "integer"}, "all": {"type": "boolean"}}}} for i in range(n)]


def text(n_tokens, seed):
    rng = random.Random(seed)
    return " ".join(rng.choice(["alpha", "seven", "green", "river", "table"])
                    for _ in range(n_tokens))


class Server:
    def __init__(self, url):
        self.address = urllib.parse.urlsplit(url).netloc

    def send(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.address, timeout=1200)
        headers = {"content-type": "application/json", "x-api-key": KEY}
        connection.request(method, path, json.dumps(body) if body else None, headers)
        return connection, connection.getresponse()

    def ask(self, method, path, body=None):
        """Seconds until the whole answer."""
        begin = time.monotonic()
        connection, answer = self.send(method, path, body)
        content = answer.read()
        connection.close()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {content[:200]}")
        return time.monotonic() - begin

    def stream(self, body):
        """Tokens a second of a streamed answer, from its first delta to its last."""
        connection, answer = self.send("POST", "/v1/messages", dict(body, stream=True))
        times, n_tokens = [], 0
        for line in answer:
            if not line.startswith(b"data:"):
                continue
            event = json.loads(line[5:])
            if event["type"] == "content_block_delta":
                times.append(time.monotonic())
            elif event["type"] == "message_delta":
                n_tokens = event["usage"]["output_tokens"]
        connection.close()
        if len(times) < 2:
            raise SystemExit(f"a stream of {len(times)} deltas has no speed: {answer.status}")
        return (n_tokens - 1) / (times[-1] - times[0])


def message(content, max_tokens=1):
    return {"model": "claude-local", "max_tokens": max_tokens,
            "messages": [{"role": "user", "content": content}]}


def count_burst(server):
    """Seconds of the slowest of BURST counts at once."""
    bodies = [dict(message(text(40, i)), tools=tools(12)) for i in range(BURST)]
    for body in bodies:
        del body["max_tokens"]
    with concurrent.futures.ThreadPoolExecutor(BURST) as pool:
        return max(pool.map(lambda b: server.ask("POST", "/v1/messages/count_tokens", b), bodies))


@contextlib.contextmanager
def load(server):
    """Bursts once a second and /health ten times a second, at once and until the end; what is asked
    late is not made up for.  A request that fails ends the measurement."""
    end = threading.Event()

    def every(seconds, work):
        while not end.is_set():
            begin = time.monotonic()
            work()
            end.wait(max(0, begin + seconds - time.monotonic()))

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        workers = [pool.submit(every, 1, lambda: count_burst(server)),
                   pool.submit(every, 0.1, lambda: server.ask("GET", "/health"))]
        try:
            yield
        finally:
            end.set()
        for worker in workers:
            worker.result()


def speed(server, seed):
    return server.stream(dict(message("Count from 1 to 200. " + text(20, seed), 120),
                              temperature=0))


def compare_speeds(server, seed):
    """Alone and under the load, each first in every other round."""
    def under_load():
        with load(server):
            return speed(server, seed)

    speed(server, seed)  # so that both find the prompt read
    if seed % 2:
        beside = under_load()
        return speed(server, seed), beside
    return speed(server, seed), under_load()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--url", default="http://127.0.0.1:7777")
    parser.add_argument("--tokens", type=int, default=12000, help="of the long prompt")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    server = Server(args.url)

    first = count_burst(server)
    idle = [count_burst(server) for _ in range(args.rounds)]
    print(f"{BURST} count_tokens at once, nothing else: first {first:.2f} s, "
          f"then median {statistics.median(idle):.2f} s")

    long = threading.Thread(target=server.ask, args=(
        "POST", "/v1/messages", message(text(args.tokens, time.time()))))
    long.start()
    time.sleep(2)  # the reading has begun
    busy = []
    while long.is_alive() and len(busy) < 10 * args.rounds:
        busy.append(count_burst(server))
        time.sleep(0.5)
    if busy:
        print(f"... while {args.tokens} tokens are read: median {statistics.median(busy):.2f} s, "
              f"slowest {max(busy):.2f} s of {len(busy)}")
    else:
        print(f"... {args.tokens} tokens were read within 2 s: try more --tokens")
    long.join()

    ratios = []
    for i in range(args.rounds):
        alone, beside = compare_speeds(server, i)
        ratios.append(beside / alone)
        print(f"stream: {alone:.1f} tokens/s alone, {beside:.1f} under the load")
    print(f"a stream keeps {statistics.median(ratios):.0%} of its speed (median of {args.rounds})")


if __name__ == "__main__":
    main()
