"""The parts of the day, in order, as functions of the day that they add to.

Each sends requests through `Day.request`, which keeps a record of every one, and may return facts
that the report needs.  A part that goes on with the first conversation begins it where it was left
out.
"""
import concurrent.futures
import threading
import time

import day_traffic as traffic
from day_client import Answer, Client

TURN_TOKENS = [200, 300, 200, 600, 250, 400, 2000, 200, 300, 250] * 3
LONG_TOKENS = 12000
TITLE_LEAD_S = 0.080
AWAY_S = 3.5     # the user looks away: longer than the idle time after which Pensieve keeps prompts
GREEDY_TOKENS = 300
SHORT = "Say hello."


class Day:
    """One server's day: its records, one for each request, and the facts of its parts."""

    def __init__(self, server, setting, options):
        self.server = server
        self.setting = setting
        self.options = options
        self.began = time.monotonic()
        self.records = []
        self.facts = {}
        self.step = ""
        self.known = []  # plain texts of what this server has read and said
        self.main = None
        self.first_body = None
        self.ended = {}  # counters of processes that were stopped

    @property
    def client(self):
        return Client(self.server.port)

    def request(self, name, body, user=True, on_delta=None, **headers):
        answer = self.client.stream(body, on_delta, **headers)
        self.keep(name, body, answer, user)
        return answer

    def keep(self, name, body, answer, user, was_read=True):
        text = traffic.plain(body)
        known = max((traffic.common_length(text, k) for k in self.known), default=0)
        if was_read:
            self.known.append(traffic.plain({**body, "messages": body["messages"] + [
                {"role": "assistant", "content": traffic.returned(answer.content)}]}))
        self.records.append({
            "step": self.step, "name": name, "user": user, "sent_s": answer.sent - self.began,
            "waited_s": answer.waited, "total_s": answer.ended - answer.sent,
            "prompt": answer.prompt, "cached": answer.cached, "output": answer.output,
            "speed": answer.speed, "worst_pause_s": answer.worst_pause(),
            "known_share": known / len(text), "stop": answer.stop, "error": answer.error})

    def start(self, directory, seed, n_tokens=30):
        """A conversation's beginning; its prompt has n_tokens of text that nobody has read."""
        text = traffic.Text("prompt", seed)
        prompt = f"{text.sentence()} Please look into {text.path()} and explain it.\n"
        prompt += text.code(self.setting.tokens(n_tokens))
        return traffic.Conversation(self.setting, directory, prompt, seed), prompt

    def turn(self, name, conversation, force_call=False, **headers):
        body = conversation.body(self.options.max_tokens)
        if force_call:
            body["tool_choice"] = {"type": "any"}
        answer = self.request(name, body, **headers)
        conversation.take(answer.content)
        return answer

    def begin_main(self):
        if self.main is None:
            self.main, _ = self.start("alpha", "main")
            self.first_body = self.main.body(self.options.max_tokens)
            answer = self.turn("first request", self.main)
            self.facts["cold"] = {"cold_s": answer.waited, "prompt": answer.prompt,
                                  "read_tokens_per_s": answer.prompt / answer.waited}
        return self.main

    # ---- Counters, over restarts ----

    def counters(self):
        now = self.client.counters()
        return {name: now.get(name, 0) + self.ended.get(name, 0) for name in now}

    def prefilled(self):
        return self.counters().get("prefilled")

    def restart(self):
        self.ended = self.counters()
        self.server.stop()
        self.server.port = None
        self.server.log = self.server.log.with_name(f"{self.step}-{self.server.log.name}")
        self.server.__enter__()

    def run(self, step):
        """One part; what it and the counters say goes to `facts`."""
        self.step = step
        begin, before = time.monotonic(), self.counters()
        facts = STEPS[step](self) or {}
        after = self.counters()
        self.facts[step] = {**facts, "seconds": time.monotonic() - begin,
                            "counters": {k: after[k] - before.get(k, 0) for k in after}}


def since(before, after):
    return None if before is None or after is None else after - before


def cold(day):
    day.begin_main()
    return day.facts["cold"]


def turns(day, begin, end):
    """Small models call tools seldom, so that each third turn is made to."""
    main = day.begin_main()
    for i in range(begin, end):
        main.go_on(day.setting.tokens(TURN_TOKENS[i]))
        day.turn(f"turn {i + 1}", main, force_call=i % 3 == 1)
        time.sleep(day.options.think)


def morning(day):
    turns(day, 0, 15)


def evening(day):
    turns(day, 15, 30)


def agents(day):
    """Two sub-agents at once, with a common prefix of about 7,000 tokens."""
    day.begin_main()
    two = [traffic.SubAgent(day.setting, "alpha", f"Task {i}: " + traffic.Text("task", i).prose(
        day.setting.tokens(300)), f"agent {i}") for i in (1, 2)]
    bodies = [agent.body(day.options.max_tokens) for agent in two]
    counts = [day.client.count(body) for body in bodies]
    shared = day.client.count(traffic.SubAgent(day.setting, "alpha", "Task", "").body(1))
    before = day.prefilled()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda i: day.request(
            f"sub-agent {i + 1}", bodies[i], **{"x-claude-code-agent-id": f"agent-{i}"}), (0, 1)))
    wanted = sum(counts) - shared if None not in (*counts, shared) else None
    return {"prefix": shared, "wanted": wanted, "prefilled": since(before, day.prefilled())}


