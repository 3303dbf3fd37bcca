"""`pensieve pull` from a source that breaks, lies or starts again: nothing half is ever left."""
import contextlib
import http.server
import os
import pathlib
import resource
import signal
import socket
import subprocess
import threading

import pytest
from support.pensieve_server import model_path, program, wait_until

NAME, FILE = "smollm2:135m", "SmolLM2-135M-Instruct.Q4_1.gguf"
MB = 1_000_000
IO_FAILED, DAMAGED = 74, 65


class Source(http.server.BaseHTTPRequestHandler):
    """Serves one file with ranges, and does what a test asks for wrongly."""

    protocol_version = "HTTP/1.1"
    content = b""
    hold = None     # stops after so many bytes until `released`
    cut = None      # closes the first answers after so many bytes each
    flip = None     # spoils this byte
    refuse = None   # what a request with a range gets: "416", "place" or "size"
    status = None   # the HTTP status of every answer
    ranges = []     # where the requests began

    def do_GET(self):
        asked = self.headers.get("Range")
        begin = int(asked.split("=")[1].split("-")[0]) if asked else 0
        self.ranges.append(begin)
        if self.status or (asked and self.refuse == "416"):
            self.send_response(self.status or 416)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"sorry\n")
            return
        body = bytearray(self.content[begin:])
        if self.flip is not None:
            body[self.flip] ^= 1
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        if asked:
            first = begin + 5 if self.refuse == "place" else begin
            total = len(self.content) + (3 if self.refuse == "size" else 0)
            self.send_header("Content-Range", f"bytes {first}-{len(self.content) - 1}/{total}")
        self.end_headers()
        with contextlib.suppress(OSError):  # a client that was stopped
            self.send_body(body)

    def send_body(self, body):
        if self.cut:
            self.wfile.write(body[:self.cut.pop(0)])
            self.close_connection = True
        elif self.hold is not None:
            self.wfile.write(body[:self.hold])
            released.wait(60)
            self.wfile.write(body[self.hold:])
        else:
            self.wfile.write(body)

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


@pytest.fixture
def part(tmp_path):
    return tmp_path / (FILE + ".part")


def start(folder, url=None, more=None, **popen):
    env = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "PENSIEVE_MODELS": str(folder),
           **({"PENSIEVE_PULL_URL": url} if url else {}), **(more or {}),
           **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}}
    return subprocess.Popen([program(), "pull", NAME], env=env, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **popen)


def finish(pull):
    out, err = pull.communicate(timeout=120)
    return pull.returncode, out, err


def size(path):
    return path.stat().st_size if path.exists() else 0


