"""What the check tools share: the project's files, and C text without comments and strings."""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
IGNORED = {".git", "build", "corpus", "__pycache__"}  # a corpus is input, byte for byte

_SKIPPED = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<tag>[^()\\ ]{0,16})\(.*?\)(?P=tag)"'
    r'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def files(*patterns, folder="."):
    """The files below `folder` whose names match one of the patterns, in a stable order."""
    found = set()
    for pattern in patterns:
        found.update((ROOT / folder).rglob(pattern))
    return sorted(p for p in found
                  if p.is_file() and not IGNORED.intersection(p.relative_to(ROOT).parts))


def code_only(text):
    """The same text with comments and the insides of strings blanked; lines keep their numbers."""
    def blank(match):
        kept = re.sub(r"[^\n]", " ", match.group())
        return '"' + kept[1:-1] + '"' if match.group()[0] == '"' else kept
    return _SKIPPED.sub(blank, text)


def relative(path):
    return path.relative_to(ROOT).as_posix()


def report(problems, checked):
    """Prints the problems; returns the exit status of the tool."""
    for problem in problems:
        print(problem)
    print(f"{checked}: {'ok' if not problems else f'{len(problems)} problem(s)'}")
    return 1 if problems else 0
