"""Text of the day benchmark's own making: English-like prose and Python-like code from a seed.

No prompt of a real session is in it.  The same seed and size give the same bytes on every machine.
"""
import random

WORDS = """the of and to in that it is was for on are as with they at be this from have or by one had
not but what all were when we there can an your which their said if will each about how up out them
then she many some so these would other into has more her two like him see time could no make than
first been its who now people my made over did down only way find use may water long little very after
words called just where most know get through back much before go good new write our used me man too
any day same right look think also around another came come work three word must because does part
even place well such here take why things help put years different away again off went old number
file folder line path error test build server request answer token model value table index list
reads writes checks returns fails starts ends waits keeps drops counts moves copies opens closes
""".split()
NOUNS = "account batch cache cell client count entry event frame group header index item job key line " \
        "loan member node order page parser path pool queue reader record reply result route row " \
        "session slot store stream table task token turn user value window worker writer".split()
VERBS = "add apply build check clear close collect count drop fetch find flush keep load make merge " \
        "move open parse put read remove reset send sort split start stop store take update wait " \
        "write".split()


class Text:
    """A stream of made-up text; every call goes on where the last one ended."""

    def __init__(self, *seed):
        self.rng = random.Random(" ".join(map(str, seed)))

    def sentence(self):
        words = self.rng.choices(WORDS, k=self.rng.randint(6, 18))
        return " ".join(words).capitalize() + self.rng.choice([".", ".", ".", ":", "?"])

    def prose(self, n_bytes):
        """Paragraphs with a heading or a list here and there, as instructions have."""
        lines, size = [], 0
        while size < n_bytes:
            kind = self.rng.random()
            if kind < 0.1:
                line = "# " + " ".join(self.rng.choices(WORDS, k=3)).capitalize()
            elif kind < 0.5:
                line = "- " + self.sentence()
            else:
                line = " ".join(self.sentence() for _ in range(self.rng.randint(1, 4)))
            lines.append(line)
            size += len(line) + 1
        return "\n".join(lines)[:n_bytes]

    def function(self):
        noun, other = self.rng.sample(NOUNS, 2)
        verb = self.rng.choice(VERBS)
        lines = [f"def {verb}_{noun}({noun}s, {other}=None):",
                 f'    """{self.sentence()}"""']
        for _ in range(self.rng.randint(2, 6)):
            a, b = self.rng.sample(NOUNS, 2)
            lines += self.rng.choice([
                [f"    {a} = {noun}s.get({b!r}, {self.rng.randint(0, 999)})"],
                [f"    if {other} is not None and {other}.{a} > {self.rng.randint(1, 99)}:",
                 f"        return {self.rng.choice(VERBS)}_{b}({other})"],
                [f"    for {a} in sorted({noun}s):",
                 f"        {other}.{self.rng.choice(VERBS)}({a}, {b}={self.rng.randint(0, 99)})"]])
        return lines + [f"    return {noun}s", "", ""]

    def code(self, n_bytes, numbered=False):
        """A file, or as the Read tool prints one: numbered lines."""
        lines, size = [], 0
        while size < n_bytes:
            for line in self.function():
                line = f"{len(lines) + 1:6}\t{line}" if numbered else line
                lines.append(line)
                size += len(line) + 1
        return "\n".join(lines)[:n_bytes]

    def path(self):
        return f"src/{self.rng.choice(NOUNS)}/{self.rng.choice(VERBS)}_{self.rng.choice(NOUNS)}.py"
