"""`pensieve pull` from a source that breaks, lies or starts again: nothing half is ever left."""
import http.server
import os
import pathlib
import subprocess
import threading

import pytest
from support.pensieve_server import model_path, program, wait_until

NAME, FILE = "smollm2:135m", "SmolLM2-135M-Instruct.Q4_1.gguf"


class Source(http.server.BaseHTTPRequestHandler):
    """Serves one file with ranges; `hold` stops it after so many bytes, `flip` spoils one."""

    protocol_version = "HTTP/1.1"
    content = b""
    hold = None
    flip = None
    ranges = []

    def do_GET(self):
        begin = 0
        asked = self.headers.get("Range")
        if asked:
            begin = int(asked.split("=")[1].split("-")[0])
        type(self).ranges.append(begin)
        body = self.content[begin:]
        if self.flip is not None:
            body = bytearray(body)
            body[self.flip] ^= 1
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        if asked:
            self.send_header("Content-Range",
                             f"bytes {begin}-{len(self.content) - 1}/{len(self.content)}")
        self.end_headers()
        if self.hold is None:
            self.wfile.write(body)
            return
        self.wfile.write(body[:self.hold])
        released.wait(60)

    def log_message(self, *_):
        pass


released = threading.Event()


@pytest.fixture(scope="module")
def content():
    model_path(NAME)
    folder = os.environ.get("PENSIEVE_MODELS") or os.path.expanduser(
        os.environ.get("XDG_DATA_HOME", "~/.local/share") + "/pensieve/models")
    return pathlib.Path(folder, FILE).read_bytes()


@pytest.fixture
def source(content):
    handler = type("Handler", (Source,), {"content": content, "ranges": []})
    released.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    handler.url = f"http://127.0.0.1:{server.server_port}/model"
    yield handler
    released.set()
    server.shutdown()
    server.server_close()


def start(folder, url):
    env = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "PENSIEVE_MODELS": str(folder),
           "PENSIEVE_PULL_URL": url}
    return subprocess.Popen([program(), "pull", NAME], env=env, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def test_a_killed_pull_goes_on_where_it_was(tmp_path, source, content):
    source.hold = 20_000_000
    part = tmp_path / (FILE + ".part")
    first = start(tmp_path, source.url)
    wait_until(lambda: part.exists() and part.stat().st_size >= 10_000_000, 60, "the first part")
    first.kill()
    first.communicate()
    have = part.stat().st_size
    source.hold = None
    second = start(tmp_path, source.url)
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert source.ranges == [0, have]
    assert (tmp_path / FILE).read_bytes() == content
    assert out.strip() == str(tmp_path / FILE)
    assert "MB/s" in err and "left" in err
    assert not part.exists()
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_other_bytes_than_expected_are_removed(tmp_path, source):
    source.flip = 50_000_000
    pull = start(tmp_path, source.url)
    _, err = pull.communicate(timeout=120)
    assert pull.returncode == 65 and "SHA-256" in err
    assert [p.name for p in tmp_path.iterdir()] == []


def test_a_damaged_model_is_noticed_and_fetched_again(tmp_path, source, content):
    damaged = bytearray(content)
    damaged[1234567] ^= 1
    (tmp_path / FILE).write_bytes(damaged)
    pull = start(tmp_path, source.url)
    _, err = pull.communicate(timeout=120)
    assert pull.returncode == 0 and "damaged" in err
    assert (tmp_path / FILE).read_bytes() == content
