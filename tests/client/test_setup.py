"""scripts/setup-claude-code.sh: settings merged, and taken out again, and nothing lost."""
import importlib.util
import json
import os
import pathlib
import random
import shutil
import stat
import subprocess
import sys

import pytest
from support.claude_code import claude, environment, run_in
from support.health_server import HealthServer
from support.pensieve_server import script_server

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"
OURS = {"ANTHROPIC_BASE_URL": "http://127.0.0.1:7777", "ANTHROPIC_AUTH_TOKEN": "our-token",
        "ANTHROPIC_MODEL": "claude-local", "API_TIMEOUT_MS": "3600000"}
SET_UP, REFUSED, NOT_SET_UP = 0, 1, 3

spec = importlib.util.spec_from_file_location("claude_settings", SCRIPTS / "claude_settings.py")
claude_settings = importlib.util.module_from_spec(spec)
spec.loader.exec_module(claude_settings)


def call(folder, action, wanted=None):
    """The part behind the script, which it hands the variables to."""
    lines = "".join(f"{k}={v}\n" for k, v in (OURS if wanted is None else wanted).items())
    return subprocess.run([sys.executable, str(SCRIPTS / "claude_settings.py"), str(folder), action],
                          input=lines, capture_output=True, text=True, timeout=60)


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def put(folder, raw):
    path = folder / "settings.json"
    path.write_bytes(raw)
    return path


# ---- Files of every kind ----

READABLE = {
    "an empty file": b"",
    "only white space": b" \n\n",
    "an empty object": b"{}",
    "an empty env": b'{"env": {}}\n',
    "no env": b'{"model": "opus", "permissions": {"allow": ["Bash(ls)"]}}',
    "an env": b'{\n  "env": {\n    "MINE": "1"\n  },\n  "z": 1\n}\n',
    "our names with values of the user": json.dumps(
        {"env": {"ANTHROPIC_BASE_URL": "https://gateway.example", "API_TIMEOUT_MS": 5}}).encode(),
    "the same value as ours": b'{"env": {"API_TIMEOUT_MS": "3600000"}}',
    "values in env that are no text": b'{"env": {"A": 1, "B": null, "C": [true]}}',
    "tabs": b'{\n\t"a": {\n\t\t"b": 1\n\t}\n}\n',
    "four spaces, no last line end": b'{\n    "a": 1\n}',
    "CRLF": b'{\r\n  "a": 1\r\n}\r\n',
    "a byte order mark": b'\xef\xbb\xbf{"a": 1}\n',
    "text of many kinds": '{"ü": "😀 \\u00e9 \\ud83d\\ude00 \\"\\\\ \\u0000"}'.encode(),
    "half of a surrogate pair": b'{"a": "\\ud83d", "b": "\xc3\xbc"}',
    "numbers": b'{"a": 1.5, "b": 12345678901234567890123, "c": -0.0, "d": 1e300}',
    "one long line": json.dumps({"a": ["x" * 50] * 5000}).encode(),
}
REFUSABLE = {
    "no JSON": (b"hello", "not valid JSON"),
    "cut short": (b'{"env": {"A": "1"', "not valid JSON"),
    "comments": (b'{ // mine\n"a": 1}', "comments"),
    "a last comma": (b'{"a": 1,}', "not valid JSON"),
    "two objects": (b"{} {}", "not valid JSON"),
    "a key twice": (b'{"env": {"A": "1", "A": "2"}}', "twice"),
    "a list": (b"[]", "no JSON object"),
    "null": (b"null", "no JSON object"),
    "NaN": (b'{"a": NaN}', "NaN"),
    "a number without end": (b'{"a": 1e999}', "too large"),
    "env is text": (b'{"env": "A=1"}', '"env"'),
    "env is null": (b'{"env": null}', '"env"'),
    "env is a list": (b'{"env": []}', '"env"'),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
    "Latin-1": (b'{"a": "\xfc"}', "not UTF-8"),
    "very deep": (b'{"a":' * 200000 + b"1" + b"}" * 200000, "not valid JSON"),
    "too large": (b" " * (16 * 1024 * 1024 + 1), "larger than"),
}


