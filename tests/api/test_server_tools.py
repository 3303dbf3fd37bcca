"""Tools that the server runs, by the whole program on scripts, with a SearXNG of the test's own."""
import contextlib
import http.server
import json
import subprocess
import threading
import urllib.parse

import pytest
from support.pensieve_server import message, program, script_server, wait_until

RESULTS = [
    {"url": "https://example.org/page", "title": "A page", "content": "An excerpt of the page",
     "publishedDate": "2026-01-02T00:00:00"},
    {"url": "https://example.com/other", "title": "Another", "content": "Not wanted"},
]


class SearXNG(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        self.server.asked.append((url.path, dict(urllib.parse.parse_qsl(url.query))))
        self.server.hold.wait(10)
        body = json.dumps({"results": RESULTS}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def searxng():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), SearXNG) as server:
        server.asked, server.hold = [], threading.Event()
        server.hold.set()
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield server
        server.hold.set()
        server.shutdown()
        thread.join()


def search(name, **declared):
    tool = {"type": "web_search_20250305", "name": "web_search", **declared}
    return {**message(name), "tools": [tool]}


def answer_of(server, body):
    status, _, answer = server.post("/v1/messages", body)
    assert status == 200, answer
    return answer


def test_a_search_answers_with_what_searxng_found(searxng):
    with script_server("--searxng", searxng.url) as server:
        answer = answer_of(server, search("searchfound", blocked_domains=["example.com"]))
    assert searxng.asked == [("/search", {"q": "local models", "format": "json"})]
    assert [b["type"] for b in answer["content"]] == ["text", "server_tool_use",
                                                      "web_search_tool_result", "text"]
    assert [(r["url"], r["title"]) for r in answer["content"][2]["content"]] == [
        ("https://example.org/page", "A page")]
    assert answer["content"][2]["tool_use_id"] == answer["content"][1]["id"]
    assert answer["content"][3]["text"] == "Found." and answer["stop_reason"] == "end_turn"
    assert answer["usage"]["server_tool_use"] == {"web_search_requests": 1,
                                                  "web_fetch_requests": 0}


def test_an_answer_is_pinged_while_a_search_is_slow_and_ends_with_its_client(searxng):
    searxng.hold.clear()
    with script_server("--searxng", searxng.url, "--ping-ms", "20") as server:
        with server.socket() as client:
            body = json.dumps({**search("searchfound"), "stream": True}).encode()
            client.sendall(b"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                           b"x-api-key: pensieve-local-token\r\nContent-Type: application/json\r\n"
                           b"Content-Length: %d\r\n\r\n" % len(body) + body)
            seen = b""
            while seen.partition(b"server_tool_use")[2].count(b"event: ping") < 3:
                piece = client.recv(4096)
                assert piece, seen
                seen += piece
        wait_until(lambda: server.stats()["turns"] == 0, what="the end of the turn")
    assert b"web_search_tool_result" not in seen


def test_no_page_of_this_machine_is_fetched(searxng):
    with script_server("--searxng", searxng.url) as server:
        body = message("fetchnear")
        body["messages"][0]["content"] = [
            {"type": "text", "text": "Read http://127.0.0.1:9/page for me."},
            {"type": "text", "text": "fetchnear"}]
        body["tools"] = [{"type": "web_fetch_20250910", "name": "web_fetch"}]
        answer = answer_of(server, body)
    assert answer["content"][1]["content"] == {"type": "web_fetch_tool_result_error",
                                               "error_code": "url_not_allowed"}
    assert answer["content"][2]["text"] == "I may not."


def test_searxng_should_be_an_address(tmp_path):
    ended = subprocess.run([program(), "serve", "--port", "0", "--searxng", "example.org"],
                           capture_output=True, text=True, timeout=60, env={"HOME": str(tmp_path)})
    assert ended.returncode != 0
    assert "--searxng: should be an http or https address" in ended.stderr
