"""Measuring at the first start, on real weights: what it leaves behind, and that it is used."""
import json
import os
import subprocess

import pytest
from support.pensieve_server import Server, message, model_path, program, wait_until

MODEL = "smollm2:135m"
SIZES = ("--ctx", "4096", "--pool", "8192")


def start(folder, *options, model=MODEL):
    return Server("--model", model_path(model), "--cache-dir", str(folder), *SIZES, *options)


def record_of(folder):
    (path,) = (folder / "tune").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    return path, json.loads(path.read_text())


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A folder with what one measurement left, and what the server said of itself after it."""
    folder = tmp_path_factory.mktemp("cache")
    with start(folder, "--tune", "now") as server:
        health = server.wait_ready(180).get("/health")
        log = server.log()
    return folder, health, log


def test_a_measurement_is_kept_and_told_before_the_first_request(measured):
    folder, health, log = measured
    _, record = record_of(folder)
    assert record["flash_attention"] in ("on", "off")
    assert record["step_rows"] in (128, 256, 512)
    assert 1 <= record["threads"] <= os.cpu_count()
    assert 1 <= record["threads_batch"] <= os.cpu_count()
    assert record["poll"] in (0, 50)
    assert record["attempts"] == (0 if record["settled"] else 1)
    speed = health["speed"]
    assert speed["prefill_tokens_per_s"] == pytest.approx(record["prefill_tokens_per_s"])
    assert speed["decode_tokens_per_s"] == pytest.approx(record["decode_tokens_per_s"])
    # Many rows at once are cheaper than one at a time, and neither is free or for ever.
    assert 1 < speed["decode_tokens_per_s"] < speed["prefill_tokens_per_s"] < 100_000
    assert "tune: measuring" in log


def test_the_second_start_uses_what_was_kept(measured, tmp_path):
    folder, _, _ = measured
    path, record = record_of(folder)
    record.update(settled=True, attempts=0, flash_attention="on", step_rows=256,
                  prefill_tokens_per_s=123.5)
    kept = tmp_path / "tune" / path.name
    kept.parent.mkdir()
    kept.write_text(json.dumps(record))
    with start(tmp_path, "--tune", "auto") as server:
        health = server.wait_ready().get("/health")
        assert health["speed"]["prefill_tokens_per_s"] == 123.5
        status, _, answer = server.post("/v1/messages", message("Say hello.", max_tokens=8))
        assert status == 200 and answer["usage"]["output_tokens"] >= 1
        log = server.log()
    assert "as measured before: flash attention on" in log and "256 rows a step" in log
    assert "tune: measuring" not in log
    assert json.loads(kept.read_text()) == record


def test_what_was_unsteady_is_not_measured_for_ever(measured, tmp_path):
    folder, _, _ = measured
    path, record = record_of(folder)
    record.update(settled=False, attempts=3)
    kept = tmp_path / "tune" / path.name
    kept.parent.mkdir()
    kept.write_text(json.dumps(record))
    with start(tmp_path, "--tune", "auto") as server:
        server.wait_ready()
        assert "tune: measuring" not in server.log()


def test_never_measures_and_reads_nothing(measured):
    folder, _, _ = measured
    path, _ = record_of(folder)
    before = path.stat().st_mtime_ns
    with start(folder, "--tune", "never") as server:
        health = server.wait_ready().get("/health")
        assert health["speed"]["prefill_tokens_per_s"] == 0
        assert "tune:" not in server.log()
    assert path.stat().st_mtime_ns == before


def test_another_setting_is_another_measurement(measured):
    folder, _, _ = measured
    with start(folder, "--tune", "now", "--flash-attention", "on", "--threads", "1") as server:
        server.wait_ready(180)
    records = [json.loads(p.read_text()) for p in (folder / "tune").iterdir()]
    assert len(records) == 2
    (forced,) = [r for r in records if "flash on, threads 1" in r["key"]]
    assert forced["flash_attention"] == "on"
    assert (forced["threads"], forced["threads_batch"], forced["poll"]) == (1, 1, 0)
    assert forced["step_rows"] == 512


def test_a_model_with_a_sliding_window_keeps_the_defaults(tmp_path):
    with start(tmp_path, "--tune", "now", model="gemma3:270m-base") as server:
        wait_until(lambda: server.get("/health")["state"] != "loading", 120, "loading")
        assert "tune: measuring" not in server.log()
    assert not (tmp_path / "tune").exists()


def test_stopping_does_not_wait_for_the_measurement(tmp_path):
    with start(tmp_path, "--tune", "now") as server:
        wait_until(lambda: "tune: measuring" in server.log(), 60, "the measurement")
    # Server's end has asked for exit status 0.
    assert not (tmp_path / "tune").exists()


@pytest.mark.parametrize("option", ["--tune", "--flash-attention", "--kernels"])
def test_a_wrong_word_is_refused(option):
    run = subprocess.run([program(), "serve", "--model", model_path(MODEL), "--port", "0",
                          option, "perhaps"], capture_output=True, text=True)
    assert run.returncode == 78 and f"{option}: should be" in run.stderr


def start_with(usable_gb, *options):
    """A server of the 0.5b model that takes all but so much memory for spoken for."""
    model = model_path("qwen2.5-coder:0.5b")
    with Server("--model", model, "--ctx", "4096") as probe:
        wait_until(lambda: probe.get("/health")["state"] != "loading", 120, "loading")
        free = float(probe.get("/health")["memory"]["available_gb"]) + 0.7  # what it holds itself
    return Server("--model", model, "--memory-warn", f"{free - usable_gb:.2f}", *options)


def test_short_memory_costs_rows_of_a_step_before_the_window():
    # 0.46 GB of weights, 0.38 of KV; a step of 512 rows 0.97 more, one of 128 0.24 more: without the
    # kernels, whose attention needs next to nothing for a step.
    with start_with(1.5, "--ctx", "32768", "--kernels", "off") as server:
        server.wait_ready()
        assert server.get("/health")["context_window"] == 32768
        assert "memory is short: computing" in server.log()
        assert "a window of" not in server.log()


def test_a_pool_that_does_not_fit_is_refused_with_numbers():
    run = subprocess.run([program(), "serve", "--port", "0", "--model", model_path(MODEL),
                          "--pool", "4194304", "--tune", "never"], capture_output=True, text=True)
    assert run.returncode == 71
    assert "with a pool of 4194304 tokens needs" in run.stderr and "--pool" in run.stderr