def meaning(raw):
    text = raw.decode("utf-8-sig")
    return json.loads(text) if text.strip() else {}


@pytest.mark.parametrize("kind", READABLE)
def test_what_was_there_stays_and_comes_back(tmp_path, kind):
    raw = READABLE[kind]
    path = put(tmp_path, raw)
    path.chmod(0o640)
    done = call(tmp_path, "apply")
    assert done.returncode == 0, done.stderr
    before, after = meaning(raw), meaning(path.read_bytes())
    assert after.pop("env") == {**before.pop("env", {}), **OURS}
    assert after == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    backups = [p for p in tmp_path.iterdir() if p.suffix == ".bak"]
    assert [p.read_bytes() for p in backups] == [raw]
    assert stat.S_IMODE(backups[0].stat().st_mode) == 0o640

    once = contents(tmp_path)
    assert "nothing to change" in call(tmp_path, "apply").stdout
    assert contents(tmp_path) == once, "a second set-up changes nothing"

    assert call(tmp_path, "undo").returncode == 0
    assert path.read_bytes() == raw
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert not (tmp_path / "pensieve-setup.json").exists()


@pytest.mark.parametrize("kind", READABLE)
def test_it_comes_back_by_key_where_somebody_wrote_to_the_file(tmp_path, kind):
    raw = READABLE[kind]
    path = put(tmp_path, raw)
    assert call(tmp_path, "apply").returncode == 0
    changed = meaning(path.read_bytes())
    changed["theirs"] = {"deep": [1]}
    path.write_text(json.dumps(changed))
    assert call(tmp_path, "undo").returncode == 0
    left = meaning(path.read_bytes())
    assert left.pop("theirs") == {"deep": [1]}
    assert left == meaning(raw)


@pytest.mark.parametrize("kind", REFUSABLE)
def test_a_file_that_it_does_not_understand_is_not_touched(tmp_path, kind):
    raw, reason = REFUSABLE[kind]
    put(tmp_path, raw)
    for action in ("apply", "dry-run"):
        done = call(tmp_path, action)
        assert done.returncode == REFUSED
        assert reason in done.stderr and "nothing was changed" in done.stderr
        assert "Traceback" not in done.stderr
        assert contents(tmp_path) == {"settings.json": raw}


def test_layout_is_kept(tmp_path):
    path = put(tmp_path, b'\xef\xbb\xbf{\r\n\t"a": "\xc3\xbc"\r\n}')
    call(tmp_path, "apply", {"ANTHROPIC_BASE_URL": "x"})
    assert path.read_bytes() == (b'\xef\xbb\xbf{\r\n\t"a": "\xc3\xbc",\r\n\t"env": {\r\n'
                                 b'\t\t"ANTHROPIC_BASE_URL": "x"\r\n\t}\r\n}')


def test_no_file_and_no_folder(tmp_path):
    folder = tmp_path / "claude"
    assert call(folder, "status").returncode == NOT_SET_UP
    assert call(folder, "undo").returncode == 0
    assert call(folder, "dry-run").returncode == 0
    assert not folder.exists()
    assert call(folder, "apply").returncode == 0
    path = folder / "settings.json"
    assert meaning(path.read_bytes()) == {"env": OURS}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "pensieve-setup.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert call(folder, "undo").returncode == 0
    assert contents(folder) == {}


def test_a_link_stays_a_link(tmp_path):
    folder, dotfiles = tmp_path / "claude", tmp_path / "dotfiles"
    folder.mkdir()
    dotfiles.mkdir()
    target = put(dotfiles, b'{"a": 1}')
    target.chmod(0o600)
    (folder / "settings.json").symlink_to("../dotfiles/settings.json")
    assert call(folder, "apply").returncode == 0
    assert os.readlink(folder / "settings.json") == "../dotfiles/settings.json"
    assert meaning(target.read_bytes())["env"] == OURS
    assert list(contents(dotfiles)) == ["settings.json"], "copies and record are not put there"
    assert call(folder, "undo").returncode == 0
    assert os.readlink(folder / "settings.json") == "../dotfiles/settings.json"
    assert target.read_bytes() == b'{"a": 1}'


