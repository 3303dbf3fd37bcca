"""The Messages API on the scripted engine: shapes, streams, errors, as clients.md and docs/API.md say."""
import concurrent.futures
import datetime
import json
import re
import socket

import pytest
from support.pensieve_server import message, parse_events, script_server, wait_until


@pytest.fixture(scope="module")
def server():
    with script_server("--ping-ms", "50") as s:
        yield s


def joined(events, kind, member):
    return "".join(data["delta"][member] for name, data in events
                   if name == "content_block_delta" and data["delta"]["type"] == kind)


def accumulate(events):
    """The message that a stream makes, by the rules of the streaming documentation."""
    blocks, final = [], {}
    for name, data in events:
        if name == "content_block_start":
            assert data["index"] == len(blocks)
            blocks.append(dict(data["content_block"]))
            partial = ""
        elif name == "content_block_delta":
            assert data["index"] == len(blocks) - 1
            delta = data["delta"]
            if delta["type"] == "text_delta":
                blocks[-1]["text"] += delta["text"]
            elif delta["type"] == "thinking_delta":
                blocks[-1]["thinking"] += delta["thinking"]
            elif delta["type"] == "signature_delta":
                blocks[-1]["signature"] = delta["signature"]
            elif delta["type"] == "input_json_delta":
                partial += delta["partial_json"]
                blocks[-1]["input"] = partial
        elif name == "content_block_stop":
            if blocks[-1]["type"] == "tool_use":
                blocks[-1]["input"] = json.loads(blocks[-1]["input"] or "{}")
        elif name == "message_delta":
            final = dict(data["delta"], usage=data["usage"])
    return blocks, final


def test_whole_message_has_the_hosted_shape(server):
    status, headers, body = server.post("/v1/messages?beta=true", message("hello"))
    assert status == 200
    assert re.fullmatch(r"req_[A-Za-z0-9]{24}", headers["request-id"])
    assert re.fullmatch(r"msg_[A-Za-z0-9]{24}", body["id"])
    assert body["type"] == "message" and body["role"] == "assistant"
    assert body["model"] == "claude-x"
    assert body["content"] == [{"type": "text", "text": "Hello, wörld 😀!"}]
    assert body["stop_reason"] == "end_turn" and body["stop_sequence"] is None
    usage = body["usage"]
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] + \
        usage["cache_creation_input_tokens"] == 10
    assert usage["cache_read_input_tokens"] == 4


def test_stream_has_named_events_in_order(server):
    events = server.events(message("tools"))
    names = [name for name, _ in events if name != "ping"]
    assert names[0] == "message_start" and events[1][0] == "ping"
    assert names[-2:] == ["message_delta", "message_stop"]
    assert all(data["type"] == name for name, data in events)
    start = events[0][1]["message"]
    assert start["content"] == [] and start["stop_reason"] is None
    assert start["usage"]["input_tokens"] == 20, "the whole prompt, until message_delta splits it"
    blocks, final = accumulate(events)
    assert [b["type"] for b in blocks] == ["thinking", "text", "tool_use", "tool_use"]
    assert blocks[0] == {"type": "thinking", "thinking": "Let me see.", "signature": "sig1"}
    assert blocks[2] == {"type": "tool_use", "id": "toolu_a", "name": "Read",
                         "input": {"path": "a.c"}}
    assert final["stop_reason"] == "tool_use"
    assert final["usage"]["output_tokens"] > 0


@pytest.mark.parametrize("name", ["hello", "tools"])
def test_stream_and_whole_say_the_same(server, name):
    _, _, whole = server.post("/v1/messages", message(name))
    blocks, final = accumulate(server.events(message(name)))
    assert blocks == whole["content"]
    assert final["stop_reason"] == whole["stop_reason"]


@pytest.mark.parametrize("name,cut", [("hello", c) for c in "123"] + [("tools", c) for c in "125"])
def test_cutting_deltas_changes_nothing(server, name, cut):
    whole, _ = accumulate(server.events(message(name)))
    pieces, _ = accumulate(server.events(message(f"{name}-split{cut}")))
    assert pieces == whole