def title(day):
    """Two other conversations in the same directory; a title is asked for 80 ms before the second."""
    day.begin_main()
    alone, _ = day.start("alpha", "alone")
    beside, prompt = day.start("alpha", "beside")
    bare = [{"role": "user", "content": "x"}]
    whole = day.client.count(dict(alone.body(1), messages=bare))
    rest = day.client.count({"model": "claude-local", "messages": bare})
    first = day.turn("same directory", alone)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(day.request, "title", traffic.title_body(day.setting, prompt), False)
        time.sleep(TITLE_LEAD_S)
        second = day.turn("same directory, beside a title", beside)
        asked.result()
    return {"alone_s": first.waited, "beside_s": second.waited,
            "delay_s": second.waited - first.waited, "cached": first.cached,
            "system_and_tools": since(rest, whole)}


def restart(day):
    """The server is stopped and started; the first request comes again, as a repeated command does."""
    day.begin_main()
    if day.server.process is None:
        return {"skipped": "the server is not ours to restart"}
    time.sleep(AWAY_S)
    day.restart()
    again = day.request("first request again", day.first_body)
    return {"cold_s": day.facts["cold"]["cold_s"], "again_s": again.waited, "prompt": again.prompt,
            "cached": again.cached}


def other_directory(day):
    day.begin_main()
    conversation, _ = day.start("beta", "elsewhere")
    answer = day.turn("other directory", conversation)
    return {"waited_s": answer.waited, "prompt": answer.prompt, "cached": answer.cached}


def short_body():
    return {"model": "claude-local", "max_tokens": 4, "stream": True,
            "messages": [{"role": "user", "content": SHORT}]}


def disconnect(day):
    """A client leaves in the middle of a long prompt, another asks at once, the first comes back."""
    day.begin_main()
    day.request("warm", short_body(), user=False)
    usual = day.request("short, idle", short_body(), user=False)
    conversation, _ = day.start("alpha", "leaves", LONG_TOKENS)
    body = conversation.body(day.options.max_tokens)
    before = day.prefilled()
    sent = time.monotonic()
    connection = day.client.open("/v1/messages?beta=true", body)
    time.sleep(day.setting.scale * LONG_TOKENS / day.facts["cold"]["read_tokens_per_s"] / 2)
    connection.close()
    left = Answer(sent, ended=time.monotonic())
    day.keep("a client that leaves", body, left, user=True, was_read=False)
    short = day.request("short, after it", short_body())
    retry = day.request("the client's retry", body)
    return {"free_s": short.waited - usual.waited, "short_s": short.waited,
            "usual_s": usual.waited, "left_after_s": left.waited, "retry_s": retry.waited,
            "prompt": retry.prompt, "cached": retry.cached,
            "prefilled": since(before, day.prefilled())}


def stream(day):
    """A long prompt comes while another client's answer is written."""
    day.begin_main()
    writes = threading.Semaphore(0)
    running = {"model": "claude-local", "max_tokens": 1500, "temperature": 0, "stream": True,
               "messages": [{"role": "user", "content": "Count from 1 to 1000, one a line."}]}
    conversation, _ = day.start("alpha", "arrives", LONG_TOKENS)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        counted = pool.submit(day.request, "running stream", running, False, writes.release)
        n_written = 0
        while n_written < 4 and not counted.done():
            n_written += writes.acquire(timeout=0.1)
        sent = time.monotonic()
        arrived = day.turn("a long prompt arrives", conversation)
        first = sent + arrived.waited
        answer = counted.result()
    running_for = min(first, answer.deltas[-1] if answer.deltas else sent) - sent
    fresh = arrived.prompt - arrived.cached
    return {"stall_s": answer.worst_pause(sent, first), "read_s": arrived.waited, "fresh": fresh,
            "beside_share": running_for / arrived.waited,
            "mean_chunk_s": 32 * arrived.waited / max(1, fresh)}


def compact(day):
    main = day.begin_main()
    main.go_on(day.setting.tokens(200))
    day.turn("before /compact", main)
    main.ask_to_compact()
    answer = day.turn("/compact", main)
    after = main.compacted(answer.text)
    reply = day.turn("after /compact", after)
    return {"compact_s": answer.waited, "compact_cached": answer.cached,
            "compact_prompt": answer.prompt, "after_s": reply.waited, "after_cached": reply.cached,
            "after_prompt": reply.prompt}


def greedy(day):
    """Greedy answers of a prompt that is in the pool, and of the same one from the disk; without
    guesses, since how many tokens are computed at once depends on time with them, and rounding on
    that."""
    if day.server.name != "Pensieve":
        return {"skipped": "a promise of Pensieve's only"}
    day.server.command.append("--drafts=false")
    day.restart()
    bodies = []
    for i in range(day.options.greedy):
        text = traffic.Text("greedy", i)
        prompt = text.code(day.setting.tokens(GREEDY_TOKENS)) + "\n" + text.sentence()
        bodies.append({"model": "claude-local", "max_tokens": 24, "temperature": 0, "stream": True,
                       "messages": [{"role": "user", "content": prompt}]})
    first, live = [], []
    for body in bodies:
        first.append(day.client.stream(body).text)
        live.append(day.client.stream(body).text)
    time.sleep(AWAY_S)
    day.restart()
    restored = [day.client.stream(body) for body in bodies]
    return {"prompts": len(bodies), "restored": sum(a.cached > 0 for a in restored),
            "differ": [i for i, a in enumerate(restored) if a.text != live[i]],
            "differ_from_cold": [[i, traffic.common_length(first[i], a.text)]
                                 for i, a in enumerate(restored) if a.text != first[i]]}


STEPS = {"cold": cold, "morning": morning, "agents": agents, "title": title, "restart": restart,
         "evening": evening, "directory": other_directory, "disconnect": disconnect,
         "stream": stream, "compact": compact, "greedy": greedy}
NOT_OF_THE_DAY = ("greedy",)  # checks; no user waits for them, and the totals leave them out
