"""What a session of the real Claude Code consists of: its tools, sub-agents, MCP, schemas, compaction
and resuming.

These are jobs on which a model this small cannot be relied on, so the scripted engine plays the model
(scripts/; `expect` in them holds what must have reached the server), and Claude Code does all the
rest for real.  The last test is with a real model."""
import concurrent.futures
import json
import pathlib
import sys
import uuid

import pytest
from support.claude_code import claude, environment, run, run_in
from support.pensieve_server import Server, model_path, script_server, wait_until

HERE = pathlib.Path(__file__).resolve().parent
NOTES = HERE.parent / "support" / "notes_mcp.py"
WRAPPER = HERE.parents[1] / "scripts" / "claude-local"
STREAM = ("--output-format", "stream-json", "--verbose")


@pytest.fixture
def scripted():
    with script_server(scripts=HERE / "scripts") as server:
        yield server


def lines(done):
    """The lines of --output-format stream-json, of a run that went well."""
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def ask(server, folder, prompt, *more, **options):
    return lines(run(server.url, folder, "-p", prompt, *STREAM, *more, **options))


def of_type(lines, kind, subtype=None):
    return [line for line in lines
            if line["type"] == kind and subtype in (None, line.get("subtype"))]


def result(lines):
    return of_type(lines, "result")[-1]["result"]


def work_file(folder, name, text):
    (folder / "work").mkdir(exist_ok=True)
    (folder / "work" / name).write_text(text)


def in_work(folder):
    return {path.name: path.read_text() for path in (folder / "work").iterdir()}


# ---- Tools ----


def test_it_reads_edits_writes_and_runs_in_one_loop(scripted, tmp_path):
    work_file(tmp_path, "list.txt", "one apple\n")
    told = ask(scripted, tmp_path, "fourtools", "--allowedTools", "Read,Edit,Write,Bash")
    assert result(told) == "All four ran."
    assert in_work(tmp_path) == {"list.txt": "two apples\n", "more.txt": "three pears\n",
                                 "all.txt": "two apples\nthree pears\n"}
    assert scripted.stats()["started"] == 5


def test_a_subagent_does_its_part_and_hands_it_back(scripted, tmp_path):
    work_file(tmp_path, "word.txt", "marmalade\n")
    told = ask(scripted, tmp_path, "delegate")
    assert result(told) == "My helper found it."
    assert [line["status"] for line in of_type(told, "system", "task_notification")] == ["completed"]
    assert scripted.stats()["started"] == 4


def test_a_subagent_in_the_background_runs_beside_the_session(scripted, tmp_path):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        asking = pool.submit(ask, scripted, tmp_path, "apart")
        try:
            wait_until(lambda: scripted.stats()["waiting"] == 2, 60, "the turns of both")
        finally:
            scripted.release("main")
            scripted.release("helper")
        told = asking.result()
    (end,) = of_type(told, "system", "task_notification")
    assert (end["status"], end["summary"]) == ("completed", "The helper says marmalade.")


def test_it_finds_the_tools_of_an_mcp_server_and_calls_them(scripted, tmp_path):
    """Claude Code defers them: the model sees their names, and has to search for the schemas."""
    servers = {"mcpServers": {"notes": {"command": sys.executable, "args": [str(NOTES)]}}}
    told = ask(scripted, tmp_path, "notes", "--mcp-config", json.dumps(servers),
               "--strict-mcp-config", "--allowedTools", "mcp__notes__add,mcp__notes__list")
    assert result(told) == "It is noted."
    assert scripted.stats()["started"] == 4


def test_a_schema_is_filled_and_a_wrong_answer_comes_back(scripted, tmp_path):
    schema = {"type": "object", "properties": {"name": {"type": "string"},
                                               "count": {"type": "integer"}},
              "required": ["name", "count"]}
    told = ask(scripted, tmp_path, "structured", "--json-schema", json.dumps(schema))
    assert of_type(told, "result")[-1]["structured_output"] == {"name": "apple", "count": 3}
    assert scripted.stats()["started"] == 2


# ---- Sessions ----


@pytest.mark.parametrize("how", ["--resume", "--continue"])
def test_a_session_goes_on_in_a_new_process(scripted, tmp_path, how):
    session = str(uuid.uuid4())
    ask(scripted, tmp_path, "fits", "--session-id", session)
    again = [how, session] if how == "--resume" else [how]
    told = ask(scripted, tmp_path, "recall", *again)
    assert result(told) == "I remember."
    assert told[-1]["session_id"] == session


def test_compact_leaves_the_summary_of_the_session(scripted, tmp_path):
    session = str(uuid.uuid4())
    ask(scripted, tmp_path, "fits", "--session-id", session)
    told = ask(scripted, tmp_path, "/compact", "--resume", session)
    (boundary,) = of_type(told, "system", "compact_boundary")
    assert boundary["compact_metadata"]["trigger"] == "manual"
    assert result(ask(scripted, tmp_path, "continued", "--resume", session)) == "I go on."
    assert scripted.stats()["started"] == 3


@pytest.mark.parametrize("first, then, answer, triggers", [
    ("fits", "recall", "I remember.", []), ("fills", "continued", "I go on.", ["auto"])])
def test_it_compacts_by_itself_when_the_window_is_full(scripted, tmp_path, first, then, answer,
                                                       triggers):
    """The window is the server's: claude-local asks for it, and tells Claude Code."""
    env = environment(tmp_path, PENSIEVE_CLAUDE=claude())
    command = [str(WRAPPER), "--port", str(scripted.port), "--full", *STREAM]
    session = str(uuid.uuid4())
    lines(run_in(tmp_path, [*command, "-p", first, "--session-id", session], env))
    told = lines(run_in(tmp_path, [*command, "-p", then, "--resume", session], env))
    assert result(told) == answer
    boundaries = of_type(told, "system", "compact_boundary")
    assert [line["compact_metadata"]["trigger"] for line in boundaries] == triggers
    assert scripted.stats()["started"] == 2 + len(triggers)


def test_it_compacts_when_the_server_finds_a_prompt_too_long(scripted, tmp_path):
    """Nothing told it the window: it reads the refusal's words, and sums up all turns but the last."""
    session = str(uuid.uuid4())
    ask(scripted, tmp_path, "fits", "--session-id", session)
    ask(scripted, tmp_path, "fits", "--resume", session)
    told = ask(scripted, tmp_path, "overfull", "--resume", session)
    assert result(told) == "Now it fits."
    (boundary,) = of_type(told, "system", "compact_boundary")
    assert boundary["compact_metadata"]["trigger"] == "auto"
    # Two answers, the refusal, the summary, and the question again.
    assert scripted.stats()["started"] == 5


def test_a_resumed_session_is_still_in_a_real_models_memory(tmp_path):
    with Server("--model", model_path("qwen2.5-coder:0.5b"), "--ctx", "8192") as server:
        server.wait_ready()
        session = str(uuid.uuid4())
        few = {"CLAUDE_CODE_MAX_OUTPUT_TOKENS": "64"}
        bare = ("--bare", "--tools", "")
        ask(server, tmp_path, "Say hello.", *bare, "--session-id", session, extra=few)
        told = ask(server, tmp_path, "Say it again.", *bare, "--resume", session, extra=few)
    usage = told[-1]["usage"]
    assert result(told).strip()
    assert usage["cache_read_input_tokens"] > 0, usage
    assert usage["input_tokens"] < usage["cache_read_input_tokens"], usage
