#!/usr/bin/env python3
"""A day of a coding agent's traffic, on Pensieve and on llama-server: how long does its user wait?

    bench/day.py --model qwen2.5-coder:0.5b --out ~/measured/day [--assert]
    bench/day.py --model smollm2:135m --scale 0.1 --only pensieve --out ~/measured/quick
    bench/day.py --url http://127.0.0.1:7777 --out ~/measured/other

The traffic is made up, in the shape and sizes of Claude Code's (bench/day_traffic.py); the parts are
in bench/day_steps.py: a cold start, 30 turns, two sub-agents at once, a title before a main request,
other conversations in the same and in another directory, a restart, a client that leaves in the
middle of a prompt and comes back, a stream beside a long prompt, /compact.  Waiting is from a request's
sending to its first content delta.

Same model file, machine and run for all; the servers take turns, one process at a time.  --out gets
day.json, day.md and day.svg.  --assert checks the lines of bench/day_report.py and names those that
are not kept; lines that need what was not run fail unless --only, --steps or --url left it out.
"""
import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import time

import day_report
import day_steps
import day_traffic
import drafts
import servers

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAMES = {"pensieve": day_report.PENSIEVE, "best": day_report.BEST, "defaults": day_report.DEFAULTS}
# Of its flags, those that should help here: flash attention (on the CPU it reads faster), four slots
# over one pool, batches no longer than Pensieve's, so that a stream waits less.  What is best anyway
# is its default: 8 GiB of RAM for prompts of slots that are taken over, slots chosen by similarity.
# --cache-reuse is left out, since shifted cells change the answers.
BEST_FLAGS = ["--flash-attn", "on", "--parallel", "4", "--kv-unified", "--batch-size", "512",
              "--cache-ram", "8192", "--slot-prompt-similarity", "0.1"]
MOST_WINDOW = 32768
DRAFT_WINDOW = 4096


def find_gguf(model):
    """The file of a model of the catalogue, as the program itself finds it."""
    if model.endswith(".gguf"):
        return model
    folder = pathlib.Path(os.environ.get("PENSIEVE_MODELS") or pathlib.Path(
        os.environ.get("XDG_DATA_HOME") or pathlib.Path.home() / ".local/share",
        "pensieve/models"))
    catalog = (ROOT / "src/catalog/catalog.json").read_text()  # with comments: no plain JSON
    found = re.search(rf'"name": "{re.escape(model)}".*?"file": "([^"]+)"', catalog, re.DOTALL)
    if found and (folder / found[1]).exists():
        return str(folder / found[1])
    sys.exit(f"the file of {model} was not found in {folder}; name it with --gguf")


def pensieve(args, log, options):
    folder = args.out / "pensieve"
    return servers.Pensieve(args.pensieve, args.gguf or args.model, args.window, log, [
        "--pool", args.pool, "--cache-dir", folder / "cache", "--recount", folder / "rows",
        "--progress-ms", "3600000", *args.server_options, *options])


def make_server(args, key):
    log = args.out / f"{key}.log"
    if key == "pensieve":
        return pensieve(args, log, [])
    gguf = args.gguf or find_gguf(args.model)
    if key == "best":
        return servers.LlamaServer(args.llama_server, gguf, args.pool, log,
                                   [*BEST_FLAGS, "--metrics"])
    return servers.LlamaServer(args.llama_server, gguf, args.window, log, ["--metrics"])


def run_day(args, server, attribution):
    """All parts on one server; a part that fails is told and leaves the others."""
    setting = day_traffic.Setting(args.scale, attribution)
    with server:
        day = day_steps.Day(server, setting, args)
        for step in args.steps:
            print(f"{server.name}: {step}", file=sys.stderr, flush=True)
            try:
                day.run(step)
            except (ArithmeticError, LookupError, TypeError, ValueError, OSError,
                    servers.ServerError) as error:
                day.facts[step] = {"error": f"{type(error).__name__}: {error}"}
                print(f"  failed: {day.facts[step]['error']}", file=sys.stderr, flush=True)
    result = {"records": day.records, "facts": day.facts, "attribution": attribution,
              "command": [str(part) for part in getattr(server, "command", [])]}
    return {**result, **day_report.summarize(day.records, day.facts)}


def run_drafts(args):
    with contextlib.ExitStack() as stack:
        pair = [stack.enter_context(servers.Pensieve(
            args.pensieve, args.gguf or args.model, DRAFT_WINDOW, args.out / f"drafts-{value}.log",
            [f"--drafts={value}", "--cache-dir", args.out / "pensieve" / "cache",
             *args.server_options])) for value in ("false", "true")]
        return {name: drafts.measure(*pair, text, 3) for name, text in drafts.CASES.items()}


