"""The day benchmark, bench/day.py: the shape of its requests, its client, and its sums."""
import http.server
import json
import pathlib
import subprocess
import sys
import threading
import xml.etree.ElementTree

import pytest
from support.pensieve_server import Server

BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))
import day_client  # noqa: E402
import day_report  # noqa: E402
import day_steps  # noqa: E402
import day_traffic as traffic  # noqa: E402

ANSWER = [{"type": "text", "text": "\n"}, {"type": "text", "text": "I will look.\n"},
          {"type": "tool_use", "id": "toolu_1", "name": "Read",
           "input": {"limit": "20", "file_path": "a.py"}}]


def conversation(setting, directory="alpha", prompt="Fix it.", seed=1):
    return traffic.Conversation(setting, directory, prompt, seed)


# ---- Requests ----

def test_requests_have_the_sizes_of_real_ones_and_are_the_same_each_time():
    body = conversation(traffic.Setting()).body(96)
    assert len(json.dumps(body["tools"])) == pytest.approx(31200, rel=0.05)
    assert len(json.dumps(body["system"])) == pytest.approx(7400, rel=0.1)
    assert len(json.dumps(body)) == pytest.approx(51000, rel=0.1)
    assert json.dumps(conversation(traffic.Setting()).body(96)) == json.dumps(body)
    assert json.dumps(conversation(traffic.Setting(), seed=2).body(96)) != json.dumps(body)
    small = conversation(traffic.Setting(0.1)).body(96)
    assert len(json.dumps(small)) < len(json.dumps(body)) / 6


def test_a_later_request_begins_with_the_earlier_one():
    talk = conversation(traffic.Setting(0.1))
    first = talk.body(96)
    talk.take(ANSWER)
    talk.go_on(500)
    second = talk.body(96)
    assert traffic.plain(second).startswith(traffic.plain(first))
    assert isinstance(first["messages"][1]["content"], list)
    assert isinstance(second["messages"][1]["content"], str)
    assert second["messages"][-1]["content"][0]["tool_use_id"] == "toolu_1"
    assert "cache_control" in second["messages"][-1]["content"][-1]
    assert "cache_control" not in json.dumps(second["messages"][:-1])


def test_answers_come_back_as_the_client_changes_them():
    text, read = traffic.returned(ANSWER)
    assert text == {"type": "text", "text": "I will look.\n"}
    assert json.dumps(read["input"]) == '{"file_path": "a.py", "limit": 20}'
    edit = traffic.returned_input("Edit", {"new_string": "b", "file_path": "f", "old_string": "a"})
    assert list(edit) == ["replace_all", "file_path", "old_string", "new_string"]
    assert edit["replace_all"] is False
    assert traffic.returned([{"type": "text", "text": " \n"}])[0]["text"] == "(no content)"


def test_only_the_attribution_line_differs_between_prompts_of_a_directory():
    setting = traffic.Setting(0.1)
    one, other = (conversation(setting, prompt=p).body(96) for p in ("One.", "Other."))
    assert one["tools"] == other["tools"] and one["system"][1:] == other["system"][1:]
    assert one["system"][0] != other["system"][0]
    assert "billing" not in traffic.plain(one)
    assert len(conversation(traffic.Setting(0.1, attribution=False)).body(96)["system"]) == 2


def test_what_is_shared_is_what_real_requests_share():
    setting = traffic.Setting(1)
    main = traffic.plain(conversation(setting).body(96))
    elsewhere = traffic.plain(conversation(setting, "beta").body(96))
    shared = traffic.common_length(main, elsewhere)
    assert 31000 < shared < 31000 + 7400
    one, two = (traffic.plain(traffic.SubAgent(setting, "alpha", f"Task {i}", i).body(96))
                for i in (1, 2))
    assert traffic.common_length(one, two) > 0.95 * len(one)
    assert traffic.common_length(main, one) < 100


def test_a_compacted_conversation_keeps_tools_and_system_only():
    talk = conversation(traffic.Setting(0.1))
    talk.take(ANSWER)
    after = talk.compacted("All is well.").body(96)
    assert after["tools"] == talk.body(96)["tools"]
    assert after["system"][1:] == talk.body(96)["system"][1:]
    assert after["system"][0] != talk.body(96)["system"][0]
    assert isinstance(after["messages"][0]["content"], str)
    assert "All is well." in after["messages"][0]["content"]


