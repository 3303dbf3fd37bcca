"""Starts and stops the real program for tests: a free port, a HOME of its own, bounded waits.

    with Server("--engine", f"script:{folder}", "--test-routes") as server:
        status, headers, body = server.post("/v1/messages", {...})
"""
import contextlib
import http.client
import json
import os
import pathlib
import queue
import signal
import socket
import subprocess
import tempfile
import threading
import time

import pytest

KEY = "pensieve-local-token"
SCRIPTS = pathlib.Path(__file__).resolve().parent.parent / "api" / "scripts"
START_S = 60


def program():
    path = os.environ.get("PENSIEVE_BINARY", "")
    if not os.access(path, os.X_OK):
        pytest.skip("PENSIEVE_BINARY names no program: build it first")
    return path


def model_path(name):
    """The folder of models where `name` is here; else skips, saying so."""
    listed = subprocess.run([program(), "list", "--json"], capture_output=True, check=True)
    for model in json.loads(listed.stdout):
        if model["name"] == name and model["here"]:
            return name
    pytest.skip(f"the model {name} is not here: pensieve pull {name}")


def wait_until(condition, seconds=10, what="the condition"):
    """Polls a condition that another process makes true; fails after a bounded time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        threading.Event().wait(0.005)
    raise AssertionError(f"{what} did not come about within {seconds} s")


class Server(contextlib.AbstractContextManager):
    def __init__(self, *options, env=None, wrapper=()):
        self.options = options
        self.extra_env = env or {}
        self.wrapper = list(wrapper)
        self.expected_exit = 0

    def __enter__(self):
        self.home = tempfile.TemporaryDirectory()
        models = os.environ.get("PENSIEVE_MODELS") or os.path.expanduser(
            os.environ.get("XDG_DATA_HOME", "~/.local/share") + "/pensieve/models")
        # Measuring at the first start, in a HOME that is always new, would be a start each time.
        env = {"HOME": self.home.name, "PATH": os.environ["PATH"], "PENSIEVE_MODELS": models,
               "PENSIEVE_TUNE": "never",
               **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")},
               **self.extra_env}
        self.errors = open(os.path.join(self.home.name, "stderr"), "w+b")
        self.process = subprocess.Popen(
            [*self.wrapper, program(), "serve", "--port", "0", *self.options],
            stdout=subprocess.PIPE, stderr=self.errors, env=env)
        lines = queue.Queue()
        threading.Thread(target=lambda: lines.put(self.process.stdout.readline()),
                         daemon=True).start()
        line = lines.get(timeout=START_S).decode()
        assert line.startswith("listening on http://"), self.log()
        self.port = int(line.strip().rsplit(":", 1)[1])
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            log = self.log()
            self.process.stdout.close()
            self.errors.close()
            self.home.cleanup()
        if exc[0] is None:
            assert code == self.expected_exit, f"exit status {code}\n{log}"

    def log(self):
        self.errors.flush()
        with open(self.errors.name, "rb") as file:
            return file.read().decode(errors="replace")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def socket(self, timeout=20):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def connection(self, timeout=120):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method, path, body=None, headers=None, key=KEY, timeout=120):
        connection = self.connection(timeout)
        sent = {"x-api-key": key} if key else {}
        if body is not None:
            sent["content-type"] = "application/json"
            body = body if isinstance(body, (bytes, str)) else json.dumps(body)
        sent.update({k.lower(): v for k, v in (headers or {}).items()})
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, data

    def get(self, path, **more):
        status, headers, body = self.request("GET", path, **more)
        assert status == 200, body
        return json.loads(body)

    def post(self, path, body, **more):
        status, headers, data = self.request("POST", path, body, **more)
        return status, headers, json.loads(data)

    def events(self, body, **more):
        """A streamed answer as [(event name, data)]."""
        status, headers, data = self.request("POST", "/v1/messages", dict(body, stream=True), **more)
        assert status == 200, data
        assert headers["content-type"].startswith("text/event-stream")
        return parse_events(data)

    def stats(self):
        return self.get("/test/stats")

    def release(self, name):
        self.request("POST", f"/test/release?{name}")

    def wait_ready(self, seconds=120):
        wait_until(lambda: self.get("/health")["state"] != "loading", seconds, "loading")
        assert self.get("/health")["state"] == "ready", self.log()
        return self


def parse_events(data):
    events = []
    for part in data.decode().split("\n\n"):
        if not part:
            continue
        lines = dict(line.split(": ", 1) for line in part.split("\n") if not line.startswith(":"))
        events.append((lines["event"], json.loads(lines["data"])))
    return events


def script_server(*options, scripts=SCRIPTS, **more):
    return Server("--engine", f"script:{scripts}", "--test-routes", *options, **more)


def message(text, **more):
    return {"model": "claude-x", "max_tokens": 100,
            "messages": [{"role": "user", "content": text}], **more}
