"""The program on real weights, small ones: answers, reuse, limits, memory, leaving clients."""
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import threading

import pytest
from support.pensieve_server import KEY, Server, message, model_path, wait_until

TOOL = {"name": "get_weather", "description": "Get the weather of a city",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}},
                         "required": ["city"]}}


@pytest.fixture(scope="module")
def small():
    with Server("--model", model_path("smollm2:135m"), "--ctx", "4096", "--pool", "8192") as s:
        yield s.wait_ready()


@pytest.fixture(scope="module")
def coder():
    with Server("--model", model_path("qwen2.5-coder:0.5b"), "--ctx", "8192") as s:
        yield s.wait_ready()


def prompt_of(usage):
    return (usage["input_tokens"] + usage["cache_read_input_tokens"]
            + usage["cache_creation_input_tokens"])


def words(n, seed=0):
    return " ".join(f"word{(seed * 7919 + i * 31) % 997}" for i in range(n))


def test_it_answers_and_counts_exactly(small):
    ask = message("Say hello.", max_tokens=12, temperature=0)
    status, _, answer = small.post("/v1/messages", ask)
    assert status == 200 and answer["content"][0]["text"].strip()
    assert 1 <= answer["usage"]["output_tokens"] <= 12
    count = {k: ask[k] for k in ("model", "messages")}
    assert small.post("/v1/messages/count_tokens", count)[2]["input_tokens"] == \
        prompt_of(answer["usage"])


def test_greedy_streams_and_answers_agree_and_repeat(small):
    ask = message("Count to five.", max_tokens=20, temperature=0)
    small.post("/v1/messages", ask)  # from here on all of them read the same cells
    texts = set()
    for _ in range(2):
        texts.add(small.post("/v1/messages", ask)[2]["content"][0]["text"])
        events = small.events(ask)
        texts.add("".join(d["delta"]["text"] for n, d in events if n == "content_block_delta"))
    assert len(texts) == 1


def test_the_next_request_reads_the_last_one_from_the_pool(small):
    first = message(words(300, 1), max_tokens=8, temperature=0)
    _, _, answer = small.post("/v1/messages", first)
    prompt = prompt_of(answer["usage"])
    again = small.post("/v1/messages", first)[2]["usage"]
    assert again["cache_read_input_tokens"] == prompt - 1
    longer = message("x", max_tokens=8)
    longer["messages"] = first["messages"] + [
        {"role": "assistant", "content": answer["content"]}, {"role": "user", "content": "And?"}]
    usage = small.post("/v1/messages", longer)[2]["usage"]
    assert usage["cache_read_input_tokens"] >= 0.95 * prompt


def test_overflow_names_the_numbers(small):
    status, _, body = small.post("/v1/messages", message(words(6000), max_tokens=5))
    assert status == 400
    said = body["error"]["message"]
    assert said.startswith("prompt is too long: ") and said.endswith(" tokens > 4094 maximum")


def test_a_stop_sequence_ends_the_answer(small):
    ask = message("Count from 1 to 20, with commas.", max_tokens=60, temperature=0)
    text = small.post("/v1/messages", ask)[2]["content"][0]["text"]
    stop = text[5:8]
    answer = small.post("/v1/messages", dict(ask, stop_sequences=[stop]))[2]
    assert answer["stop_reason"] == "stop_sequence" and answer["stop_sequence"] == stop
    got = answer["content"][0]["text"] if answer["content"] else ""
    assert text.startswith(got) and stop not in got


def test_several_at_once_are_all_answered(small):
    asks = [message(f"Write about {topic}.", max_tokens=16, temperature=0)
            for topic in ("rain", "iron", "bread", "snow")]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda ask: small.post("/v1/messages", ask), asks))
    assert [status for status, _, _ in together] == [200] * 4
    assert all(answer["usage"]["output_tokens"] > 0 for _, _, answer in together)


def test_a_client_that_leaves_frees_the_engine_and_its_work_is_kept(small):
    ask = message(words(700, 2), max_tokens=50, stream=True)
    body = json.dumps(ask)
    sock = small.socket()
    sock.sendall((f"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Api-Key: {KEY}\r\n"
                  f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}")
                 .encode())
    wait_until(lambda: small.get("/health")["prefill"]["done"] >= 512, 60, "the first chunk")
    sock.close()
    wait_until(lambda: small.get("/health")["requests"]["running"] == 0, 5, "the free engine")
    usage = small.post("/v1/messages", dict(ask, stream=False, max_tokens=2))[2]["usage"]
    assert usage["cache_read_input_tokens"] >= 512


def test_counts_are_answered_while_a_prompt_is_read(small):
    body = json.dumps(message(words(700, 3), max_tokens=1))
    statuses = []
    reader = threading.Thread(
        target=lambda: statuses.append(small.request("POST", "/v1/messages", body)[0]))
    reader.start()
    count = {k: message("How many?")[k] for k in ("model", "messages")}
    with concurrent.futures.ThreadPoolExecutor(26) as pool:
        answers = list(pool.map(lambda _: small.post("/v1/messages/count_tokens", count), range(26)))
    assert [status for status, _, _ in answers] == [200] * 26
    reader.join()
    assert statuses == [200]


