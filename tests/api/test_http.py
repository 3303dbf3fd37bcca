"""HTTP itself: framing, limits, who may talk to the server, stopping.  Raw sockets where a client
library would not send what is tested."""
import json
import signal
import socket
import subprocess

import pytest
from support.pensieve_server import KEY, message, program, script_server, wait_until

HEAD = f"Host: 127.0.0.1\r\nX-Api-Key: {KEY}\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def server():
    with script_server() as s:
        yield s


def raw(server, text, end=False):
    """Sends bytes, reads until the server closes; the first status line's code."""
    with server.socket() as sock:
        sock.sendall(text if isinstance(text, bytes) else text.encode())
        if end:
            sock.shutdown(socket.SHUT_WR)
        data = b""
        try:
            while part := sock.recv(65536):
                data += part
        except ConnectionResetError:
            pass
    return data


def code(data):
    return int(data.split(b" ", 2)[1]) if data else None


BAD_FRAMING = {
    "length and coding": "POST /v1/messages HTTP/1.1\r\n" + HEAD +
                         "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": "POST /v1/messages HTTP/1.1\r\n" + HEAD +
                   "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "signed length": "POST /v1/messages HTTP/1.1\r\n" + HEAD + "Content-Length: +2\r\n\r\n{}",
    "odd coding": "POST /v1/messages HTTP/1.1\r\n" + HEAD +
                  "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "folded header": "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: b\r\n c\r\n\r\n",
    "space before colon": "GET /health HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n",
    "bare line feed": "GET /health HTTP/1.1\nHost: 127.0.0.1\n\n",
    "control in header": "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: b\x01\r\n\r\n",
    "no host": "GET /health HTTP/1.1\r\nX-A: b\r\n\r\n",
    "two hosts": "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: 127.0.0.1\r\n\r\n",
    "bad chunk": "POST /v1/messages HTTP/1.1\r\n" + HEAD +
                 "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "no http": "hello\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD_FRAMING)
def test_ambiguous_framing_is_refused_and_ends_the_connection(server, name):
    data = raw(server, BAD_FRAMING[name])
    assert code(data) == 400
    assert data.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in data