def test_stop_sequence_is_reported(server):
    _, _, body = server.post("/v1/messages", message("stopseq", stop_sequences=["END"]))
    assert (body["stop_reason"], body["stop_sequence"]) == ("stop_sequence", "END")
    _, final = accumulate(server.events(message("stopseq", stop_sequences=["END"])))
    assert (final["stop_reason"], final["stop_sequence"]) == ("stop_sequence", "END")


def test_pings_come_while_a_turn_waits(server):
    connection = server.connection()
    connection.request("POST", "/v1/messages", json.dumps(message("wait", stream=True)),
                       {"content-type": "application/json", "x-api-key": "pensieve-local-token"})
    response = connection.getresponse()
    seen = b""
    while seen.count(b"event: ping") < 4:
        seen += response.readline()
    server.release("go")
    events = parse_events(seen + response.read())
    assert joined(events, "text_delta", "text") == "after"


def test_a_cut_tool_input_is_still_json_in_a_whole_answer(server):
    _, _, body = server.post("/v1/messages", message("cutinput"))
    assert body["stop_reason"] == "max_tokens"
    assert body["content"][0]["input"] == {
        "__unparsedToolInput": {"raw": '{"file_path": "cut'}}


def test_failure_in_a_stream_is_an_error_event_and_the_end(server):
    events = server.events(message("failmid"))
    name, data = events[-1]
    assert name == "error"
    assert data["error"]["type"] == "overloaded_error"
    assert data["request_id"].startswith("req_")
    assert "message_stop" not in [n for n, _ in events]


