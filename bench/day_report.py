"""Sums, the lines that a release has to keep, a table and a picture of the day benchmark."""
import html

from day_steps import NOT_OF_THE_DAY

PENSIEVE, BEST, DEFAULTS = "Pensieve", "llama-server, best flags", "llama-server, defaults"
COLORS = ["#2b6cb0", "#c05621", "#718096", "#2f855a"]


# ---- Sums ----

def union_seconds(intervals):
    """Of [begin, end) pairs, what they cover: two requests at once are waited for once."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(intervals):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def of_day(records):
    return [r for r in records if r["step"] not in NOT_OF_THE_DAY]


def waited(records):
    return union_seconds((r["sent_s"], r["sent_s"] + r["waited_s"]) for r in records if r["user"])


def recomputed(records, counters):
    """Tokens computed again, and the seconds that took.  Counted by the server where it does
    (Pensieve); else estimated from what this client sent: all that was computed beyond the part of
    each prompt that no request before it began with, at the mean speed of the part's reading."""
    if "again" in counters:
        return counters["again"], counters["again_s"]
    if "prefilled" not in counters:
        return None, None
    fresh = sum(r["prompt"] * (1 - r["known_share"]) for r in records)
    again = max(0.0, counters["prefilled"] - fresh)
    return again, counters["prefill_s"] * again / max(1.0, counters["prefilled"])


def step_sums(records, counters):
    again, again_s = recomputed(records, counters)
    speeds = [(r["output"], r["speed"]) for r in records if r["speed"]]
    tokens = sum(n for n, _ in speeds)
    prompts = sum(r["prompt"] for r in records)
    return {"requests": len(records), "failed": sum(r["error"] is not None for r in records),
            "waited_s": waited(records),
            "worst_first_s": max((r["waited_s"] for r in records), default=0.0),
            "prompt_tokens": prompts, "reused_tokens": sum(r["cached"] for r in records),
            "computed_tokens": counters.get("prefilled"), "again_tokens": again, "again_s": again_s,
            "rows": counters.get("rows"),
            "writing_tokens_per_s": tokens / sum(n / v for n, v in speeds) if tokens else None,
            "worst_pause_s": max((r["worst_pause_s"] for r in records), default=0.0)}


def add_up(steps):
    """The day's sums of those of its steps."""
    total = {}
    for key in ("requests", "failed", "waited_s", "prompt_tokens", "reused_tokens",
                "computed_tokens", "again_tokens", "again_s", "rows"):
        values = [s[key] for s in steps if s[key] is not None]
        total[key] = sum(values) if values else None
    for key in ("worst_first_s", "worst_pause_s"):
        total[key] = max((s[key] for s in steps), default=0.0)
    return total


def summarize(records, facts):
    steps = {}
    for step in facts:
        mine = [r for r in records if r["step"] == step]
        steps[step] = step_sums(mine, facts[step].get("counters", {}))
    total = add_up([sums for step, sums in steps.items() if step not in NOT_OF_THE_DAY])
    speeds = [(r["output"], r["speed"]) for r in of_day(records) if r["speed"]]
    tokens = sum(n for n, _ in speeds)
    total["writing_tokens_per_s"] = tokens / sum(n / v for n, v in speeds) if tokens else None
    return {"steps": steps, "total": total}


# ---- The lines ----

class Line:
    """A promise: its words, and a function of the results that gives (kept, figures).  KeyError and
    TypeError (a figure that is None) mean that it was not measured."""

    def __init__(self, words, check):
        self.words = words
        self.check = check

    def judge(self, results):
        try:
            kept, figures = self.check(results)
        except (KeyError, TypeError, ZeroDivisionError):
            return {"line": self.words, "kept": None, "figures": "not measured"}
        return {"line": self.words, "kept": bool(kept), "figures": figures}


def facts(results, step, name=PENSIEVE):
    return results["servers"][name]["facts"][step]


def total(results, name=PENSIEVE):
    return results["servers"][name]["total"]


def line_recomputed(results):
    t = total(results)
    again = max(0, t["again_tokens"] - t["requests"])
    distinct = t["rows"] - t["again_tokens"]
    return again / distinct <= 0.01, f"{again:.0f} of {distinct:.0f} rows, {again / distinct:.2%}"


