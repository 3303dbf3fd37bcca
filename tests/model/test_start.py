"""What fits at the start, on a scripted amount of free memory: a smaller window before a refusal."""
import os
import subprocess

import pytest
from support.pensieve_server import Server, model_path, program

MODEL, TRAINED = "smollm2:135m", 8192
KEPT = 2 << 30  # --memory-warn
MB = 1_000_000


@pytest.fixture
def memory(tmp_path):
    """Sets how much is free above what is kept free; returns the flags that name it.

    Without the kernels: a step of plain attention needs memory for rows x pool, which is what these
    numbers are of.  With them it needs so little that a small window would save next to nothing.
    """
    def set_free(beyond):
        (tmp_path / "available").write_text(str(KEPT + beyond))
        return ["--memory-source", str(tmp_path / "available"), "--model", model_path(MODEL),
                "--tune", "never", "--kernels", "off"]
    return set_free


def refused(*flags):
    models = os.environ.get("PENSIEVE_MODELS") or os.path.expanduser(
        os.environ.get("XDG_DATA_HOME", "~/.local/share") + "/pensieve/models")
    env = {"HOME": "/nonexistent", "PATH": os.environ["PATH"], "PENSIEVE_MODELS": models,
           **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}}
    result = subprocess.run([program(), "serve", "--port", "0", *flags], env=env, text=True,
                            capture_output=True, timeout=60)
    assert result.stdout == ""
    return result.returncode, result.stderr


def sizes(*flags):
    with Server(*flags) as server:
        server.wait_ready()
        health = server.get("/health")
        return health["context_window"], health["kv"]["cells_total"], server.log()


def test_ample_memory_gives_the_whole_window_and_a_larger_pool(memory):
    assert sizes(*memory(8000 * MB))[:2] == (TRAINED, TRAINED + TRAINED // 2)


def test_short_memory_gives_a_smaller_window_and_says_so(memory):
    window, pool, log = sizes(*memory(320 * MB))
    assert (window, pool) == (4096, 4096)
    assert f"a window of {TRAINED} tokens would need 0." in log and "using 4096 tokens" in log


def test_a_window_that_was_asked_for_is_made_smaller_too(memory):
    window, _, log = sizes(*memory(320 * MB), "--ctx", str(TRAINED))
    assert window == 4096 and "using 4096 tokens" in log


def test_too_little_memory_refuses_the_start_with_numbers(memory):
    code, err = refused(*memory(100 * MB))
    assert code == 71
    assert f"{MODEL} with a window of 4096 tokens needs 0." in err
    assert "2.09 GB are free, of which 2.00 GB stay free" in err and "--ctx" in err


def test_less_than_is_kept_free_refuses_every_model(memory):
    code, err = refused(*memory(-MB))
    assert code == 71 and "2.00 GB are free" in err


def test_what_is_kept_free_is_a_setting(memory):
    flags = memory(100 * MB)
    assert refused(*flags)[0] == 71
    assert sizes(*flags, "--memory-warn", "1.5")[0] == TRAINED


def test_a_pool_that_was_asked_for_is_counted_and_never_cut(memory):
    code, err = refused(*memory(1000 * MB), "--pool", "100000")
    assert code == 71 and "with a pool of 100000 tokens needs" in err


def test_a_window_is_no_larger_than_a_pool_that_was_asked_for(memory):
    flags = memory(8000 * MB)
    assert sizes(*flags, "--pool", "2048")[:2] == (2048, 2048)
    code, err = refused(*flags, "--pool", "2048", "--ctx", "4096")
    assert code == 78 and "--pool 2048 is smaller than the window of 4096 tokens" in err