def test_a_link_to_no_file(tmp_path):
    path = tmp_path / "settings.json"
    path.symlink_to(tmp_path / "gone" / "settings.json")
    assert "folder does not exist" in call(tmp_path, "apply").stderr
    (tmp_path / "gone").mkdir()
    assert call(tmp_path, "apply").returncode == 0
    assert meaning(path.read_bytes()) == {"env": OURS}
    assert path.is_symlink()


def test_what_is_no_file_is_refused(tmp_path):
    path = tmp_path / "settings.json"
    path.mkdir()
    assert "is a folder" in call(tmp_path, "apply").stderr
    path.rmdir()
    os.mkfifo(path)
    assert "is not a file" in call(tmp_path, "apply").stderr
    path.unlink()
    path.symlink_to(path)
    assert call(tmp_path, "apply").returncode == REFUSED
    assert [p.name for p in tmp_path.iterdir()] == ["settings.json"]


def test_a_read_only_file_is_refused(tmp_path):
    path = put(tmp_path, b"{}")
    path.chmod(0o444)
    assert "read-only" in call(tmp_path, "apply").stderr
    path.chmod(0o644)
    assert call(tmp_path, "apply").returncode == 0
    path.chmod(0o444)
    before = contents(tmp_path)
    assert "read-only" in call(tmp_path, "undo").stderr
    assert contents(tmp_path) == before


# ---- What is given back ----


def test_undo_leaves_alone_what_the_user_changed(tmp_path):
    path = put(tmp_path, json.dumps({"env": {"ANTHROPIC_BASE_URL": "https://before.example",
                                             "API_TIMEOUT_MS": "7", "MINE": "1"}}).encode())
    call(tmp_path, "apply")
    settings = meaning(path.read_bytes())
    settings["env"]["ANTHROPIC_MODEL"] = "chosen later"
    del settings["env"]["ANTHROPIC_AUTH_TOKEN"]
    settings["env"]["NEW"] = "2"
    path.write_text(json.dumps(settings))
    status = call(tmp_path, "status")
    assert status.returncode == SET_UP
    assert "changed since: ANTHROPIC_MODEL" in status.stdout
    done = call(tmp_path, "undo")
    assert meaning(path.read_bytes()) == {"env": {
        "ANTHROPIC_BASE_URL": "https://before.example", "API_TIMEOUT_MS": "7", "MINE": "1",
        "ANTHROPIC_MODEL": "chosen later", "NEW": "2"}}
    left = [line for line in done.stdout.splitlines() if "left alone" in line]
    assert [line.split()[2] for line in left] == ["ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_MODEL"]


def test_another_set_up_takes_the_place_of_the_first(tmp_path):
    raw = b'{"env": {"ANTHROPIC_MODEL": "before"}}'
    path = put(tmp_path, raw)
    call(tmp_path, "apply", {**OURS, "CLAUDE_CODE_SIMPLE": "1"})
    call(tmp_path, "apply", {**OURS, "ANTHROPIC_MODEL": "another"})
    assert meaning(path.read_bytes())["env"] == {**OURS, "ANTHROPIC_MODEL": "another"}
    call(tmp_path, "undo")
    assert path.read_bytes() == raw


def test_a_file_that_we_made_and_the_user_filled_stays(tmp_path):
    call(tmp_path, "apply")
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({**meaning(path.read_bytes()), "theirs": 1}))
    call(tmp_path, "apply", {**OURS, "ANTHROPIC_MODEL": "another"})
    call(tmp_path, "undo")
    assert meaning(path.read_bytes()) == {"theirs": 1}


