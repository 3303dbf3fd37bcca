"""The jobs of bench/agent.py: small things that people ask of an agent, each with a check of what it left.

Fixed before any tuning, worded as a user would word them, the same for every server.  Two of a kind,
five kinds; a seed draws the names, numbers and texts, so that three seeds make thirty runs.
"""
import dataclasses
import random
import typing


@dataclasses.dataclass
class Job:
    name: str
    prompt: str
    files: dict  # name -> text that lies in the work folder before
    check: typing.Callable  # (folder, answer) -> "" or what is wrong


def says(*wanted):
    def check(_folder, answer):
        missing = [w for w in wanted if w.lower() not in answer.lower()]
        return f"the answer does not say {missing[0]!r}" if missing else ""
    return check


def holds(name, *wanted, without=()):
    def check(folder, _answer):
        path = folder / name
        if not path.is_file():
            return f"{name} is not there"
        text = path.read_text(errors="replace")
        for w in wanted:
            if w not in text:
                return f"{name} does not hold {w!r}"
        for w in without:
            if w in text:
                return f"{name} still holds {w!r}"
        return ""
    return check


def moved(old, new, text):
    def check(folder, answer):
        if (folder / old).exists():
            return f"{old} is still there"
        return holds(new, text)(folder, answer)
    return check


def prints(name, wanted):
    """The Python script of this name prints what is wanted."""
    def check(folder, _answer):
        import subprocess
        import sys
        if not (folder / name).is_file():
            return f"{name} is not there"
        done = subprocess.run([sys.executable, "-I", name], cwd=folder, capture_output=True,
                              text=True, timeout=10)
        return "" if wanted in done.stdout else f"{name} does not print {wanted!r}"
    return check


def make(seed):
    """The ten jobs of one seed."""
    rng = random.Random(seed)
    word = rng.choice(["maple", "harbor", "copper", "violet", "lantern", "pepper"])
    animal = rng.choice(["Barkley", "Whiskers", "Nibbles", "Shadow"])
    count = rng.randrange(11, 60)
    port = rng.randrange(2000, 9999)
    stem = rng.choice(["notes", "todo", "ideas", "shopping"])
    old, new = rng.sample(["draft", "report", "summary", "letter", "plan"], 2)
    typo, right = rng.choice([("recieve", "receive"), ("seperate", "separate"), ("teh", "the")])
    function = rng.choice(["add", "plus", "total"])
    return [
        Job("run-1", f"Run the command 'echo {word}-{port}' and tell me what it prints.", {},
            says(f"{word}-{port}")),
        Job("run-2", "How many lines does data.txt have? Use wc.",
            {"data.txt": "".join(f"{word} {i}\n" for i in range(count))}, says(str(count))),
        Job("create-1", f"Create a file called {stem}.txt that contains the line: buy {word} syrup",
            {}, holds(f"{stem}.txt", f"buy {word} syrup")),
        Job("create-2", f"Write a Python script hello.py that prints Hello, {word}!", {},
            prints("hello.py", f"Hello, {word}!")),
        Job("read-1", "Which port does the server use? It is in config.ini.",
            {"config.ini": f"[server]\nhost = localhost\nport = {port}\n"}, says(str(port))),
        Job("read-2", "Read story.txt and tell me the name of the dog.",
            {"story.txt": f"Tom lives by the sea. He has a dog. The dog is called {animal}.\n"},
            says(animal)),
        Job("fix-1", f"{function}() in calc.py should add its two numbers, but it subtracts. Fix it.",
            {"calc.py": f"def {function}(a, b):\n    return a - b\n\n\nprint({function}(2, 3))\n"},
            prints("calc.py", "5")),
        Job("fix-2", f"README.md has a typo: '{typo}' should be '{right}'. Correct it.",
            {"README.md": f"# {word}\n\nYou will {typo} it here.\n"},
            holds("README.md", f"will {right} it", without=(typo,))),
        Job("rename-1", f"Rename {old}.txt to {new}.txt.", {f"{old}.txt": f"{word}\n"},
            moved(f"{old}.txt", f"{new}.txt", word)),
        Job("rename-2", f"Move {stem}.md into the folder archive.",
            {f"{stem}.md": f"{word}\n", "archive/.keep": ""},
            moved(f"{stem}.md", f"archive/{stem}.md", word)),
    ]
