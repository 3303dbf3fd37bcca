#!/usr/bin/env python3
"""Lets the real Claude Code do small jobs on a server, and checks what it left on the disk or said.

    bench/agent.py --out FOLDER --pensieve build/release/pensieve --model qwen2.5-coder:1.5b
    bench/agent.py --out FOLDER --llama-server PROGRAM --gguf FILE
    bench/agent.py --out FOLDER --url http://127.0.0.1:7777
    bench/agent.py --table FOLDER...

The ten jobs of bench/jobs.py with three seeds: 30 runs, each with a new HOME and work folder, the
same client flags for every server.  FOLDER gets results.jsonl, one line a run, and each transcript
as stream-json; it must lie outside the repository.  --table puts folders beside each other.

A model's commands run with your rights, unasked: use a machine or container that may be lost.
"""
import argparse
import collections
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import jobs
import servers

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOLS = "Bash,Edit,Read,Write"
LOOP = 3  # so many failed calls at the end make a loop


def find_claude(wanted):
    if wanted:
        return wanted
    done = subprocess.run([ROOT / "tools/install-client"], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"no Claude Code:\n{done.stderr}")
    return os.path.join(done.stdout.strip(), "claude")


def client_environment(url, home, window):
    """What scripts/claude-local sets, and nothing of the caller's own."""
    return {"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8",
            "ANTHROPIC_BASE_URL": url, "ANTHROPIC_AUTH_TOKEN": servers.KEY,
            "ANTHROPIC_MODEL": "claude-local",
            "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(window),
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(4096 if window >= 16384 else window // 4),
            "API_TIMEOUT_MS": "3600000", "CLAUDE_STREAM_IDLE_TIMEOUT_MS": "1800000",
            "CLAUDE_CODE_ATTRIBUTION_HEADER": "0", "CLAUDE_CODE_TOTAL_TOKENS_REMINDER": "off",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}


def run_client(args, claude, url, prompt, folder, transcript):
    """One call of Claude Code.  Returns whether it ended in time, and how long it took."""
    work, home = folder / "work", folder / "home"
    command = [claude, "--bare", "-p", prompt, "--output-format", "stream-json", "--verbose",
               "--max-turns", str(args.max_turns), "--allowedTools", TOOLS]
    begin = time.monotonic()
    with open(transcript, "wb") as out, open(f"{transcript}.stderr", "wb") as errors:
        # A session of its own, so that what the model's commands started ends with it.
        process = subprocess.Popen(command, cwd=work, stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=errors, start_new_session=True,
                                   env=client_environment(url, home, args.window))
        try:
            process.wait(args.timeout)
            in_time = True
        except subprocess.TimeoutExpired:
            in_time = False
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
    return in_time, time.monotonic() - begin


def read_transcript(path):
    """The facts of a transcript: its calls, which of them failed and how, and the last answer."""
    facts = {"calls": 0, "errors": 0, "error_texts": [], "ends_with_errors": 0, "answer": "",
             "turns": 0, "result": None}
    for line in path.read_text(errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # the last line of a run that was ended
        if event.get("type") == "result":
            facts["result"] = event.get("subtype")
            facts["api_error"] = bool(event.get("is_error"))
            facts["answer"] = event.get("result") or ""
            facts["turns"] = event.get("num_turns", 0)
        content = (event.get("message") or {}).get("content")
        for block in content if isinstance(content, list) else ():
            if block.get("type") == "tool_use":
                facts["calls"] += 1
            elif block.get("type") == "tool_result" and block.get("is_error"):
                facts["errors"] += 1
                facts["ends_with_errors"] += 1
                facts["error_texts"].append(json.dumps(block.get("content")))
            elif block.get("type") == "tool_result":
                facts["ends_with_errors"] = 0
    return facts


def why_failed(facts, in_time):
    """The class of a failure, from the first that applies."""
    if not in_time:
        return "time-out"
    if facts["ends_with_errors"] >= LOOP:
        return "tool error loop"
    if facts["result"] != "success" or facts["api_error"]:
        return "cut"
    if facts["calls"] == 0:
        return "no call"
    if facts["ends_with_errors"] and ("InputValidationError" in facts["error_texts"][-1]
                                      or "tool_use_error" in facts["error_texts"][-1]):
        return "wrong arguments"
    return "wrong content"


def run_job(args, claude, url, job, seed):
    transcript = args.out / f"{job}-{seed}.jsonl"
    with tempfile.TemporaryDirectory(prefix="bench-agent.", ignore_cleanup_errors=True) as name:
        folder = pathlib.Path(name)
        (folder / "home").mkdir()
        (folder / "work").mkdir()
        task = jobs.prepare(job, seed, folder / "work")
        in_time, seconds = run_client(args, claude, url, task.prompt, folder, transcript)
        facts = read_transcript(transcript)
        passed = in_time and task.check(folder / "work", facts["answer"])
    return {"job": job, "seed": seed, "passed": passed, "seconds": round(seconds, 1),
            "turns": facts["turns"], "calls": facts["calls"], "errors": facts["errors"],
            "why": None if passed else why_failed(facts, in_time)}


def make_server(args):
    if args.url:
        return servers.Running(args.url)
    log = args.out / "server.log"
    if args.pensieve:
        return servers.Pensieve(args.pensieve, args.model, args.window, log, args.server_options)
    return servers.LlamaServer(args.llama_server, args.gguf, args.window, log, args.server_options)


def load_results(folder):
    """The last result of each run; a run that was repeated counts once."""
    lines = (pathlib.Path(folder) / "results.jsonl").read_text().splitlines()
    return {(r["job"], r["seed"]): r for r in map(json.loads, lines)}


def print_table(folders):
    results = [load_results(folder) for folder in folders]
    names = [pathlib.Path(folder).name for folder in folders]
    print("| job | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for job in jobs.JOBS:
        cells = []
        for result in results:
            runs = [r for (name, _), r in sorted(result.items()) if name == job]
            why = collections.Counter(r["why"] for r in runs if not r["passed"])
            notes = ", ".join(f"{n} {reason}" for reason, n in why.most_common())
            cells.append(f"{sum(r['passed'] for r in runs)} of {len(runs)}"
                         + (f" ({notes})" if notes else ""))
        if any((job, seed) in r for r in results for _, seed in r):
            print(f"| {job} | " + " | ".join(cells) + " |")
    totals = [f"**{sum(r['passed'] for r in result.values())} of {len(result)}**, median "
              f"{sorted(r['seconds'] for r in result.values())[len(result) // 2]:.0f} s"
              for result in results]
    print("| all | " + " | ".join(totals) + " |")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--table", nargs="+", metavar="FOLDER", help="print results; run nothing")
    parser.add_argument("--out", type=pathlib.Path, help="for transcripts and results.jsonl")
    parser.add_argument("--url", help="a server that runs already")
    parser.add_argument("--pensieve", help="the program to start")
    parser.add_argument("--model", default="qwen2.5-coder:1.5b")
    parser.add_argument("--llama-server", help="the program to start; needs --gguf")
    parser.add_argument("--gguf")
    parser.add_argument("--window", type=int, default=32768, help="of server and client (32768)")
    parser.add_argument("--claude", help="default: what tools/install-client installs")
    parser.add_argument("--jobs", nargs="+", choices=list(jobs.JOBS), default=list(jobs.JOBS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--timeout", type=float, default=240, help="seconds a run (240)")
    parser.add_argument("--max-turns", type=int, default=12)
    parser.add_argument("server_options", nargs="*", help="after --: passed to the server")
    args = parser.parse_args()
    if args.table:
        return args
    if sum(map(bool, (args.url, args.pensieve, args.llama_server))) != 1 or not args.out:
        parser.error("--out and one of --url, --pensieve and --llama-server are needed")
    if args.llama_server and not args.gguf:
        parser.error("--llama-server needs --gguf")
    args.out = args.out.resolve()
    if args.out.is_relative_to(ROOT):
        parser.error("--out must lie outside the repository")
    return args


def main():
    args = parse_arguments()
    if args.table:
        print_table(args.table)
        return
    args.out.mkdir(parents=True, exist_ok=True)
    claude = find_claude(args.claude)
    with make_server(args) as server, open(args.out / "results.jsonl", "a") as results:
        for seed in args.seeds:
            for job in args.jobs:
                result = run_job(args, claude, server.url, job, seed)
                results.write(json.dumps(result) + "\n")
                results.flush()
                print(json.dumps(result), flush=True)
    print_table([args.out])


if __name__ == "__main__":
    main()