def test_undo_after_the_file_or_the_copy_is_gone(tmp_path):
    raw = b'{"a":   1, "env": {"API_TIMEOUT_MS": "7"}}'
    path = put(tmp_path, raw)
    call(tmp_path, "apply")
    for copy in tmp_path.glob("*.bak"):
        copy.unlink()
    assert call(tmp_path, "undo").returncode == 0
    assert meaning(path.read_bytes()) == meaning(raw)
    call(tmp_path, "apply")
    path.write_bytes(b"{}")
    assert call(tmp_path, "undo").returncode == 0
    assert meaning(path.read_bytes()) == {}
    call(tmp_path, "apply")
    path.unlink()
    assert "is gone" in call(tmp_path, "undo").stdout
    assert not path.exists()
    assert call(tmp_path, "status").returncode == NOT_SET_UP


def test_a_file_that_broke_since_is_not_touched_by_undo(tmp_path):
    path = put(tmp_path, b'{"a": 1}')
    call(tmp_path, "apply")
    path.write_bytes(b'{"a": 1')
    before = contents(tmp_path)
    assert call(tmp_path, "undo").returncode == REFUSED
    assert contents(tmp_path) == before


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", b'{"env": {"A": 1}}', b"\xff"])
def test_a_damaged_record_is_named(tmp_path, damage):
    put(tmp_path, b'{"a": 1}')
    call(tmp_path, "apply")
    (tmp_path / "pensieve-setup.json").write_bytes(damage)
    before = contents(tmp_path)
    for action in ("undo", "apply", "status"):
        done = call(tmp_path, action)
        assert done.returncode == REFUSED
        assert "pensieve-setup.json is damaged" in done.stderr
    assert contents(tmp_path) == before


def test_any_order_of_set_ups_and_edits_comes_back_to_the_users_own_values():
    names = ["A", "B", "C", "D"]
    for seed in range(500):
        dice = random.Random(seed)
        users = {n: f"user {n}" for n in names if dice.random() < 0.5}
        env, entries = dict(users), {}
        for step in range(dice.randrange(1, 8)):
            if dice.random() < 0.5:
                wanted = {n: f"ours {dice.randrange(2)}" for n in names if dice.random() < 0.7}
                env, entries = claude_settings.merge(env, wanted, entries)
            elif dice.random() < 0.7:
                name = dice.choice(names)
                env[name] = users[name] = f"edit {step}"
            else:
                name = dice.choice(names)
                env.pop(name, None)
                users.pop(name, None)
        assert claude_settings.take_out(env, entries)[0] == users, f"seed {seed}"


def test_a_crash_before_the_file_is_replaced_loses_nothing(tmp_path, monkeypatch):
    raw = b'{"env": {"API_TIMEOUT_MS": "7"}}'
    path = put(tmp_path, raw)
    moved = []

    def crash_at_second(source, target):
        if moved:
            raise KeyboardInterrupt
        moved.append(target)
        os.rename(source, target)

    monkeypatch.setattr(claude_settings.os, "replace", crash_at_second)
    with pytest.raises(KeyboardInterrupt):
        claude_settings.apply(str(tmp_path), OURS, False)
    monkeypatch.undo()
    assert path.read_bytes() == raw
    assert not list(tmp_path.glob(".pensieve-*")), "no half-written file is left"
    assert call(tmp_path, "undo").returncode == 0
    assert meaning(path.read_bytes()) == meaning(raw)


def test_a_write_by_another_program_in_between_wins(tmp_path):
    path = put(tmp_path, b'{"new": 1}')
    with pytest.raises(claude_settings.Refusal, match="another program"):
        claude_settings.replace(str(path), b"ours", expected=b'{"old": 1}')
    assert contents(tmp_path) == {"settings.json": b'{"new": 1}'}


# ---- The script itself ----


def setup(folder, *arguments, **more):
    env = environment(folder, **more)
    return run_in(folder, [str(SCRIPTS / "setup-claude-code.sh"), *arguments], env, timeout=60)


