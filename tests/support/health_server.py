"""A server that answers /health as it is told, for what clients decide from the answer."""
import contextlib
import http.server
import json
import threading


class HealthServer(contextlib.AbstractContextManager):
    def __init__(self, speed=0, window=32768, prefill=(0, 0), **more):
        self.answer = {"status": "ok", "state": "ready", "model": "small:1b",
                       "model_id": "claude-local-small:1b", "context_window": window,
                       "prefill": {"done": prefill[0], "total": prefill[1]},
                       "speed": {"prefill_tokens_per_s": speed, "decode_tokens_per_s": 10.5}, **more}

    def __enter__(self):
        body = json.dumps(self.answer, separators=(",", ":")).encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200 if self.path == "/health" else 404)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *ignored):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.server.shutdown()
        self.server.server_close()