def test_the_server_takes_all_of_these_requests(tmp_path):
    (tmp_path / "go.script").write_text('prompt 30\ntext "Yes."\ndone end_turn\n')
    setting = traffic.Setting(0.1)
    talk = conversation(setting)
    talk.take(ANSWER)
    talk.go_on(300)
    with Server("--engine", f"script:{tmp_path}") as server:
        client = day_client.Client(server.port)
        for body in (talk.body(96), traffic.title_body(setting, "Fix it."),
                     traffic.SubAgent(setting, "alpha", "Look.", 1).body(96),
                     talk.compacted("Done.").body(96), day_steps.short_body()):
            body["messages"].append({"role": "user", "content": "go"})
            assert client.count(body) == 30
            assert client.stream(body).text == "Yes."


# ---- The client ----

def test_the_client_reads_a_stream_and_the_counters_of_both_servers(tmp_path):
    (tmp_path / "reads.script").write_text(
        'prompt 30\ncached 20\ntext "I "\ntext "read."\ntool toolu_9 Read\n'
        'input "{\\"file_path\\": \\"a\\"}"\ndone tool_use\n')
    with Server("--engine", f"script:{tmp_path}") as server:
        client = day_client.Client(server.port)
        body = {**day_steps.short_body(), "messages": [{"role": "user", "content": "reads"}]}
        body["tools"] = traffic.make_tools(["Read"], 200, 1)
        answer = client.stream(body)
        assert answer.error is None and answer.stop == "tool_use"
        assert (answer.prompt, answer.cached, len(answer.deltas)) == (30, 20, 3)
        assert answer.content[1]["input"] == {"file_path": "a"}
        assert client.stream({"model": "x"}).error.startswith("400")
        assert client.counters()["rows"] == 0
    assert day_client.read_counters("llamacpp:prompt_seconds_total 2.5\n")["prefill_s"] == 2.5


def test_pauses_are_those_that_touch_the_interval():
    answer = day_client.Answer(0.0, deltas=[1.0, 1.5, 4.0, 4.25], usage={"output_tokens": 14})
    assert answer.waited == 1.0
    assert answer.worst_pause() == 2.5
    assert answer.worst_pause(4.0, 5.0) == 0.25
    assert answer.speed == pytest.approx(4.0)


# ---- Sums and lines ----

def record(step, sent, waited, **more):
    return {"step": step, "name": step, "user": True, "sent_s": sent, "waited_s": waited,
            "total_s": waited, "prompt": 1000, "cached": 0, "output": 10, "speed": 5.0,
            "worst_pause_s": 0.1, "known_share": 0.0, "stop": "end_turn", "error": None, **more}


def result(records, facts):
    return {"records": records, "facts": facts, **day_report.summarize(records, facts)}


def test_waiting_at_once_counts_once():
    assert day_report.union_seconds([(0, 2), (1, 3), (5, 6), (5, 5.5)]) == 4
    assert day_report.waited([record("a", 0, 2), record("a", 1, 2), record("a", 0, 9, user=False)]) \
        == 3


def test_computed_again_is_counted_by_the_server_or_estimated_from_what_was_sent():
    assert day_report.recomputed([], {"again": 7, "again_s": 0.5}) == (7, 0.5)
    records = [record("a", 0, 1), record("a", 2, 1, known_share=0.9)]
    again, seconds = day_report.recomputed(records, {"prefilled": 2000, "prefill_s": 20})
    assert again == pytest.approx(900) and seconds == pytest.approx(9)
    assert day_report.recomputed(records, {}) == (None, None)


def test_checks_after_the_day_are_not_part_of_it():
    facts = {"cold": {"counters": {"prefilled": 1000, "prefill_s": 2}},
             "greedy": {"counters": {"prefilled": 9000, "prefill_s": 9}}}
    sums = day_report.summarize([record("cold", 0, 2)], facts)
    assert sums["total"]["computed_tokens"] == 1000
    assert sums["steps"]["greedy"]["computed_tokens"] == 9000


def lines_of(ours, theirs):
    servers = {day_report.PENSIEVE: ours, day_report.BEST: theirs, day_report.DEFAULTS: theirs}
    results = {"model": "qwen2.5-coder:0.5b", "scale": 1.0, "servers": servers}
    return {line["line"]: line["kept"] for line in day_report.judge(results)}


