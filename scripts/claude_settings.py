"""claude_settings -- puts variables into the `env` block of Claude Code's settings.json, and takes
them out again.  Behind setup-claude-code.sh, which users call.

    claude_settings.py FOLDER apply|dry-run|undo|status    (apply, dry-run: NAME=VALUE lines on stdin)

What is promised: everything else in the file stays.  The file is replaced in one step, and a copy of
it is made first.  A record beside it says what stood there before each change, so undo gives back
exactly that, and leaves alone (and names) what somebody changed since.  A file that cannot be
understood is not touched.
"""
import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import re
import stat
import sys
import tempfile

FILE = "settings.json"
RECORD = "pensieve-setup.json"
MOST_BYTES = 16 * 1024 * 1024
SECRETS = ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY")
ABSENT = object()
EXIT_REFUSED, EXIT_NOT_SET_UP = 1, 3


class Refusal(Exception):
    """Why nothing was changed, in words for the user."""


# ---- The file as text ----


def once_only(pairs):
    document = {}
    for key, value in pairs:
        if key in document:
            raise ValueError(f"the key {json.dumps(key)} stands there twice")
        document[key] = value
    return document


def no_constant(name):
    raise ValueError(f"{name} is not JSON")


def parse(raw, path):
    """The settings of a file's bytes (None: no file); Refusal where they are not an object."""
    try:
        text = (raw or b"").decode("utf-8-sig")
        if not text.strip():
            return {}
        document = json.loads(text, object_pairs_hook=once_only, parse_constant=no_constant)
    except UnicodeDecodeError:
        raise Refusal(f"{path} is not UTF-8 text") from None
    except (ValueError, RecursionError) as error:
        hint = " (Claude Code does not read comments in it either)" if "/" in text else ""
        raise Refusal(f"{path} is not valid JSON: {error}{hint}") from None
    if not isinstance(document, dict):
        raise Refusal(f"{path} holds no JSON object")
    if not isinstance(document.get("env", {}), dict):
        raise Refusal(f'"env" in {path} is not an object')
    return document


def print_like(document, raw):
    """The document as bytes, laid out as `raw` was: mark, indentation, line ends, last line."""
    old = (raw or b"").decode("utf-8-sig")
    indent = re.search(r"\n([ \t]+)\"", old)
    try:
        text = json.dumps(document, ensure_ascii=False, indent=indent.group(1) if indent else 2,
                          allow_nan=False)
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can hold
        text = json.dumps(document, indent=indent.group(1) if indent else 2, allow_nan=False)
    except ValueError:
        raise Refusal("a number in the file is too large to be kept") from None
    if not old.strip() or old.endswith("\n"):
        text += "\n"
    if "\r\n" in old:
        text = text.replace("\n", "\r\n")
    mark = b"\xef\xbb\xbf" if (raw or b"").startswith(b"\xef\xbb\xbf") else b""
    return mark + text.encode()


# ---- The file on the disk ----


def read(path):
    """The file's bytes, or None where there is none; follows links."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as f:
            found = os.fstat(f.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise Refusal(f"{path} is not a file")
            if found.st_size > MOST_BYTES:
                raise Refusal(f"{path} is larger than {MOST_BYTES >> 20} MiB")
            return f.read()
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        raise Refusal(f"{path} is a folder") from None


def refuse_read_only(path):
    """Whoever took the right to write away had a reason; a rename would go over it."""
    target = os.path.realpath(path)
    if os.path.exists(target):
        writable = os.stat(target).st_mode & 0o222 and os.access(target, os.W_OK)
        if not writable:
            raise Refusal(f"{target} is read-only; chmod u+w it if it may be changed")
    elif os.path.islink(path) and not os.path.isdir(os.path.dirname(target)):
        raise Refusal(f"{path} points to {target}, whose folder does not exist")


def replace(path, data, expected=ABSENT):
    """Writes the file in one step where it still holds `expected`; keeps a link, mode and owner."""
    target = os.path.realpath(path)
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(target), prefix=".pensieve-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if os.path.exists(target):
                old = os.stat(target)
                if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                    with contextlib.suppress(PermissionError):
                        os.fchown(file.fileno(), old.st_uid, old.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))
            file.flush()
            os.fsync(file.fileno())
        if expected is not ABSENT and read(path) != expected:
            raise Refusal(f"{path} was changed by another program just now; run this again")
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def back_up(path, raw):
    """A copy beside the file, as readable as the file; its name."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    mode = stat.S_IMODE(os.stat(path).st_mode)
    for number in range(100):
        name = f"{path}.{now}{f'-{number}' if number else ''}.bak"
        try:
            handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
            os.fchmod(file.fileno(), mode)
        return name
    raise Refusal("no free name for a backup")