def test_the_script_shows_sets_and_takes_back(tmp_path):
    with HealthServer(speed=5000) as server:
        port = str(server.port)
        assert setup(tmp_path, "--status").returncode == NOT_SET_UP
        shown = setup(tmp_path, "--port", port, "--dry-run", PENSIEVE_API_KEY="secret-key")
        assert f'+ ANTHROPIC_BASE_URL = "{server.url}"' in shown.stdout
        assert "secret-key" not in shown.stdout
        assert not (tmp_path / "home" / ".claude").exists()
        done = setup(tmp_path, f"--port={port}", PENSIEVE_API_KEY="secret-key")
        assert done.returncode == 0, done.stderr
        assert "--undo" in done.stdout and "secret-key" not in done.stdout
        env = meaning((tmp_path / "home" / ".claude" / "settings.json").read_bytes())["env"]
        assert env["ANTHROPIC_BASE_URL"] == server.url
        assert env["ANTHROPIC_AUTH_TOKEN"] == "secret-key"
        assert env["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "32768"
        assert "CLAUDE_CODE_SIMPLE" not in env
        assert server.url in setup(tmp_path, "--status").stdout
    assert setup(tmp_path, "--undo").returncode == 0
    assert contents(tmp_path / "home" / ".claude") == {}


def test_the_script_takes_the_short_prompt_where_the_machine_is_slow(tmp_path):
    with HealthServer(speed=20) as server:
        done = setup(tmp_path, "--port", str(server.port),
                     CLAUDE_CONFIG_DIR=str(tmp_path / "config"))
    assert "so this is --lite" in done.stderr
    env = meaning((tmp_path / "config" / "settings.json").read_bytes())["env"]
    assert env["CLAUDE_CODE_SIMPLE"] == "1"
    assert not (tmp_path / "home" / ".claude").exists()


def test_the_script_finds_its_part_where_make_install_puts_it(tmp_path):
    for name, where in [("setup-claude-code.sh", "bin"), ("claude-local", "bin"),
                        ("claude_settings.py", "share/pensieve")]:
        (tmp_path / where).mkdir(parents=True, exist_ok=True)
        shutil.copy(SCRIPTS / name, tmp_path / where)
    with HealthServer(speed=5000) as server:
        command = [str(tmp_path / "bin" / "setup-claude-code.sh"), "--port", str(server.port)]
        done = run_in(tmp_path, command, environment(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "home" / ".claude" / "settings.json").exists()


def test_the_script_changes_nothing_without_a_server(tmp_path):
    with HealthServer() as server:
        pass
    done = setup(tmp_path, "--port", str(server.port), PENSIEVE_BIN="/bin/false")
    assert done.returncode != 0
    assert not (tmp_path / "home" / ".claude").exists()
    assert setup(tmp_path, "--no-such").returncode == 64


def test_the_real_claude_in_global_mode(tmp_path):
    program = claude()
    settings = tmp_path / "home" / ".claude" / "settings.json"
    (tmp_path / "home").mkdir()
    settings.parent.mkdir()
    settings.write_text('{"permissions": {"allow": ["Bash"]}}\n')
    before = settings.read_bytes()
    with script_server() as server, HealthServer() as cloud:
        assert setup(tmp_path, "--port", str(server.port)).returncode == 0
        env = environment(tmp_path, ANTHROPIC_BASE_URL=cloud.url, ANTHROPIC_API_KEY="cloud-key")
        done = run_in(tmp_path, [program, "-p", "hello"], env)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.strip() == "Hello, wörld 😀!"
        started = server.stats()["started"]
        assert setup(tmp_path, "--undo").returncode == 0
        assert settings.read_bytes() == before
        done = run_in(tmp_path, [program, "-p", "hello"],
                      {**env, "CLAUDE_CODE_MAX_RETRIES": "0"}, timeout=60)
        assert done.returncode != 0
        assert server.stats()["started"] == started, "after undo it talks to its own server"
