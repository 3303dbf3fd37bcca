"""Starts the servers that the programs of this folder measure: Pensieve, and llama-server beside it.

    with Pensieve(program, model, window) as server:
        server.url, server.process.pid
"""
import atexit
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse

KEY = os.environ.get("PENSIEVE_API_KEY", "pensieve-local-token")
LOAD_S = 600
STOP_S = 60


class ServerError(Exception):
    """A server did not start, or ended."""


class Server(contextlib.AbstractContextManager):
    """A server process on a port of its own on loopback; its output goes to `log`, a file."""

    name = ""

    def __init__(self, command, log):
        self.command = [str(part) for part in command]
        self.log = pathlib.Path(log)
        self.process = None
        self.port = None

    def __enter__(self):
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=subprocess.STDOUT)
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc):
        self.stop()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def find_port(self):
        """Sets `port` as soon as it is known."""

    def is_ready(self):
        raise NotImplementedError

    def wait_ready(self):
        end = time.monotonic() + LOAD_S
        while time.monotonic() < end:
            if self.process.poll() is not None:
                tail = self.log.read_text(errors="replace")[-500:]
                raise ServerError(f"{self.name} ended with {self.process.returncode}: {tail}")
            self.find_port()
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                if self.port and self.is_ready():
                    return
            time.sleep(0.05)
        raise ServerError(f"{self.name} was not ready after {LOAD_S} s; see {self.log}")

    def health(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", "/health")
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def fresh_cache():
    """A cache folder with what was measured of this machine and without prompts, so that what a
    run before this one asked is computed again.  Gone when this program ends."""
    folder = tempfile.mkdtemp(prefix="pensieve-bench-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    if (home / "pensieve" / "tune").is_dir():
        shutil.copytree(home / "pensieve" / "tune", pathlib.Path(folder) / "tune")
    return folder


class Pensieve(Server):
    name = "Pensieve"

    def __init__(self, program, model, window, log, options=()):
        super().__init__([program, "serve", "--port", "0", "--model", model, "--ctx", window,
                          "--cache-dir", fresh_cache(), *options], log)

    def find_port(self):
        for line in self.log.read_text(errors="replace").splitlines():
            if line.startswith("listening on http://"):
                self.port = int(line.rsplit(":", 1)[1].strip("/ "))

    def is_ready(self):
        state = self.health()[1].get("state")
        if state == "failed":
            raise ServerError(f"the model could not be loaded; see {self.log}")
        return state == "ready"


class LlamaServer(Server):
    name = "llama-server"

    def __init__(self, program, gguf, window, log, options=()):
        self.free_port = free_port()
        super().__init__([program, "--host", "127.0.0.1", "--port", self.free_port, "-m", gguf,
                          "-c", window, "--jinja", "--api-key", KEY, *options], log)

    def find_port(self):
        self.port = self.free_port

    def is_ready(self):
        return self.health()[0] == 200


class Running:
    """A server that somebody else started."""

    name = "server"
    process = None

    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        self.url = f"http://{parts.hostname}:{parts.port or 80}"
        self.port = parts.port or 80

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def memory_mib(pid):
    """Resident memory of a process now: its own (anonymous) and of mapped files."""
    fields = {}
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("RssAnon", "RssFile"):
            fields[name] = int(value.split()[0]) / 1024
    return fields


class MemoryWatch(contextlib.AbstractContextManager):
    """Keeps the highest RssAnon and RssFile of a process while it is open."""

    def __init__(self, pid, every_s=0.1):
        self.pid = pid
        self.every_s = every_s
        self.peak = memory_mib(pid)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def watch(self):
        while not self.over.wait(self.every_s):
            with contextlib.suppress(OSError):
                for name, value in memory_mib(self.pid).items():
                    self.peak[name] = max(self.peak[name], value)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.over.set()
        self.thread.join()
