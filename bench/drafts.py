#!/usr/bin/env python3
"""What guessing ahead gains on a turn that repeats text, and what it costs on one that does not.

    bench/drafts.py [--program build/release/pensieve] [--model qwen2.5-coder:0.5b] [--rounds 3]

Two servers with the same model, one started with --drafts=false, are asked the same in turn, greedily:
to write a file again with one name changed, and to write prose.  Reported are, for each: tokens a
second from the first delta to the end (the median of the rounds, and the median of their ratios),
whether the replies are equal, and how many tokens were guessed and how many of them held, which is
how many calls of the model were saved.
"""
import argparse
import contextlib
import http.client
import json
import pathlib
import statistics
import tempfile
import time

import servers

FILE = '''"""Keeps the accounts of a small library."""
import datetime


class Loan:
    def __init__(self, reader, book, days=28):
        self.reader = reader
        self.book = book
        self.due = datetime.date.today() + datetime.timedelta(days=days)

    def is_late(self, today=None):
        return (today or datetime.date.today()) > self.due

    def days_late(self, today=None):
        if not self.is_late(today):
            return 0
        return ((today or datetime.date.today()) - self.due).days


class Library:
    def __init__(self, fee_cents=10):
        self.fee_cents = fee_cents
        self.loans = []
        self.readers = {}

    def add_reader(self, name, address):
        if name in self.readers:
            raise ValueError("there is a reader of this name already")
        self.readers[name] = address

    def lend(self, reader, book):
        if reader not in self.readers:
            raise KeyError(reader)
        if any(loan.book == book for loan in self.loans):
            raise ValueError("the book is lent already")
        self.loans.append(Loan(reader, book))

    def take_back(self, book):
        for loan in self.loans:
            if loan.book == book:
                self.loans.remove(loan)
                return loan.days_late() * self.fee_cents
        raise KeyError(book)
'''

CASES = {
    "edit": "Write this file again, complete, with take_back renamed to give_back and nothing else "
            "changed. Answer with the file in one code block and no other words.\n\n"
            f"```python\n{FILE}```",
    "prose": "Tell a story of about three hundred words about a lighthouse keeper who finds a letter "
             "in a bottle. No lists, no headings.",
}
METRICS = {"guessed": "pensieve_drafted_tokens_total", "held": "pensieve_accepted_tokens_total"}


def ask(server, text):
    """The reply, its tokens, and the seconds from its first delta to its end."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    body = {"model": "any", "max_tokens": 700, "temperature": 0, "stream": True,
            "messages": [{"role": "user", "content": text}]}
    connection.request("POST", "/v1/messages", json.dumps(body),
                       {"content-type": "application/json", "x-api-key": servers.KEY})
    reply, begin, n_tokens = [], None, 0
    for line in connection.getresponse():
        if not line.startswith(b"data:"):
            continue
        event = json.loads(line[5:])
        if event["type"] == "content_block_delta":
            begin = begin or time.monotonic()
            reply.append(event["delta"].get("text", ""))
        elif event["type"] == "message_delta":
            n_tokens = event["usage"]["output_tokens"]
        elif event["type"] == "error":
            raise SystemExit(f"error: {event['error']['message']}")
    seconds = time.monotonic() - begin
    connection.close()
    return "".join(reply), n_tokens, seconds


def counters(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", "/metrics", headers={"x-api-key": servers.KEY})
    lines = connection.getresponse().read().decode().splitlines()
    values = dict(line.split() for line in lines if not line.startswith("#"))
    return {name: int(values[metric]) for name, metric in METRICS.items()}


def measure(plain, drafted, text, rounds):
    speeds = {plain: [], drafted: []}
    before = counters(drafted)
    for _ in range(rounds):
        replies = {}
        for server in (plain, drafted):
            replies[server], n_tokens, seconds = ask(server, text)
            speeds[server].append((n_tokens - 1) / seconds)
    after = counters(drafted)
    return {
        "tokens": n_tokens,
        "equal": replies[plain] == replies[drafted],
        "plain": round(statistics.median(speeds[plain]), 1),
        "drafts": round(statistics.median(speeds[drafted]), 1),
        "ratio": round(statistics.median(d / p for p, d in zip(speeds[plain], speeds[drafted])), 2),
        **{name: (after[name] - before[name]) // rounds for name in METRICS},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="build/release/pensieve")
    parser.add_argument("--model", default="qwen2.5-coder:0.5b")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        started = [stack.enter_context(servers.Pensieve(
            options.program, options.model, 4096, folder / f"drafts-{value}.log",
            [f"--drafts={value}"])) for value in ("false", "true")]
        for name, text in CASES.items():
            print(json.dumps({"case": name, **measure(*started, text, options.rounds)}), flush=True)


if __name__ == "__main__":
    main()
