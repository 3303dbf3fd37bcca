"""The jobs of bench/agent.py: two each of run, create, read, fix and rename.

They are worded as a user would, for no model in particular, and stay as they are: a change makes
earlier results worthless for comparison.  The seed chooses names and contents.  A job prepares the
work folder and returns what to ask and how to check what came of it.
"""
import dataclasses
import pathlib
import random
import re
import subprocess
import sys
from collections.abc import Callable

NAMES = ["Alice", "Bruno", "Carla", "Dmitri", "Elena", "Farid", "Greta", "Hugo"]
WORDS = ["amber", "basil", "cedar", "delta", "ember", "fjord", "grove", "harbor", "indigo", "juniper"]
TOPICS = ["backups", "billing", "deployment", "documentation", "hiring", "security"]


@dataclasses.dataclass
class Task:
    prompt: str
    check: Callable[[pathlib.Path, str], bool]  # the work folder and the last answer


def python_output(script, *arguments):
    """What a script prints, or None where it fails; bounded, since a model wrote it."""
    try:
        done = subprocess.run([sys.executable, script, *arguments], cwd=script.parent, timeout=10,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None


def file_text(path):
    return path.read_text(errors="replace") if path.is_file() else None


def says_number(answer, number):
    return re.search(rf"(?<!\d){number}(?!\d)", answer.replace(",", "")) is not None


def run_script(folder, rng):
    a, b = rng.randrange(100, 999), rng.randrange(100, 999)
    name = rng.choice(WORDS)
    (folder / f"{name}.py").write_text(f"print({a} * {b} + {a})\n")
    return Task(f"Run {name}.py with python3 and tell me the number it prints.",
                lambda _, answer: says_number(answer, a * b + a))


def run_build(folder, rng):
    out, number = rng.choice(WORDS), rng.randrange(1000, 9999)
    script = folder / "build.sh"
    script.write_text(f"#!/bin/sh\nset -e\nmkdir -p out\nexpr {number} + {number} > out/{out}.txt\n")
    script.chmod(0o755)
    return Task("Please run ./build.sh in this folder.",
                lambda work, _: (file_text(work / "out" / f"{out}.txt") or "").strip()
                == str(2 * number))


def create_text(_, rng):
    name, text = rng.choice(WORDS), f"{rng.choice(NAMES)} waters the {rng.choice(WORDS)} tree."
    return Task(f"Create a file called {name}.txt that contains this line: {text}",
                lambda work, _: (file_text(work / f"{name}.txt") or "").strip() == text)


def create_script(_, rng):
    name, last = rng.choice(WORDS), rng.randrange(7, 30)
    wanted = [str(n) for n in range(1, last + 1)]
    return Task(f"Write a Python script {name}.py that prints the numbers from 1 to {last}, one per "
                "line.",
                lambda work, _: (work / f"{name}.py").is_file()
                and (python_output(work / f"{name}.py") or "").split() == wanted)


def read_setting(folder, rng):
    name, port = rng.choice(WORDS), rng.randrange(2000, 9999)
    (folder / f"{name}.json").write_text(
        f'{{\n  "host": "localhost",\n  "port": {port},\n  "workers": {rng.randrange(2, 9)}\n}}\n')
    return Task(f"Which port is set in {name}.json?",
                lambda _, answer: says_number(answer, port))


def read_notes(folder, rng):
    people = rng.sample(NAMES, 3)
    topics = rng.sample(TOPICS, 3)
    (folder / "notes.md").write_text("# Team\n\n" + "".join(
        f"- {person} takes care of {topic}.\n" for person, topic in zip(people, topics)))
    chosen = rng.randrange(3)
    others = [person for person in people if person != people[chosen]]
    return Task(f"Look into notes.md: who takes care of {topics[chosen]}?",
                lambda _, answer: people[chosen] in answer and not any(o in answer for o in others))


def fix_sum(folder, rng):
    name, a, b = rng.choice(WORDS), rng.randrange(10, 99), rng.randrange(10, 99)
    (folder / f"{name}.py").write_text(
        "import sys\n\n\ndef add(a, b):\n    return a - b\n\n\n"
        "print(add(int(sys.argv[1]), int(sys.argv[2])))\n")
    return Task(f"The function add in {name}.py subtracts instead of adding. Please fix it.",
                lambda work, _: (python_output(work / f"{name}.py", str(a), str(b)) or "").strip()
                == str(a + b))


def fix_syntax(folder, rng):
    name, last = rng.choice(WORDS), rng.randrange(4, 12)
    (folder / f"{name}.py").write_text(
        f"total = 0\nfor number in range({last})\n    total += number * number\nprint(total)\n")
    wanted = sum(n * n for n in range(last))
    return Task(f"{name}.py has a syntax error. Please fix it so that it runs.",
                lambda work, _: (python_output(work / f"{name}.py") or "").strip() == str(wanted))


def moved(work, old, new, text):
    return not (work / old).exists() and file_text(work / new) == text


def rename_text(folder, rng):
    old, new = rng.sample(WORDS, 2)
    text = f"A list of {rng.choice(WORDS)} things.\n"
    (folder / f"{old}.txt").write_text(text)
    return Task(f"Rename {old}.txt to {new}.txt.",
                lambda work, _: moved(work, f"{old}.txt", f"{new}.txt", text))


def rename_into_folder(folder, rng):
    old, new = rng.sample(WORDS, 2)
    text = f"id,name\n{rng.randrange(100)},{rng.choice(NAMES)}\n"
    (folder / "archive").mkdir()
    (folder / f"{old}.csv").write_text(text)
    return Task(f"Move {old}.csv into the folder archive and rename it to {new}.csv.",
                lambda work, _: moved(work, f"{old}.csv", f"archive/{new}.csv", text))


JOBS = {"run-script": run_script, "run-build": run_build,
        "create-text": create_text, "create-script": create_script,
        "read-setting": read_setting, "read-notes": read_notes,
        "fix-sum": fix_sum, "fix-syntax": fix_syntax,
        "rename-text": rename_text, "rename-into-folder": rename_into_folder}


def prepare(job, seed, folder):
    """Fills the empty `folder` for this job and seed."""
    return JOBS[job](folder, random.Random(f"{job} {seed}"))
