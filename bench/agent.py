#!/usr/bin/env python3
"""Lets the real Claude Code do small jobs on a local model, and counts what gets done.

    bench/agent.py --server pensieve [--model qwen2.5-coder:1.5b]
    bench/agent.py --server llama-server --llama-server FILE --gguf FILE
    bench/agent.py --url http://127.0.0.1:7777

Thirty runs (agent_jobs.py: ten jobs, three seeds) of `claude --bare -p`, each in a fresh folder with
a fresh HOME, with the same flags and environment for every server, judged by what is on the disk or
in the answer.  One line of JSON a run goes to OUT/runs.jsonl, the transcripts beside it; at the end
a table.  OUT must lie outside the repository.  Give --seeds 1 or --jobs create,fix for a short run.
"""
import argparse
import collections
import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import agent_jobs

ROOT = pathlib.Path(__file__).resolve().parent.parent
KEY = "pensieve-local-token"
WINDOW = 16384


def get_json(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        return json.loads(answer.read())


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def serving(args):
    """The URL of the server under test, started here unless --url names one."""
    if args.url:
        yield args.url
        return
    port = free_port()
    if args.server == "pensieve":
        command = [args.pensieve, "serve", "--port", str(port), "--model", args.model,
                   "--ctx", str(WINDOW)]
    else:
        command = [args.llama_server, "--model", args.gguf, "--port", str(port), "--jinja",
                   "--ctx-size", str(WINDOW), "--parallel", "1"]
    log = open(args.out / "server.log", "w")
    process = subprocess.Popen(command, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_ready(process, url, args.server)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_ready(process, url, server):
    for _ in range(1200):
        if process.poll() is not None:
            sys.exit(f"the server ended with {process.returncode}; see server.log")
        with contextlib.suppress(OSError, ValueError):
            health = get_json(f"{url}/health")
            if health.get("state" if server == "pensieve" else "status") in ("ready", "ok"):
                return
        time.sleep(0.1)
    sys.exit("the server was not ready after two minutes")


def environment(url, home, claude):
    name = "claude-local"
    return {
        "PATH": f"{pathlib.Path(claude).parent}:/usr/local/bin:/usr/bin:/bin", "HOME": str(home),
        "LANG": "C.UTF-8", "IS_SANDBOX": "1",
        "ANTHROPIC_BASE_URL": url, "ANTHROPIC_AUTH_TOKEN": KEY, "ANTHROPIC_MODEL": name,
        "ANTHROPIC_DEFAULT_OPUS_MODEL": name, "ANTHROPIC_DEFAULT_SONNET_MODEL": name,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": name,
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(WINDOW), "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "2048",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
        "CLAUDE_CODE_TOTAL_TOKENS_REMINDER": "off", "API_TIMEOUT_MS": "3600000",
    }


def run_claude(args, url, job, folder):
    """(transcript lines, seconds, whether it was stopped)"""
    work, home = folder / "work", folder / "home"
    home.mkdir()
    for name, text in job.files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(text)
    work.mkdir(exist_ok=True)
    command = [args.claude, "--bare", "-p", job.prompt, "--max-turns", str(args.turns),
               "--dangerously-skip-permissions", "--output-format", "stream-json", "--verbose"]
    begin = time.monotonic()
    process = subprocess.Popen(command, cwd=work, env=environment(url, home, args.claude),
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    stopped = False
    try:
        out, _ = process.communicate(timeout=args.seconds)
    except subprocess.TimeoutExpired:
        stopped = True
        process.terminate()
        out, _ = process.communicate(timeout=30)
    return out.splitlines(), time.monotonic() - begin, stopped


def read_transcript(lines):
    calls, errors, answer, texts = [], 0, "", []
    for line in lines:
        with contextlib.suppress(ValueError):
            message = json.loads(line)
            if message.get("type") == "result":
                answer = message.get("result") or ""
            content = message.get("message", {}).get("content")
            for block in content if isinstance(content, list) else []:
                if block["type"] == "tool_use":
                    calls.append((block["name"], json.dumps(block["input"], sort_keys=True)))
                elif block["type"] == "text" and message["type"] == "assistant":
                    texts.append(block["text"])
                elif block["type"] == "tool_result" and block.get("is_error"):
                    errors += 1
    return calls, errors, "\n".join(texts + [answer])


def classify(problem, calls, errors, stopped, answer):
    if not problem:
        return ""
    if stopped:
        return "time"
    if not calls:
        return "a call as text" if '"arguments"' in answer else "no call"
    if len(calls) - len(set(calls)) >= 2:
        return "the same call again"
    return "errors of tools" if errors else "wrong"


def run_job(args, url, job, seed):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="agent-"))
    try:
        lines, seconds, stopped = run_claude(args, url, job, folder)
        (args.out / f"{job.name}-{seed}.jsonl").write_text("\n".join(lines) + "\n")
        calls, errors, answer = read_transcript(lines)
        problem = job.check(folder / "work", answer)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {"job": job.name, "seed": seed, "passed": not problem, "problem": problem,
            "class": classify(problem, calls, errors, stopped, answer),
            "seconds": round(seconds, 1), "calls": len(calls), "tool_errors": errors}


def table(runs):
    kinds = collections.OrderedDict()
    for run in runs:
        kinds.setdefault(run["job"].rsplit("-", 1)[0], []).append(run)
    lines = ["| jobs | done | seconds, median | why not |", "|---|---|---|---|"]
    for kind, of_kind in kinds.items():
        seconds = sorted(run["seconds"] for run in of_kind)
        why = collections.Counter(run["class"] for run in of_kind if not run["passed"])
        lines.append(f"| {kind} | {sum(r['passed'] for r in of_kind)} of {len(of_kind)} "
                     f"| {seconds[len(seconds) // 2]:.0f} "
                     f"| {', '.join(f'{w} {n}' for w, n in why.most_common())} |")
    lines.append(f"| all | **{sum(r['passed'] for r in runs)} of {len(runs)}** | | |")
    return "\n".join(lines)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--server", choices=("pensieve", "llama-server"), default="pensieve")
    parser.add_argument("--url", help="a running server, instead of one that is started")
    parser.add_argument("--pensieve", default=str(ROOT / "build/release/pensieve"))
    parser.add_argument("--model", default="qwen2.5-coder:1.5b")
    parser.add_argument("--llama-server", default="llama-server")
    parser.add_argument("--gguf", help="the model's file, for llama-server")
    parser.add_argument("--claude", help="default: the one that tools/install-client installs")
    parser.add_argument("--out", type=pathlib.Path, help="default: a new folder in TMPDIR")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", default="", help="kinds, such as create,fix; default: all")
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=180, help="after which a run is stopped")
    args = parser.parse_args()
    if args.claude is None:
        args.claude = subprocess.check_output([ROOT / "tools/install-client"], text=True).strip()
        args.claude += "/claude"
    args.out = (args.out or pathlib.Path(tempfile.mkdtemp(prefix="agent-out-"))).resolve()
    if ROOT in (args.out, *args.out.parents):
        sys.exit("--out lies in the repository: transcripts hold prompts")
    args.out.mkdir(parents=True, exist_ok=True)
    return args


def main():
    args = parse_arguments()
    kinds = [k for k in args.jobs.split(",") if k]
    runs = []
    with serving(args) as url, open(args.out / "runs.jsonl", "w") as log:
        for seed in range(1, args.seeds + 1):
            for job in agent_jobs.make(seed):
                if kinds and job.name.rsplit("-", 1)[0] not in kinds:
                    continue
                runs.append(run_job(args, url, job, seed))
                log.write(json.dumps(runs[-1]) + "\n")
                log.flush()
                print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    print(table(runs))
    print(f"\ntranscripts: {args.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