# ---- The record of what was changed ----


def digest(raw):
    return None if raw is None else hashlib.sha256(raw).hexdigest()


def read_record(path):
    raw = read(path)
    if raw is None:
        return None
    try:
        record = json.loads(raw)
        for entry in record["env"].values():
            entry["written"]
        record["made_env"], record["made_file"], record["written"], record["original"]
        return record
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Refusal(f"{path} is damaged; the copies beside it (*.bak) have the old settings; "
                      "remove it to go on") from None


# ---- Merging, and taking apart ----


def give_back(env, name, entry):
    if "before" in entry:
        env[name] = entry["before"]
    else:
        env.pop(name, None)


def merge(env, wanted, entries):
    """The env block with `wanted` in it, and what to remember.  Of a variable that still has the
    value that an earlier run wrote, that run's memory holds; any other value is the user's."""
    merged, remembered = dict(env), {}
    for name, entry in entries.items():
        if name not in wanted and env.get(name, ABSENT) == entry["written"]:
            give_back(merged, name, entry)
    for name, value in wanted.items():
        entry = {"written": value}
        if name in entries and env.get(name, ABSENT) == entries[name]["written"]:
            if "before" in entries[name]:
                entry["before"] = entries[name]["before"]
        elif name in env:
            entry["before"] = env[name]
        merged[name] = value
        remembered[name] = entry
    return merged, remembered


def take_out(env, entries):
    """The env block without what was written, and the names that somebody changed since."""
    env, changed = dict(env), []
    for name, entry in entries.items():
        if env.get(name, ABSENT) == entry["written"]:
            give_back(env, name, entry)
        else:
            changed.append(name)
    return env, changed


def shown(name, value):
    if name in SECRETS and value or "@" in str(value):
        return "(hidden)"
    return json.dumps(value, ensure_ascii=False)


def print_difference(old, new):
    for name in [*new, *(name for name in old if name not in new)]:
        before, after = old.get(name, ABSENT), new.get(name, ABSENT)
        if before is ABSENT:
            print(f"  + {name} = {shown(name, after)}")
        elif after is ABSENT:
            print(f"  - {name}")
        elif before != after:
            print(f"  ~ {name} = {shown(name, after)} (was {shown(name, before)})")


# ---- What the user asks for ----


def apply(folder, wanted, is_dry):
    path, record_path = os.path.join(folder, FILE), os.path.join(folder, RECORD)
    raw = read(path)
    document = parse(raw, path)
    record = read_record(record_path)
    env = document.get("env", {})
    merged, remembered = merge(env, wanted, record["env"] if record else {})
    if merged == env:
        print(f"{path} is set up already; nothing to change.")
        return 0
    refuse_read_only(path)
    made_env = "env" not in document or (record is not None and record["made_env"])
    data = print_like({**document, "env": merged}, raw)
    print(f"{'Would change' if is_dry else 'Changes'} in {path}, under \"env\":")
    print_difference(env, merged)
    if is_dry:
        print("Nothing was changed (--dry-run).")
        return 0

    backup = back_up(path, raw) if raw is not None else None
    if record is None:
        original = {"backup": backup and os.path.basename(backup), "digest": digest(raw)}
    else:
        original = record["original"] if digest(raw) == record["written"] else None
    # The record first: a change without a record could not be undone, a record without its change
    # is found out by the values.
    replace(record_path, json.dumps({
        "env": remembered, "made_env": made_env,
        "made_file": record["made_file"] if record else raw is None,
        # What undo gives back byte for byte; null where somebody else wrote to the file in between.
        "original": original, "written": digest(data)}, indent=2).encode() + b"\n")
    replace(path, data, expected=raw)
    if backup:
        print(f"The file as it was: {backup}")
    print("Every `claude` of this user now talks to the local server; it must be running.")
    print("To undo: scripts/setup-claude-code.sh --undo")
    return 0