REFUSALS = [
    ("busy", 529, "overloaded_error", "retry-after"),
    ("nomemory", 503, "overloaded_error", "retry-after"),
    ("toolong", 400, "invalid_request_error", None),
    ("broken", 500, "api_error", None),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name,status,kind,header", REFUSALS)
def test_refusals_come_before_any_header(server, name, status, kind, header, stream):
    got, headers, body = server.post("/v1/messages", message(name, stream=stream))
    assert got == status
    assert body["type"] == "error" and body["error"]["type"] == kind
    assert body["request_id"] == headers["request-id"]
    assert header is None or int(headers[header]) > 0


def limits(headers):
    prefix = "anthropic-ratelimit-requests-"
    reset = datetime.datetime.fromisoformat(headers[prefix + "reset"].replace("Z", "+00:00"))
    left = (reset - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
    return int(headers[prefix + "limit"]), int(headers[prefix + "remaining"]), left


@pytest.mark.parametrize("stream", [False, True])
def test_limits_are_the_places_that_are_left(server, stream):
    got, headers, _ = server.request("POST", "/v1/messages", message("hello", stream=stream))
    limit, remaining, wait = limits(headers)
    assert got == 200 and 0 < remaining < limit and wait <= 0
    got, headers, _ = server.post("/v1/messages", message("busy", stream=stream))
    assert got == 529 and limits(headers)[:2] == (limit, 0)
    _, headers, _ = server.request("GET", "/v1/models")
    assert "anthropic-ratelimit-requests-limit" not in headers


def test_overflow_has_the_words_that_claude_code_reads(server):
    _, headers, body = server.post("/v1/messages", message("toolong"))
    assert body["error"]["message"] == "prompt is too long: 40123 tokens > 32766 maximum"
    assert "x-should-retry" not in headers


BAD = [
    ({"max_tokens": 1, "messages": []}, "model: Field required"),
    (message("hello", messages=[]), "messages: "),
    ({k: v for k, v in message("hello").items() if k != "max_tokens"}, "max_tokens: Field required"),
    (message("hello", max_tokens=0), "max_tokens: "),
    (message("hello", max_tokens="9"), "max_tokens: "),
    (message("hello", temperature=3), "temperature: "),
    (message("hello", top_p=-1), "top_p: "),
    (message("hello", stop_sequences=[""]), "stop_sequences.0: "),
    (message("hello", stream="yes"), "stream: "),
    (message("hello", thinking={"type": "enabled"}), "thinking.budget_tokens: "),
    (message("hello", tools=[{"name": "a"}]), "tools.0.input_schema: "),
    (message("hello", tool_choice={"type": "tool", "name": "b"}), "tool_choice.name: "),
    (message("hello", messages=[{"role": "robot", "content": "x"}]), "messages.0.role: "),
    (message("hello", messages=[{"role": "user", "content": [{"type": "text"}]}]),
     "messages.0.content.0.text: "),
    (message("hello", messages=[{"role": "user", "content": [
        {"type": "tool_result", "content": "x"}]}]), "messages.0.content.0.tool_use_id: "),
    ("{", ""), ("[]", "the body"), ('{"model":"\xff"}'.encode("latin-1"), ""),
]


@pytest.mark.parametrize("body,words", BAD)
def test_a_wrong_field_is_named(server, body, words):
    status, _, answer = server.post("/v1/messages", body)
    assert status == 400, answer
    assert answer["error"]["type"] == "invalid_request_error"
    assert answer["error"]["message"].startswith(words)


def test_threads_are_refused_so_that_the_sdk_goes_on_without(server):
    status, _, body = server.post("/v1/messages", message("hello", thread={"type": "create"}))
    assert status == 400
    assert body["error"]["details"] == {"error_code": "thread_unsupported_request",
                                        "unsupported": ["thread"]}


def test_what_is_not_known_is_ignored(server):
    body = message("hello", metadata={"user_id": "u"}, safeguards=[{"type": "x"}],
                   context_management={"edits": []}, output_config={"effort": "high"}, novelty=[1])
    body["messages"].insert(0, {"role": "system", "content": "x", "output_config": {}})
    headers = {"anthropic-version": "2099-01-01", "anthropic-beta": "a-2030-01-01,b"}
    status, _, answer = server.post("/v1/messages", body, headers=headers)
    assert status == 200, answer


def test_count_tokens_agrees_with_usage(server):
    body = message("hello")
    del body["max_tokens"]
    status, _, answer = server.post("/v1/messages/count_tokens?beta=true", body)
    assert status == 200 and answer == {"input_tokens": 10}


def test_26_counts_at_once(server):
    body = message("hello")
    with concurrent.futures.ThreadPoolExecutor(26) as pool:
        answers = list(pool.map(lambda _: server.post("/v1/messages/count_tokens", body), range(26)))
    assert [status for status, _, _ in answers] == [200] * 26


def test_models(server):
    page = server.get("/v1/models?limit=1000")
    assert page["has_more"] is False and page["first_id"] == page["last_id"]
    model, = page["data"]
    assert model["type"] == "model" and "claude" in model["id"]
    assert server.get(f"/v1/models/{model['id']}")["id"] == model["id"]
    assert server.get("/v1/models/claude-opus-5-5")["type"] == "model"
    assert server.request("GET", "/v1/models/gpt")[0] == 404
    assert server.get(f"/v1/models?after_id={model['id']}")["data"] == []
    assert server.request("GET", "/v1/models?limit=0")[0] == 400


def test_pages_of_models(server):
    own = server.get("/v1/models")["data"][0]["id"]
    for whole in ("", "?limit=1", "?limit=1000", "?after_id=", "?limit=20&before_id="):
        page = server.get(f"/v1/models{whole}")
        assert [m["id"] for m in page["data"]] == [own]
        assert (page["first_id"], page["last_id"], page["has_more"]) == (own, own, False)
    for behind in (f"?after_id={own}", f"?limit=5&before_id={own}"):
        assert server.get(f"/v1/models{behind}") == {
            "data": [], "has_more": False, "first_id": None, "last_id": None}
    for wrong in ("0", "1001", "-1", "many", ""):
        status, _, answer = server.request("GET", f"/v1/models?limit={wrong}")
        assert status == 400
        assert json.loads(answer)["error"]["type"] == "invalid_request_error"


def test_models_by_lifecycle(server):
    own = server.get("/v1/models")["data"][0]["id"]
    for wanted in ("lifecycle=active", "lifecycle%5B%5D=retired&lifecycle%5B%5D=active",
                   "limit=3&lifecycle[]=active&lifecycle[]=deprecated"):
        assert [m["id"] for m in server.get(f"/v1/models?{wanted}")["data"]] == [own]
    for wanted in ("lifecycle=retired", "lifecycle%5B%5D=deprecated"):
        assert server.get(f"/v1/models?{wanted}")["data"] == []
    status, _, answer = server.request("GET", "/v1/models?lifecycle=new")
    assert status == 400 and "lifecycle" in json.loads(answer)["error"]["message"]


def test_capabilities_of_a_model(server):
    model, = server.get("/v1/models")["data"]
    assert model == server.get(f"/v1/models/{model['id']}")
    window = server.get("/health", key=None)["context_window"]
    assert model["max_input_tokens"] == model["max_tokens"] == window
    assert model["lifecycle"] == "active" and model["retires_at"] is None
    can = model["capabilities"]
    yes = {name for name, what in can.items() if what["supported"]}
    assert yes >= {"context_management", "effort", "structured_outputs", "thinking"}
    assert not yes & {"batch", "citations", "image_input", "pdf_input"}
    assert can["thinking"]["types"]["adaptive"] == {"supported": True}
    assert can["context_management"]["clear_tool_uses_20250919"] == {"supported": True}


def test_probes_and_unknown_paths(server):
    for path in ("/", "/api/hello", "/health"):
        assert server.request("HEAD", path, key=None)[0] == 200
    assert server.request("GET", "/nowhere")[0] == 404
    status, headers, _ = server.request("GET", "/v1/messages")
    assert status == 405 and headers["allow"] == "POST"
    health = server.get("/health", key=None)
    assert health["memory"]["status"] == "Safe"
    assert health["memory"]["accepting_requests"] is True
    assert re.fullmatch(r"\d+\.\d\d", health["memory"]["available_gb"])
    assert b"pensieve_requests_total" in server.request("GET", "/metrics")[2]


def test_a_client_that_leaves_cancels_its_turn(server):
    for stream in (True, False):
        before = server.stats()["cancelled"]
        sock = server.socket()
        body = json.dumps(message("hang", stream=stream))
        sock.sendall((f"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Api-Key: "
                      f"pensieve-local-token\r\nContent-Type: application/json\r\n"
                      f"Content-Length: {len(body)}\r\n\r\n{body}").encode())
        wait_until(lambda: server.stats()["waiting"] > 0, what="the turn")
        sock.close()
        wait_until(lambda: server.stats()["cancelled"] == before + 1, what="the cancellation")
        wait_until(lambda: server.stats()["turns"] == 0, what="the place")


def test_a_slow_reader_is_waited_for_and_loses_nothing(server):
    whole, _ = accumulate(server.events(message("long")))
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # little is taken ahead of us
    sock.settimeout(60)
    sock.connect(("127.0.0.1", server.port))
    body = json.dumps(message("long", stream=True))
    sock.sendall((f"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Api-Key: "
                  f"pensieve-local-token\r\nContent-Type: application/json\r\nConnection: close\r\n"
                  f"Content-Length: {len(body)}\r\n\r\n{body}").encode())
    wait_until(lambda: server.stats()["paused"] == 1, what="the pause of the writer")
    assert server.post("/v1/messages", message("hello"))[0] == 200, "others go on"
    data = b""
    while part := sock.recv(65536):
        data += part
    text = data.split(b"\r\n\r\n", 1)[1]
    assert whole[0]["text"][-1004:].encode() in text.replace(b'"', b"")
    assert text.count(b"event: message_stop") == 1