def test_lines_are_kept_broken_or_not_measured():
    theirs = result([record("cold", 0, 100)],
                    {"cold": {"counters": {"prefilled": 2000, "prefill_s": 100}}})
    counters = {"prefilled": 1000, "prefill_s": 40, "rows": 1010, "again": 10, "again_s": 1}
    good = {"cold": {"read_tokens_per_s": 100, "counters": counters},
            "restart": {"cold_s": 40, "again_s": 0.9, "prompt": 12000},
            "title": {"cached": 96, "system_and_tools": 100, "delay_s": 0.5},
            "disconnect": {"free_s": 0.1}, "stream": {"stall_s": 0.3, "mean_chunk_s": 0.2},
            "agents": {"prefilled": 7310, "prefix": 7000, "wanted": 7300},
            "greedy": {"differ": [], "prompts": 2, "restored": 2, "differ_from_cold": []}}
    kept = lines_of(result([record("cold", 0, 40)], good), theirs)
    assert sum(value is True for value in kept.values()) == 13
    assert sum(value is None for value in kept.values()) == 2  # drafts
    bad = {"cold": {**good["cold"], "counters": {**counters, "again": 200, "again_s": 9}},
           "restart": {"cold_s": 40, "again_s": 2.0, "prompt": 12000},
           "title": {"cached": 90, "system_and_tools": 100, "delay_s": 6},
           "disconnect": {"free_s": 0.3}, "stream": {"stall_s": 0.5, "mean_chunk_s": 0.2},
           "agents": {"prefilled": 14000, "prefix": 7000, "wanted": 7300},
           "greedy": {"differ": [1], "prompts": 2, "restored": 2, "differ_from_cold": []}}
    kept = lines_of(result([record("cold", 0, 80)], bad), theirs)
    assert sum(value is False for value in kept.values()) == 12


def test_table_and_picture_show_every_server():
    facts = {"cold": {"counters": {}}, "evening": {"counters": {}}}
    servers = {name: result([record("cold", 0, n), record("evening", 9, 1)], facts)
               for n, name in ((2, "one"), (8, "two & more"))}
    results = {"model": "a <model>", "scale": 1.0, "servers": servers}
    assert "| total | two & more | 9.00 |" in day_report.table(results)
    root = xml.etree.ElementTree.fromstring(day_report.picture(results))
    kinds = [element.tag.rsplit("}", 1)[1] for element in root]
    assert kinds.count("polygon") == 2
    words = "".join(root.itertext())
    assert "two & more: 9.0 s" in words and "a <model>" in words and "evening" in words


def test_lines_of_the_axis_are_round_and_few():
    for most in (0.4, 3, 9.9, 47, 250, 1234, 99999):
        step = day_report.round_step(most)
        assert 2 <= most / step <= 6


# ---- The whole of it ----

class Stub(http.server.BaseHTTPRequestHandler):
    """An endpoint that answers everything at once, in the API's form."""

    def do_GET(self):
        self.send_error(404)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.end_headers()
        if self.path.startswith("/v1/messages/count_tokens"):
            self.wfile.write(json.dumps({"input_tokens": len(json.dumps(body)) // 4}).encode())
            return
        usage = {"input_tokens": 90, "cache_read_input_tokens": 10, "output_tokens": 5}
        block, deltas = self.answer(body)
        events = [{"type": "message_start", "message": {"usage": usage}}, {"type": "ping"},
                  {"type": "content_block_start", "index": 0, "content_block": block}]
        events += [{"type": "content_block_delta", "index": 0, "delta": d} for d in deltas]
        events += [{"type": "content_block_stop", "index": 0},
                   {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
                   {"type": "message_stop"}]
        for event in events:
            self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())

    @staticmethod
    def answer(body):
        if "tool_choice" in body:
            parts = ['{"limit": "5", ', '"file_path": "a"}']
            return ({"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {}},
                    [{"type": "input_json_delta", "partial_json": p} for p in parts])
        return ({"type": "text", "text": ""},
                [{"type": "text_delta", "text": f"{i} "} for i in range(5)])

    def log_message(self, *_):
        pass


def test_a_whole_day_runs_on_any_endpoint(tmp_path):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stub) as stub:
        thread = threading.Thread(target=stub.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{stub.server_address[1]}"
        done = subprocess.run([sys.executable, BENCH / "day.py", "--url", url, "--scale", "0.02",
                               "--think", "0", "--out", tmp_path / "day"],
                              capture_output=True, text=True, timeout=120)
        stub.shutdown()
        thread.join()
    assert done.returncode == 0, done.stderr
    assert "failed" not in done.stderr, done.stderr
    results = json.loads((tmp_path / "day" / "day.json").read_text())
    day = results["servers"][url]
    assert day["total"]["failed"] == 0
    assert day["total"]["requests"] == len(day["records"]) == 1 + 30 + 2 + 3 + 1 + 5 + 2 + 3
    assert day["total"]["waited_s"] > 0 and day["total"]["computed_tokens"] is None
    assert day["facts"]["restart"]["skipped"] and day["facts"]["title"]["cached"] == 10
    assert {line["kept"] for line in results["lines"]} == {None}
    assert (tmp_path / "day" / "day.svg").read_text().startswith("<svg")