def test_a_forced_tool_is_called_with_valid_arguments(coder):
    ask = message("What is the weather in Paris?", max_tokens=80, temperature=0, tools=[TOOL],
                  tool_choice={"type": "tool", "name": "get_weather"})
    answer = coder.post("/v1/messages", ask)[2]
    assert answer["stop_reason"] == "tool_use"
    call = next(b for b in answer["content"] if b["type"] == "tool_use")
    assert call["name"] == "get_weather" and isinstance(call["input"]["city"], str)
    assert call["id"].startswith("toolu_")
    follow = dict(ask, tool_choice={"type": "auto"}, max_tokens=20)
    follow["messages"] = ask["messages"] + [
        {"role": "assistant", "content": answer["content"]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call["id"],
                                      "content": "Sunny, 21 degrees"}]}]
    after = coder.post("/v1/messages", follow)
    assert after[0] == 200
    assert after[2]["usage"]["cache_read_input_tokens"] > 0


def test_an_output_schema_is_kept_to(coder):
    schema = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"],
              "additionalProperties": False}
    ask = message("Give a title for a talk about bread.", max_tokens=80, temperature=0,
                  output_config={"format": {"type": "json_schema", "schema": schema}})
    answer = coder.post("/v1/messages", ask)[2]
    assert set(json.loads(answer["content"][0]["text"])) == {"title"}


def test_images_become_a_note_and_do_not_fail(coder):
    ask = message("x", max_tokens=5)
    ask["messages"] = [{"role": "user", "content": [
        {"type": "image", "source": {"data": "AAAA", "media_type": "image/png", "type": "base64"}},
        {"type": "text", "text": "What is this?"}]}]
    assert coder.post("/v1/messages", ask)[0] == 200


def rss(pid):
    fields = dict(line.split(":", 1) for line in
                  pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    return {k: int(fields[k].split()[0]) * 1024 for k in ("RssAnon", "RssFile")}


def test_memory_stays_within_the_promise(small):
    if not os.path.exists("/proc/self/status"):
        pytest.skip("needs /proc")
    health = small.get("/health")
    listed = json.loads(subprocess.run([os.environ["PENSIEVE_BINARY"], "list", "--json"],
                                       capture_output=True, check=True).stdout)
    model = next(m["bytes"] for m in listed if m["name"] == "smollm2:135m")
    used = rss(small.process.pid)
    assert used["RssAnon"] + used["RssFile"] <= 1.15 * model + health["kv"]["bytes"] + (256 << 20)
    asks = [message(words(200, 10 + i), max_tokens=32) for i in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda ask: small.post("/v1/messages", ask), asks))
    after = rss(small.process.pid)
    assert sum(after.values()) <= 1.25 * sum(used.values())
    assert health["memory"]["reading_us"] < 5000


def test_many_requests_leave_no_growth(small):
    ask = message("Hi", max_tokens=1)
    for _ in range(50):
        small.post("/v1/messages", ask)
    before = rss(small.process.pid)["RssAnon"]
    for _ in range(200):
        assert small.post("/v1/messages", ask)[0] == 200
    assert rss(small.process.pid)["RssAnon"] - before < 4 << 20


def test_it_works_without_any_network_but_loopback():
    name = model_path("smollm2:135m")
    if shutil.which("unshare") is None or subprocess.run(
            ["unshare", "-rn", "true"], capture_output=True).returncode != 0:
        pytest.skip("unshare cannot make a network namespace here")
    script = ("ip link set lo up 2>/dev/null || python3 -c \"import fcntl,socket,struct;"
              "s=socket.socket();fcntl.ioctl(s,0x8914,struct.pack('16sH14s',b'lo',1,b''))\"\n"
              "exec \"$@\"")
    ask = json.dumps(message("Hi", max_tokens=4))
    client = ("import http.client,json,re,subprocess,sys,time\n"
              f"p=subprocess.Popen([sys.argv[1],'serve','--port','0','--model','{name}',"
              "'--ctx','4096'],stdout=subprocess.PIPE,stderr=subprocess.DEVNULL,text=True)\n"
              "port=int(p.stdout.readline().rsplit(':',1)[1])\n"
              "for _ in range(600):\n"
              "    c=http.client.HTTPConnection('127.0.0.1',port,timeout=60)\n"
              f"    c.request('POST','/v1/messages',{ask!r},"
              f"{{'content-type':'application/json','x-api-key':'{KEY}'}})\n"
              "    r=c.getresponse();b=json.loads(r.read())\n"
              "    if r.status!=529: break\n"
              "    time.sleep(0.1)\n"
              "table=open(f'/proc/{p.pid}/net/tcp').read().splitlines()[1:]\n"
              "foreign=[l for l in table if l.split()[2].split(':')[0] not in"
              " ('00000000','0100007F')]\n"
              "p.terminate();p.wait(60)\n"
              "sys.exit(0 if r.status==200 and not foreign else 1)\n")
    done = subprocess.run(["unshare", "-rn", "sh", "-c", script, "sh", "python3", "-c", client,
                           os.environ["PENSIEVE_BINARY"]], timeout=180,
                          env={**os.environ, "HOME": os.environ.get("HOME", "/")})
    assert done.returncode == 0
