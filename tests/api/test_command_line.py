"""What the program says before it does anything: the settings' reference, and mistakes in them."""
import json
import os
import pathlib
import re
import subprocess

import pytest
from support.pensieve_server import program

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def pensieve(folder, *arguments, **more):
    env = {"HOME": str(folder), "PATH": os.environ["PATH"],
           **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}, **more}
    return subprocess.run([program(), *arguments], env=env, capture_output=True, text=True,
                          timeout=60)


def test_the_reference_of_settings_is_what_the_program_prints(tmp_path):
    printed = pensieve(tmp_path, "options").stdout
    assert printed.count("\n| `--") >= 20
    assert printed in (DOCS / "CONFIGURATION.md").read_text()


def test_help_names_every_setting_and_every_exit_code_of_the_reference(tmp_path):
    told = pensieve(tmp_path, "--help").stdout
    flags = re.findall(r"^\| `(--[a-z-]+)", (DOCS / "CONFIGURATION.md").read_text(), re.MULTILINE)
    assert [flag for flag in flags if f"  {flag} " not in told] == []
    codes = re.findall(r"^\| (\d[\d, ]*) \|", (DOCS / "TROUBLESHOOTING.md").read_text(), re.MULTILINE)
    numbers = [n for row in codes for n in row.split(", ")]
    assert len(numbers) >= 10
    listed = told[told.index("Exit codes:"):]
    assert [n for n in numbers if not re.search(rf"\b{n}\b", listed)] == []


@pytest.mark.parametrize("arguments, code, said", [
    (["sreve"], 64, "did you mean `serve`?"),
    (["serve", "--prot", "1"], 64, "did you mean --port?"),
    (["serve", "--port", "65536"], 64, "--port: should be a whole number from 0 to 65535"),
    (["serve", "7777"], 64, "--model"),
    (["serve", "--log-level", "loud"], 64, "error, warn, info or debug"),
    (["serve", "--memory-warn", "0.1"], 78, "memory thresholds must fall"),
    (["serve", "--engine", "other"], 78, "--engine: should be local or script:DIR"),
    (["serve", "--model", "smolm2:135m"], 66, "did you mean smollm2:135m?"),
    (["serve", "--model", "smollm2:135m"], 66, "pensieve pull smollm2:135m"),
    (["pull", "qwen2.5-coder:1.6b"], 66, "did you mean qwen2.5-coder:1.5b?"),
    (["pull", "an-altogether-other-thing"], 66, "see `pensieve list`"),
])
def test_a_mistake_has_its_exit_code_and_remedy_in_one_line(tmp_path, arguments, code, said):
    result = pensieve(tmp_path, *arguments)
    assert (result.returncode, result.stdout) == (code, "")
    assert result.stderr.startswith("pensieve: ") and said in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_mistake_in_the_settings_file_has_its_line_and_column(tmp_path):
    settings = tmp_path / ".config" / "pensieve" / "config.json"
    settings.parent.mkdir(parents=True)
    settings.write_text('{\n  "port": 8000, // mine\n  "modle": "x"\n}\n')
    result = pensieve(tmp_path, "serve")
    assert result.returncode == 78
    assert f'{settings}:3:3: unknown setting; did you mean "model"?' in result.stderr


def test_a_file_that_is_no_model_is_damaged(tmp_path):
    (tmp_path / "own.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    result = pensieve(tmp_path, "serve", "--model", str(tmp_path / "own.gguf"))
    assert result.returncode == 65 and "own.gguf" in result.stderr


# Four replies of 6 tokens in all, and between them what makes two damaged ones.
TURNS = ROOT / "tests" / "fuzz" / "corpus" / "turnfile" / "turns.bin"


def cache(folder, verb, *options):
    result = pensieve(folder, "cache", verb, "--cache-dir", str(folder), *options)
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout) if "--json" in options else result.stdout


def test_kept_replies_are_counted_mended_and_cleared(tmp_path):
    turns = tmp_path / "prompts" / "turns"
    nothing = {"blocks": 0, "damaged": 0, "unreadable": 0, "replies": 0, "damaged_replies": 0}
    assert cache(tmp_path, "verify", "--json") == nothing  # where there is not even a folder

    turns.parent.mkdir()
    turns.write_bytes(TURNS.read_bytes())
    n_before = turns.stat().st_size
    told = cache(tmp_path, "stat", "--json")
    assert (told["replies"], told["reply_bytes"], told["bytes"]) == (4, n_before, 0)
    assert re.search(r"^replies +4, 0\.0 MB$", cache(tmp_path, "stat"), re.MULTILINE)

    assert cache(tmp_path, "verify", "--json") == {**nothing, "replies": 4, "damaged_replies": 2}
    assert turns.stat().st_size == 4 * 56 + 6 * 4 and turns.stat().st_mode & 0o777 == 0o600
    assert "4 replies sound, 0 damaged and deleted" in cache(tmp_path, "verify")

    told = cache(tmp_path, "clear", "--json")
    assert told == {"deleted_blocks": 0, "deleted_bytes": 4 * 56 + 6 * 4}
    assert not turns.parent.exists()


@pytest.mark.parametrize("plant", [os.mkfifo, lambda path: path.symlink_to("../mine")])
def test_what_was_planted_for_the_kept_replies_is_not_followed(tmp_path, plant):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "prompts").mkdir()
    plant(tmp_path / "prompts" / "turns")
    assert cache(tmp_path, "stat", "--json")["replies"] == 0
    assert cache(tmp_path, "verify", "--json")["damaged_replies"] == 1
    assert list((tmp_path / "prompts").iterdir()) == []
    assert (tmp_path / "mine").read_text() == "mine"