def files(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_killed_pull_goes_on_where_it_was(tmp_path, source, content, part):
    source.hold = 20 * MB
    first = start(tmp_path, source.url)
    wait_until(lambda: size(part) >= 10 * MB, 60, "the first part")
    first.kill()
    first.communicate()
    have = size(part)
    source.hold = None
    code, out, err = finish(start(tmp_path, source.url))
    assert code == 0, err
    assert source.ranges == [0, have]
    assert (tmp_path / FILE).read_bytes() == content
    assert out.strip() == str(tmp_path / FILE)
    assert "MB/s" in err and "left" in err
    assert files(tmp_path) == [FILE]
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_ctrl_c_keeps_what_came(tmp_path, source, part):
    source.hold = 20 * MB
    pull = start(tmp_path, source.url)
    wait_until(lambda: size(part) >= 20 * MB, 60, "the first part")
    pull.send_signal(signal.SIGINT)
    code, _, err = finish(pull)
    assert code == IO_FAILED and "goes on from here" in err
    assert size(part) == 20 * MB


def test_a_line_that_breaks_is_taken_up_in_the_same_run(tmp_path, source, content):
    source.cut = [30 * MB, 40 * MB]
    code, _, err = finish(start(tmp_path, source.url))
    assert code == 0, err
    assert source.ranges == [0, 30 * MB, 70 * MB]
    assert err.count("taking it up again") == 2
    assert (tmp_path / FILE).read_bytes() == content


def test_a_source_that_brings_next_to_nothing_is_given_up(tmp_path, source, part):
    source.cut = [1000, 1000]
    code, _, err = finish(start(tmp_path, source.url))
    assert code == IO_FAILED and source.ranges == [0], err
    assert size(part) == 1000


@pytest.mark.parametrize("refuse", ["416", "place", "size"])
def test_a_part_that_the_source_refuses_is_begun_again_once(tmp_path, source, content, part,
                                                            refuse):
    part.write_bytes(content[:5 * MB])
    source.refuse = refuse
    code, _, err = finish(start(tmp_path, source.url))
    assert code == 0, err
    assert source.ranges == [5 * MB, 0]
    assert err.count("starting again from zero") == 1
    assert (tmp_path / FILE).read_bytes() == content
    assert files(tmp_path) == [FILE]


def test_a_part_of_other_bytes_is_begun_again_once(tmp_path, source, content, part):
    part.write_bytes(b"x" * 5 * MB)
    code, _, err = finish(start(tmp_path, source.url))
    assert code == 0, err
    assert source.ranges == [5 * MB, 0]
    assert "SHA-256" in err and err.count("starting again from zero") == 1
    assert (tmp_path / FILE).read_bytes() == content


def test_other_bytes_than_expected_are_removed(tmp_path, source):
    source.flip = 50 * MB
    code, _, err = finish(start(tmp_path, source.url))
    assert code == DAMAGED and "SHA-256" in err
    assert source.ranges == [0]
    assert files(tmp_path) == []


def test_a_file_of_another_size_is_refused_before_it_is_read(tmp_path, source, content):
    source.content = content[:-7]
    code, _, err = finish(start(tmp_path, source.url))
    assert code == DAMAGED and "another file" in err
    assert files(tmp_path) == []


def test_an_http_error_says_its_status_and_leaves_nothing(tmp_path, source):
    source.status = 404
    code, _, err = finish(start(tmp_path, source.url))
    assert code == IO_FAILED and "404" in err
    assert files(tmp_path) == []


def test_two_at_once_share_one_download(tmp_path, source, content, part):
    source.hold = 20 * MB
    first = start(tmp_path, source.url)
    wait_until(lambda: size(part) >= 20 * MB, 60, "the first part")
    second = start(tmp_path, source.url)
    lines = iter(second.stderr.readline, "")
    said = next((line for line in lines if "waiting for it" in line), "")
    assert f"process {first.pid} " in said
    released.set()
    code, _, err = finish(first)
    assert code == 0, err
    code, out, err = finish(second)
    assert code == 0 and out.strip() == str(tmp_path / FILE), err
    assert source.ranges == [0]
    assert (tmp_path / FILE).read_bytes() == content
    assert files(tmp_path) == [FILE]


def test_the_one_that_waits_goes_on_when_the_other_is_killed(tmp_path, source, content, part):
    source.hold = 20 * MB
    first = start(tmp_path, source.url)
    wait_until(lambda: size(part) >= 20 * MB, 60, "the first part")
    second = start(tmp_path, source.url)
    lines = iter(second.stderr.readline, "")
    assert any("waiting for it" in line for line in lines)
    source.hold = None
    first.kill()
    first.communicate()
    code, _, err = finish(second)
    assert code == 0, err
    assert source.ranges == [0, 20 * MB]
    assert (tmp_path / FILE).read_bytes() == content


def test_a_full_disk_is_told_and_what_came_is_kept(tmp_path, source, part):
    limit = 30 * MB

    def limit_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    pull = start(tmp_path, source.url, preexec_fn=limit_files, restore_signals=False)
    code, _, err = finish(pull)
    assert code == IO_FAILED and "cannot write" in err and str(part) in err
    assert size(part) == limit


def test_a_damaged_model_is_noticed_and_fetched_again(tmp_path, source, content):
    damaged = bytearray(content)
    damaged[1234567] ^= 1
    (tmp_path / FILE).write_bytes(damaged)
    code, _, err = finish(start(tmp_path, source.url))
    assert code == 0 and "damaged" in err
    assert (tmp_path / FILE).read_bytes() == content


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc to see processes")
def test_ctrl_c_ends_pip_with_all_that_it_started(tmp_path, content):
    """The catalogue's own source is shut off by a proxy that nobody listens at; pip hangs."""
    assert content  # the catalogue has packages for this model
    pids = tmp_path / "pids"
    pip = tmp_path / "python"
    pip.write_text(f"#!/bin/sh\nsleep 600 &\necho $$ $! >{pids}.new\nmv {pids}.new {pids}\nwait\n")
    pip.chmod(0o700)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{closed.getsockname()[1]}"
        pull = start(tmp_path / "models", more={"https_proxy": proxy, "PENSIEVE_PYTHON": str(pip)})
        wait_until(pids.exists, 30, "the start of pip")
        pull.send_signal(signal.SIGINT)
        code, _, err = finish(pull)
    assert code == IO_FAILED and "own source failed" in err and "goes on from here" in err
    for pid in pids.read_text().split():
        wait_until(lambda pid=pid: not is_running(int(pid)), 10, "the end of pip")
    assert files(tmp_path / "models") == []


def is_running(pid):
    """Whether it computes or waits; one that nobody has asked about since its end does not."""
    with contextlib.suppress(OSError):
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX"
    return False