def restore_whole(path, raw, record):
    """Where nobody wrote to the file since: its old bytes, or no file, as it was."""
    original = record["original"]
    if original is None or digest(raw) != record["written"]:
        return False
    if original["backup"] is None:  # there was no file
        os.unlink(os.path.realpath(path))
        return True
    old = read(os.path.join(os.path.dirname(path), original["backup"]))
    if digest(old) != original["digest"]:
        return False
    replace(path, old, expected=raw)
    return True


def undo(folder):
    path, record_path = os.path.join(folder, FILE), os.path.join(folder, RECORD)
    record = read_record(record_path)
    if record is None:
        print(f"Nothing to undo: no set-up is recorded in {folder}.")
        return 0
    raw = read(path)
    if raw is None:
        print(f"{path} is gone; only the record of the set-up was removed.")
    else:
        refuse_read_only(path)
        document = parse(raw, path)
        if restore_whole(path, raw, record):
            print(f"{path} is as it was before the set-up.")
        else:
            undo_by_key(path, raw, document, record)
    os.unlink(record_path)
    return 0


def undo_by_key(path, raw, document, record):
    old = document.get("env", {})
    env, changed = take_out(old, record["env"])
    if env or ("env" in document and not record["made_env"]):
        document["env"] = env
    else:
        document.pop("env", None)
    data = print_like(document, raw)
    backup = back_up(path, raw)
    if not document and record["made_file"]:
        os.unlink(os.path.realpath(path))
    else:
        replace(path, data, expected=raw)
    print(f"Taken out of {path}:")
    print_difference(old, env)
    for name in changed:
        print(f"  left alone: {name} (changed since the set-up)")
    print(f"The file as it was: {backup}")


def status(folder):
    path = os.path.join(folder, FILE)
    record = read_record(os.path.join(folder, RECORD))
    env = parse(read(path), path).get("env", {})
    if record is None:
        print(f"Not set up: {path} is as its owner made it.")
        if "ANTHROPIC_BASE_URL" in env:
            print(f"It names a server: {shown('ANTHROPIC_BASE_URL', env['ANTHROPIC_BASE_URL'])}")
        return EXIT_NOT_SET_UP
    changed = take_out(env, record["env"])[1]
    print(f"Set up: {path} sends every `claude` of this user to "
          f"{shown('ANTHROPIC_BASE_URL', env.get('ANTHROPIC_BASE_URL'))}.")
    for name in changed:
        print(f"  changed since: {name}")
    print("To undo: scripts/setup-claude-code.sh --undo")
    return 0


def wanted_variables(lines):
    wanted = dict(line.rstrip("\n").split("=", 1) for line in lines)
    if not wanted.get("ANTHROPIC_BASE_URL"):
        raise Refusal("no variables were given")
    return wanted


def main(folder, action):
    if action in ("apply", "dry-run"):
        wanted = wanted_variables(sys.stdin)
        if action == "apply":
            os.makedirs(folder, mode=0o700, exist_ok=True)
    if not os.path.isdir(folder):
        if action == "dry-run":
            return apply(folder, wanted, True)
        return status(folder) if action == "status" else undo(folder)
    lock = os.open(folder, os.O_RDONLY)
    try:  # two set-ups at once would record each other's values
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return {"apply": lambda: apply(folder, wanted, False),
                "dry-run": lambda: apply(folder, wanted, True),
                "undo": lambda: undo(folder), "status": lambda: status(folder)}[action]()
    except BlockingIOError:
        raise Refusal("another set-up is running") from None
    finally:
        os.close(lock)


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except Refusal as refusal:
        reason = str(refusal)
    except OSError as error:
        reason = f"{error.strerror}: {error.filename}"
    print(f"setup-claude-code: {reason}", file=sys.stderr)
    print("setup-claude-code: nothing was changed", file=sys.stderr)
    sys.exit(EXIT_REFUSED)
