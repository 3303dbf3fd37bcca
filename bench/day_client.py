"""The day benchmark's client: streams with the time of every delta, and the servers' own counters."""
import dataclasses
import http.client
import json
import time

import servers

TIMEOUT_S = 3600
HEADERS = {"content-type": "application/json", "authorization": f"Bearer {servers.KEY}",
           "anthropic-version": "2023-06-01", "x-app": "cli", "accept": "application/json",
           "user-agent": "claude-cli/2.1.330 (external, cli)"}

# A name here -> where the server has it, and by what to multiply.
PENSIEVE_COUNTERS = {
    "prefilled": ("pensieve_prefilled_tokens_total", 1),
    "restored": ("pensieve_restored_tokens_total", 1),
    "prefill_s": ("pensieve_prefill_microseconds_total", 1e-6),
    "rows": ("pensieve_rows_computed_total", 1),
    "again": ("pensieve_rows_computed_again_total", 1),
    "again_s": ("pensieve_rows_computed_again_microseconds_total", 1e-6),
}
LLAMA_COUNTERS = {
    "prefilled": ("llamacpp:prompt_tokens_total", 1),
    "prefill_s": ("llamacpp:prompt_seconds_total", 1),
}


@dataclasses.dataclass
class Answer:
    """One request and what came of it; times are of time.monotonic."""

    sent: float
    ended: float = 0.0
    deltas: list = dataclasses.field(default_factory=list)  # times of those with text in them
    content: list = dataclasses.field(default_factory=list)  # as the client understood it
    usage: dict = dataclasses.field(default_factory=dict)
    stop: str | None = None
    error: str | None = None

    @property
    def waited(self):
        """Seconds to the first content, or to the end where none came."""
        return (self.deltas[0] if self.deltas else self.ended) - self.sent

    @property
    def cached(self):
        return self.usage.get("cache_read_input_tokens") or 0

    @property
    def prompt(self):
        return (self.cached + (self.usage.get("input_tokens") or 0)
                + (self.usage.get("cache_creation_input_tokens") or 0))

    @property
    def output(self):
        return self.usage.get("output_tokens") or 0

    @property
    def speed(self):
        """Tokens a second behind the first, or None for too few."""
        if len(self.deltas) < 2 or self.output < 4 or self.deltas[-1] == self.deltas[0]:
            return None
        return (self.output - 1) / (self.deltas[-1] - self.deltas[0])

    @property
    def text(self):
        return "".join(b.get("text", "") for b in self.content)

    def worst_pause(self, begin=float("-inf"), end=float("inf")):
        """The longest time between two deltas of which a part lies within [begin, end]."""
        return max((b - a for a, b in zip(self.deltas, self.deltas[1:]) if b > begin and a < end),
                   default=0.0)

    # ---- Reading ----

    def take_event(self, event, now):
        kind = event.get("type")
        if kind == "message_start":
            self.usage.update(event["message"].get("usage") or {})
        elif kind == "content_block_start":
            self.content.append(dict(event["content_block"], json=""))
        elif kind == "content_block_delta":
            self.take_delta(event["delta"], now)
        elif kind == "message_delta":
            self.usage.update({k: v for k, v in (event.get("usage") or {}).items()
                               if v is not None})
            self.stop = (event.get("delta") or {}).get("stop_reason")
        elif kind == "error":
            self.error = event["error"].get("message", "error")

    def take_delta(self, delta, now):
        block = self.content[-1]
        for field, key in (("text", "text"), ("thinking", "thinking"), ("partial_json", "json"),
                           ("signature", "signature")):
            if field in delta:
                block[key] = block.get(key, "") + delta[field]
                if delta[field] and field != "signature":
                    self.deltas.append(now)

    def close_blocks(self):
        for block in self.content:
            text = block.pop("json")
            if block["type"] == "tool_use":
                try:
                    block["input"] = json.loads(text or "{}")
                except ValueError:
                    block["input"] = {"__unparsedToolInput": {"raw": text, "len": len(text)}}


class Client:
    def __init__(self, port):
        self.port = port

    def open(self, path, body, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        connection.request("POST", path, json.dumps(body), {**HEADERS, **headers})
        return connection

    def stream(self, body, on_delta=None, **headers):
        """Sends and reads to the end; a refusal or a broken connection becomes the answer's error."""
        answer = Answer(time.monotonic())
        connection = None
        try:
            connection = self.open("/v1/messages?beta=true", body, **headers)
            response = connection.getresponse()
            if response.status != 200:
                answer.error = f"{response.status}: {response.read()[:300].decode(errors='replace')}"
            else:
                self.read(response, answer, on_delta)
        except (OSError, http.client.HTTPException) as error:
            answer.error = f"{type(error).__name__}: {error}"
        finally:
            if connection:
                connection.close()
        answer.ended = time.monotonic()
        answer.close_blocks()
        return answer

    @staticmethod
    def read(response, answer, on_delta):
        for line in response:
            if not line.startswith(b"data:"):
                continue
            n_before = len(answer.deltas)
            answer.take_event(json.loads(line[5:]), time.monotonic())
            if on_delta and len(answer.deltas) > n_before:
                on_delta()

    def count(self, body):
        """What count_tokens says, or None."""
        counted = {k: body[k] for k in ("model", "messages", "system", "tools") if k in body}
        connection = self.open("/v1/messages/count_tokens?beta=true", counted)
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        return json.loads(answer)["input_tokens"] if response.status == 200 else None

    def counters(self):
        """The server's own counters, of those named above; {} where it shows none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/metrics", headers=HEADERS)
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
        connection.close()
        if response.status != 200:
            return {}
        return read_counters(text)


def read_counters(text):
    values = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if value and not line.startswith("#"):
            values[name] = value
    found = {}
    for table in (PENSIEVE_COUNTERS, LLAMA_COUNTERS):
        for name, (there, factor) in table.items():
            if there in values:
                found[name] = float(values[there]) * factor
    return found