def test_limits_of_the_head(server):
    long_header = "X-A: " + "b" * 40000
    assert code(raw(server, f"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n{long_header}\r\n\r\n")) == 431
    many = "".join(f"X-{i}: b\r\n" for i in range(150))
    assert code(raw(server, f"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n{many}\r\n")) == 431
    path = "/" + "a" * 9000
    assert code(raw(server, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")) == 414


def test_a_large_body_is_refused_before_it_is_read(server):
    data = raw(server, "POST /v1/messages HTTP/1.1\r\n" + HEAD + "Content-Length: 33554433\r\n\r\n")
    assert code(data) == 413
    assert b"request_too_large" in data and b"x-should-retry: false" in data


def test_expect_continue(server):
    body = json.dumps(message("hello"))
    with server.socket() as sock:
        sock.sendall(("POST /v1/messages HTTP/1.1\r\n" + HEAD + "Expect: 100-continue\r\n"
                      f"Content-Length: {len(body)}\r\n\r\n").encode())
        assert sock.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        sock.sendall(body.encode())
        assert sock.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_chunked_body(server):
    body = json.dumps(message("hello"))
    chunks = "".join(f"{len(body[i:i + 7]):x}\r\n{body[i:i + 7]}\r\n"
                     for i in range(0, len(body), 7))
    data = raw(server, "POST /v1/messages HTTP/1.1\r\n" + HEAD +
               f"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{chunks}0\r\n\r\n")
    assert code(data) == 200


def test_keep_alive_and_pipelining(server):
    one = "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    last = "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    data = raw(server, one * 5 + last)
    assert data.count(b"HTTP/1.1 200 OK") == 6


def test_every_byte_of_a_request_may_come_alone(server):
    body = json.dumps(message("hello"))
    text = "POST /v1/messages HTTP/1.1\r\n" + HEAD + \
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    with server.socket() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in text.encode():
            sock.send(bytes([byte]))
        data = b""
        while part := sock.recv(65536):
            data += part
    assert code(data) == 200


def test_http_1_0_is_answered_and_closed(server):
    data = raw(server, "GET /health HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
    assert code(data) == 200 and b"connection: close" in data


ACCESS = [
    ({}, 200),
    ({"Host": "localhost"}, 200),
    ({"Host": "127.0.0.1:{port}"}, 200),
    ({"Host": "[::1]:{port}"}, 200),
    ({"Host": "evil.example"}, 403),
    ({"Host": "127.0.0.1:1"}, 403),
    ({"Host": "127.0.0.1.evil.example"}, 403),
    ({"Origin": "http://evil.example"}, 403),
    ({"Origin": "null"}, 403),
    ({"Origin": "http://127.0.0.1:{port}"}, 200),
    ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Content-Type": "text/plain"}, 415),
    ({"Content-Type": "application/json; charset=utf-8"}, 200),
    ({"Content-Encoding": "gzip"}, 415),
]


@pytest.mark.parametrize("headers,status", ACCESS)
def test_who_may_ask(server, headers, status):
    headers = {k: v.format(port=server.port) for k, v in headers.items()}
    got, answered, _ = server.request("POST", "/v1/messages", message("hello"), headers=headers)
    assert got == status
    assert not any(name.startswith("access-control") for name in answered)


def test_keys(server):
    ask = message("hello")
    for headers in ({"Authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}):
        assert server.request("POST", "/v1/messages", ask, headers=headers, key=None)[0] == 200
    for headers in ({}, {"x-api-key": KEY + "x"}, {"x-api-key": KEY[:-1]},
                    {"Authorization": KEY}, {"Authorization": "Bearer wrong"}):
        status, answered, body = server.request("POST", "/v1/messages", ask, headers=headers,
                                                key=None)
        assert status == 401 and answered["x-should-retry"] == "false"
        assert json.loads(body)["error"]["type"] == "authentication_error"
        assert KEY.encode() not in body


def test_sigterm_lets_a_running_stream_end():
    with script_server() as server:
        connection = server.connection()
        connection.request("POST", "/v1/messages", json.dumps(message("wait", stream=True)),
                           {"content-type": "application/json", "x-api-key": KEY})
        response = connection.getresponse()
        wait_until(lambda: server.stats()["waiting"] == 1, what="the turn")
        held = server.connection()
        held.request("GET", "/test/stats", headers={"x-api-key": KEY})
        held.getresponse().read()
        server.process.send_signal(signal.SIGTERM)

        def is_refused():
            try:
                server.socket(1).close()
                return False
            except ConnectionResetError:  # it was in the queue of a listener that then closed
                return False
            except ConnectionRefusedError:
                return True
        wait_until(is_refused, what="the end of listening")
        server.process.send_signal(signal.SIGTERM)  # the second: at once
        try:
            rest = response.read()
        except Exception:
            rest = b""
        assert b"message_stop" not in rest


def test_stop_by_request_waits_for_running_turns():
    with script_server() as server:
        connection = server.connection()
        connection.request("POST", "/v1/messages", json.dumps(message("hello", stream=True)),
                           {"content-type": "application/json", "x-api-key": KEY})
        response = connection.getresponse()
        assert server.request("POST", "/admin/stop", key="wrong-key")[0] == 401
        assert server.request("POST", "/admin/stop")[0] == 202
        assert b"event: message_stop" in response.read()
        assert server.process.wait(20) == 0


def test_memory_states(tmp_path):
    source = tmp_path / "available"
    source.write_text(str(8 << 30))
    with script_server("--memory-source", str(source)) as server:
        connection = server.connection()
        connection.request("POST", "/v1/messages", json.dumps(message("wait", stream=True)),
                           {"content-type": "application/json", "x-api-key": KEY})
        response = connection.getresponse()

        def state():
            return server.get("/health")["memory"]
        wait_until(lambda: state()["available_gb"] == "8.00", what="the first reading")
        source.write_text(str(900 << 20))
        wait_until(lambda: state()["status"] == "Critical", what="Critical")
        assert state()["accepting_requests"] is False
        status, headers, body = server.post("/v1/messages", message("hello"))
        assert status == 503 and int(headers["retry-after"]) > 0
        assert body["error"]["type"] == "overloaded_error"
        server.release("go")
        assert b"event: message_stop" in response.read(), "what runs goes on"
        source.write_text(str(8 << 30))
        wait_until(lambda: state()["accepting_requests"], 30, what="the recovery")
        assert server.post("/v1/messages", message("hello"))[0] == 200
        source.write_text(str(100 << 20))
        assert server.process.wait(30) == 75
        server.expected_exit = 75


def run(*arguments, env=None):
    return subprocess.run([program(), *arguments], capture_output=True, text=True, timeout=60,
                          env=env)


def test_exit_codes(tmp_path, server):
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    assert run("nonsense", env=env).returncode == 64
    assert "did you mean `serve`" in run("serv", env=env).stderr
    bad = run("serve", "--prot", "1", env=env)
    assert bad.returncode == 64 and "did you mean --port" in bad.stderr
    assert run("serve", "--port", "70000", env=env).returncode == 64
    missing = run("serve", "--model", "qwen2.5-coder:1.5b", env=env)
    assert missing.returncode == 66 and "pensieve pull" in missing.stderr
    damaged = tmp_path / "x.gguf"
    damaged.write_bytes(b"GGUF" + b"\0" * 100)
    assert run("serve", "--model", str(damaged), env=env).returncode == 65
    taken = run("serve", "--port", str(server.port), "--engine", "script:.", env=env)
    assert taken.returncode == 73 and "port" in taken.stderr
    open_to_all = run("serve", "--host", "0.0.0.0", "--port", "0", "--engine", "script:.", env=env)
    assert open_to_all.returncode == 77
    settings = tmp_path / "config.json"
    settings.write_text('{\n  // comment\n  "paralel": 2\n}')
    wrong = run("serve", "--config", str(settings), env=env)
    assert wrong.returncode == 78 and ":3:3:" in wrong.stderr and '"parallel"' in wrong.stderr
    assert run("status", "--port", "1", env=env).returncode == 69
    assert run("version", env=env).stdout.startswith("pensieve ")


def test_status_of_a_running_server(server):
    shown = run("status", "--port", str(server.port))
    assert shown.returncode == 0 and "script" in shown.stdout


def test_no_prompt_reaches_the_log():
    canary = "canary-7f3a91"
    with script_server("--log-level", "debug") as server:
        server.post("/v1/messages", message(canary, system=canary, metadata={"user_id": canary}))
        server.post("/v1/messages", message("hello", stop_sequences=[canary]))
        assert canary not in server.log()
        assert KEY not in server.log().split("ANTHROPIC_AUTH_TOKEN", 1)[-1].split("\n", 1)[1]