def line_seconds(results):
    ours, theirs = total(results)["again_s"], total(results, BEST)["again_s"]
    return ours <= 0.05 * theirs, f"{ours:.2f} s against {theirs:.1f} s"


def line_restart(results):
    f = facts(results, "restart")
    kept = f["again_s"] <= 0.03 * f["cold_s"]
    return kept, f"{f['again_s']:.2f} s, {f['again_s'] / f['cold_s']:.1%} of {f['cold_s']:.1f} s"


def line_restart_second(results):
    if "0.5b" not in results["model"] or results["scale"] < 1:
        raise KeyError("another model or size")
    f = facts(results, "restart")
    return f["again_s"] < 1, f"{f['again_s']:.2f} s for {f['prompt']} tokens"


def line_same_directory(results):
    f = facts(results, "title")
    share = f["cached"] / f["system_and_tools"]
    return share >= 0.95, f"{f['cached']} read from memory, {f['system_and_tools']} are theirs"


def line_waiting(limit, name):
    """A request that the other server refuses costs it no waiting, so the figures tell of these."""
    def check(results):
        ours, theirs = total(results)["waited_s"], total(results, name)["waited_s"]
        failed = total(results, name)["failed"]
        return ours <= limit * theirs, (f"{ours:.1f} s of {theirs:.1f} s, {ours / theirs:.2f}"
                                        + (f"; it failed {failed} requests" if failed else ""))
    return check


def line_failed(results):
    t = total(results)
    return t["failed"] == 0, f"{t['failed']} of {t['requests']}"


def line_stall(results):
    """The chunk that is meant is the deepest; it costs at most twice the mean one."""
    f = facts(results, "stream")
    return f["stall_s"] <= 2 * f["mean_chunk_s"], (
        f"{f['stall_s']:.2f} s; 32 tokens take {f['mean_chunk_s']:.2f} s in the mean, "
        f"up to twice that at the end")


def line_free(results):
    f = facts(results, "disconnect")
    return f["free_s"] <= 0.25, f"{f['free_s'] * 1000:.0f} ms more than on an idle server"


def line_title(results):
    chunk = 512 / facts(results, "cold")["read_tokens_per_s"]
    delay = facts(results, "title")["delay_s"]
    return delay < chunk, f"{delay:.2f} s; a chunk of 512 takes {chunk:.2f} s"


def line_agents(results):
    """A template's own tokens where the texts part, and one chunk border, may differ."""
    f = facts(results, "agents")
    return f["prefilled"] <= f["wanted"] + 32, (
        f"{f['prefilled']:.0f} computed; a prefix of {f['prefix']} and two tails are {f['wanted']}")


def line_greedy(results):
    f = facts(results, "greedy")
    kept = not f["differ"] and f["restored"] == f["prompts"]
    return kept, (f"{len(f['differ'])} of {f['prompts']} differ, {f['restored']} were restored; "
                  f"from cold {len(f['differ_from_cold'])} differ")


def line_drafts(case, limit):
    def check(results):
        ratio = results["drafts"][case]["ratio"]
        return ratio >= limit, f"{ratio:.2f} times the speed without"
    return check


LINES = [
    Line("no request of the day fails", line_failed),
    Line("recomputed rows: at most 1 % of the distinct ones, a last one per request aside",
         line_recomputed),
    Line("seconds on tokens computed before: at most 5 % of llama-server's best flags",
         line_seconds),
    Line("a prompt seen before a restart: at most 3 % of its cold time", line_restart),
    Line("... and under 1 s with qwen2.5-coder:0.5b", line_restart_second),
    Line("another conversation in the directory reuses 95 % of system and tools",
         line_same_directory),
    Line("waiting over the day: at most 0.7 of llama-server's best flags", line_waiting(0.7, BEST)),
    Line("waiting over the day: at most 0.5 of llama-server's defaults",
         line_waiting(0.5, DEFAULTS)),
    Line("a running stream stalls for one 32-token chunk at most", line_stall),
    Line("after a disconnect in mid-prefill the next request starts within 250 ms", line_free),
    Line("a title request delays the main one by less than a chunk", line_title),
    Line("two sub-agents compute one prefix and two tails", line_agents),
    Line("greedy answers after a restore equal those of live reuse", line_greedy),
    Line("drafts on an edit: at least 1.5 times the speed", line_drafts("edit", 1.5)),
    Line("drafts on prose: at least 0.97 times the speed", line_drafts("prose", 0.97)),
]


