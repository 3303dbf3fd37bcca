"""What the program says before it does anything: the settings' reference, and mistakes in them."""
import os
import pathlib
import re
import subprocess

import pytest
from support.pensieve_server import program

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"


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