def describe(args):
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), cpu)
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], text=True,
                            capture_output=True).stdout.strip()
    return {"date": str(datetime.date.today()), "commit": commit, "cpu": cpu,
            "cores": os.cpu_count(), "model": args.model, "scale": args.scale,
            "window": args.window, "pool": args.pool, "max_tokens": args.max_tokens}


def write(args, results):
    results["lines"] = day_report.judge(results)
    (args.out / "day.json").write_text(json.dumps(results, indent=1) + "\n")
    (args.out / "day.md").write_text(day_report.table(results) + "\n")
    (args.out / "day.svg").write_text(day_report.picture(results))


def report(results, is_whole, asserts):
    """Prints table and lines; the exit code."""
    print(day_report.table(results))
    failed = []
    for line in results["lines"]:
        words = {True: "kept", False: "NOT KEPT", None: "not measured"}[line["kept"]]
        print(f"{words}: {line['line']} ({line['figures']})")
        if line["kept"] is False or (line["kept"] is None and is_whole):
            failed.append(line["line"])
    if asserts and failed:
        print("".join(f"FAILED: {name}\n" for name in failed), end="", file=sys.stderr)
        return 1
    return 0


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="an empty or new folder")
    parser.add_argument("--model", default="qwen2.5-coder:0.5b")
    parser.add_argument("--gguf", help="the model's file (default: that of --model)")
    parser.add_argument("--pensieve", default=str(ROOT / "build/release/pensieve"))
    parser.add_argument("--llama-server", help="default: built by bench/build-llama-server")
    parser.add_argument("--url", help="measure a server that runs already, and only that")
    parser.add_argument("--only", nargs="+", choices=list(NAMES), help="default: all three")
    parser.add_argument("--steps", nargs="+", choices=[*day_steps.STEPS, "drafts"],
                        help="default: all")
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes (1.0)")
    parser.add_argument("--window", type=int, help="default: 32768, or less for a smaller scale")
    parser.add_argument("--pool", type=int, help="cells of Pensieve and best flags (1.5 windows)")
    parser.add_argument("--max-tokens", type=int, default=96, help="of an answer (96)")
    parser.add_argument("--think", type=float, default=0.5, help="seconds between turns (0.5)")
    parser.add_argument("--greedy", type=int, default=20, help="prompts of that check (20)")
    parser.add_argument("--assert", dest="asserts", action="store_true",
                        help="exit with 1 where a line is not kept")
    parser.add_argument("server_options", nargs="*", help="after --: passed to pensieve serve")
    args = parser.parse_args()
    args.is_whole = not (args.only or args.steps or args.url)
    args.window = args.window or max(8192, int(MOST_WINDOW * min(1.0, args.scale)))
    args.pool = args.pool or args.window * 3 // 2 // 256 * 256
    args.with_drafts = not args.url and (not args.steps or "drafts" in args.steps)
    args.steps = [s for s in day_steps.STEPS if not args.steps or s in args.steps]
    args.only = args.only or list(NAMES)
    args.out = args.out.resolve()
    if args.out.is_relative_to(ROOT):
        parser.error("--out must lie outside the repository")
    if args.out.exists() and any(args.out.iterdir()):
        parser.error(f"{args.out} is not empty: what lies there would not be cold")
    return args


def main():
    args = parse_arguments()
    (args.out / "pensieve").mkdir(parents=True)
    results = {**describe(args), "servers": {}}
    began = time.monotonic()
    if args.url:
        server = servers.Running(args.url)
        results["servers"][args.url] = run_day(args, server, True)
        args.only = []
    if not args.llama_server and set(args.only) - {"pensieve"}:
        args.llama_server = subprocess.check_output([ROOT / "bench/build-llama-server"],
                                                    text=True).strip()
    for key in args.only:
        # A user who knows llama-server's best flags also knows the client's variable that leaves the
        # attribution line out.
        results["servers"][NAMES[key]] = run_day(args, make_server(args, key), key != "best")
        write(args, results)
    if "pensieve" in args.only and args.with_drafts:
        results["drafts"] = run_drafts(args)
    results["seconds"] = time.monotonic() - began
    write(args, results)
    return report(results, args.is_whole, args.asserts)


if __name__ == "__main__":
    sys.exit(main())