def judge(results):
    return [line.judge(results) for line in LINES]


# ---- Table ----

COLUMNS = [("waited_s", "waited, s"), ("worst_first_s", "worst first, s"),
           ("computed_tokens", "computed"), ("reused_tokens", "reused"),
           ("again_tokens", "again"), ("writing_tokens_per_s", "writing, tokens/s"),
           ("worst_pause_s", "worst pause, s"), ("failed", "failed")]


def cell(value):
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) and value < 100 else f"{value:.0f}"


def table(results):
    lines = ["| step | server | " + " | ".join(title for _, title in COLUMNS) + " |",
             "|---" * (len(COLUMNS) + 2) + "|"]
    steps = list(dict.fromkeys(s for r in results["servers"].values() for s in r["steps"]))
    for step in steps + ["total"]:
        for name, result in results["servers"].items():
            sums = result["total"] if step == "total" else result["steps"].get(step)
            if sums:
                lines.append(f"| {step} | {name} | "
                             + " | ".join(cell(sums.get(key)) for key, _ in COLUMNS) + " |")
    return "\n".join(lines)


# ---- Picture ----

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 960, 420, 70, 20, 60, 70


def cumulative(records):
    """Seconds waited up to and with each request of the day, in the order of sending."""
    mine = sorted((r for r in of_day(records) if r["user"]), key=lambda r: r["sent_s"])
    return [waited(mine[:i + 1]) for i in range(len(mine))], [r["step"] for r in mine]


def round_step(most):
    """A round distance of about five lines up to `most`."""
    step = 10 ** len(str(int(most))) / 100
    while most / step > 6:
        step *= 2.5 if str(step).lstrip("0.").startswith("2") else 2
    return step


def picture(results):
    """An SVG: the area is what users wait, request by request."""
    curves = {name: cumulative(r["records"]) for name, r in results["servers"].items()}
    most = max((c[-1] for c, _ in curves.values() if c), default=0.0) or 1.0
    n = max((len(c) for c, _ in curves.values()), default=1) or 1

    def x(i):
        return LEFT + (WIDTH - LEFT - RIGHT) * i / n

    def y(seconds):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * seconds / most

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
             'font-family="sans-serif" font-size="12">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
             f'<text x="{LEFT}" y="20" font-size="15">Seconds that the user waited over the day: '
             f'{html.escape(results["model"])}</text>']
    parts += axis(most, y) + step_marks(curves, x)
    order = sorted(curves, key=lambda name: -(curves[name][0] or [0])[-1])
    for name in order:
        parts.append(area(curves[name][0], COLORS[list(curves).index(name) % len(COLORS)], x, y))
    for i, name in enumerate(curves):
        left = LEFT + i * 290
        last = (curves[name][0] or [0])[-1]
        parts.append(f'<rect x="{left}" y="30" width="12" height="12" fill="{COLORS[i % 4]}"/>'
                     f'<text x="{left + 18}" y="41">{html.escape(name)}: {last:.1f} s</text>')
    return "\n".join(parts + ["</svg>", ""])


def axis(most, y):
    step, parts, at = round_step(most), [], 0.0
    while at <= most:
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(at):.1f}" y2="{y(at):.1f}" '
                     f'stroke="#dddddd"/><text x="{LEFT - 8}" y="{y(at) + 4:.1f}" '
                     f'text-anchor="end">{at:g} s</text>')
        at += step
    return parts


def step_marks(curves, x):
    """Where each part begins, by the curve with the most requests."""
    steps = max((s for _, s in curves.values()), key=len, default=[])
    parts = []
    for i, step in enumerate(steps):
        if i == 0 or step != steps[i - 1]:
            parts.append(f'<line x1="{x(i):.1f}" x2="{x(i):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" '
                         f'stroke="#eeeeee"/><text transform="translate({x(i) + 4:.1f} '
                         f'{HEIGHT - BOTTOM + 10}) rotate(40)">{html.escape(step)}</text>')
    return parts


def area(curve, color, x, y):
    points = [(x(0), y(0))]
    for i, seconds in enumerate(curve):
        points += [(x(i), y(seconds)), (x(i + 1), y(seconds))]
    points.append((x(len(curve)), y(0)))
    text = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    return f'<polygon points="{text}" fill="{color}" fill-opacity="0.35" stroke="{color}"/>'
