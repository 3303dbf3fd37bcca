"""count_tokens of requests with an agent's tools, beside the reading of a long prompt."""
import concurrent.futures
import json
import threading
import time

import pytest
from support.pensieve_server import KEY, Server, message, model_path, wait_until

AT_ONCE = 26
MOST_SECONDS = 1.0


def tool(i):
    says = " ".join(f"In case {k} the <file> {i} is read, unless the path is absolute."
                    for k in range(24))
    fields = {f"field_{k}": {"type": "string", "description": f"What the {k}. part of {i} is."}
              for k in range(5)}
    return {"name": f"Tool{i}", "description": says,
            "input_schema": {"type": "object", "properties": fields, "required": ["field_0"]}}


@pytest.fixture(scope="module")
def server():
    with Server("--model", model_path("qwen2.5-coder:0.5b"), "--ctx", "16384") as s:
        yield s.wait_ready()


def start_reading(server, text):
    """A socket whose request is being read; closing it ends that."""
    body = json.dumps(message(text, max_tokens=1, stream=True))
    sock = server.socket()
    sock.sendall((f"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Api-Key: {KEY}\r\n"
                  f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}")
                 .encode())
    wait_until(lambda: server.get("/health")["prefill"]["done"] > 0, 120, "the first chunk")
    return sock


def test_counts_with_tools_are_answered_within_a_second_beside_a_long_prompt(server):
    count = {k: message("How many?")[k] for k in ("model", "messages")}
    bodies = [json.dumps(dict(count, tools=[tool(k) for k in range(n)])) for n in (12, 25)]
    wanted = [json.loads(server.request("POST", "/v1/messages/count_tokens", body)[2])
              for body in bodies]
    assert wanted[1]["input_tokens"] > wanted[0]["input_tokens"] > 3000
    sock = start_reading(server, " ".join(f"word{i * 31 % 997}" for i in range(4000)))
    together = threading.Barrier(AT_ONCE)

    def ask(i):
        together.wait(60)
        begin = time.monotonic()
        _, _, data = server.request("POST", "/v1/messages/count_tokens", bodies[i % 2])
        return json.loads(data) == wanted[i % 2], begin, time.monotonic()

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(ask, range(AT_ONCE)))
    assert server.get("/health")["requests"]["running"] == 1
    sock.close()
    assert all(is_right for is_right, _, _ in answers)
    took = max(end for _, _, end in answers) - min(begin for _, begin, _ in answers)
    assert took < MOST_SECONDS, f"{took:.2f} s for {AT_ONCE} counts at once"
