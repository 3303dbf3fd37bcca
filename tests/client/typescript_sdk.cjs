// What the official TypeScript SDK does with a server.  tests/client/test_typescript_sdk.py runs it
// with node's own test runner: PENSIEVE_TEST_URL is the server, PENSIEVE_TEST_SDK the folder whose
// node_modules holds the SDK, PENSIEVE_TEST_MODEL set where the server has a real model.
"use strict";
const assert = require("node:assert/strict");
const path = require("node:path");
const { createRequire } = require("node:module");
const { test } = require("node:test");

const sdk = createRequire(path.join(process.env.PENSIEVE_TEST_SDK, "package.json"));
const { Anthropic } = sdk("@anthropic-ai/sdk");
const { betaTool } = sdk("@anthropic-ai/sdk/helpers/beta/json-schema");
const { jsonSchemaOutputFormat } = sdk("@anthropic-ai/sdk/helpers/json-schema");

const url = process.env.PENSIEVE_TEST_URL;
const real = process.env.PENSIEVE_TEST_MODEL !== undefined;
const scripted = { skip: real && "needs the scripted engine" };
const weights = { skip: !real && "needs a real model" };
const tools = [{ name: "Read", input_schema: { type: "object" } },
               { name: "Bash", input_schema: { type: "object" } }];

// A client that notes the bodies it sends; every request of a test is its own.
function recordingClient(more = {}) {
  const sent = [];
  const client = new Anthropic({
    baseURL: url, apiKey: "pensieve-local-token", maxRetries: 0,
    fetch: (address, init) => {
      if (init.body) sent.push(JSON.parse(init.body));
      return fetch(address, init);
    },
    ...more,
  });
  return { client, sent };
}

function ask(text, more = {}) {
  return { model: "claude-sonnet-5-5", max_tokens: 100,
           messages: [{ role: "user", content: text }], ...more };
}

function shellTool(run) {
  return betaTool({
    name: "Bash", description: "Runs a command.", run,
    inputSchema: { type: "object", properties: { command: { type: "string" } },
                   required: ["command"] },
  });
}

function format(properties) {
  return { output_config: { format: jsonSchemaOutputFormat({
    type: "object", properties, required: Object.keys(properties), additionalProperties: false,
  }) } };
}

test("create returns the reply", scripted, async () => {
  const { client } = recordingClient();
  const answer = await client.messages.create(ask("hello"));
  assert.equal(answer.content[0].text, "Hello, wörld 😀!");
  assert.match(answer._request_id, /^req_/);
});

for (const name of ["hello", "tools", "tools-split1", "stopseq", "maxtokens"]) {
  test(`the stream helper builds what create returns: ${name}`, scripted, async () => {
    const { client } = recordingClient();
    const whole = await client.messages.create(ask(name, { tools }));
    const streamed = await client.messages.stream(ask(name, { tools })).finalMessage();
    assert.deepEqual(streamed.content, whole.content);
    assert.equal(streamed.stop_reason, whole.stop_reason);
    assert.equal(streamed.usage.input_tokens, whole.usage.input_tokens);
    assert.equal(streamed.usage.output_tokens, whole.usage.output_tokens);
  });
}

test("the input of a call comes in parts", scripted, async () => {
  const { client } = recordingClient();
  const parts = [];
  const stream = client.messages.stream(ask("tools-split1", { tools }));
  stream.on("inputJson", (part, soFar) => parts.push([part, soFar]));
  await stream.done();
  assert.ok(parts.length > 2, `${parts.length} parts`);
});

for (const streamed of [false, true]) {
  test(`the tool runner goes on without server-held threads, stream ${streamed}`, scripted,
       async () => {
    const { client, sent } = recordingClient();
    const commands = [];
    const runner = client.beta.messages.toolRunner(ask("makefile", {
      stream: streamed,
      tools: [shellTool(({ command }) => { commands.push(command); return "done"; })],
    }));
    const last = await runner.runUntilDone();
    assert.deepEqual(commands, ["echo made > made.txt"]);
    assert.equal(last.content[0].text, "It is done.");
    // The first try asks the server to hold the conversation; told that it cannot, the SDK sends
    // the whole history itself, tools included.
    assert.ok(sent[0].thread, "the SDK no longer starts with a thread: drop this test's premise");
    const whole = sent.filter((body) => body.thread === undefined);
    assert.deepEqual(whole.map((body) => body.messages.length), [1, 3]);
    assert.ok(whole.every((body) => body.tools.length === 1));
  });
}

test("the tool runner runs two calls of one reply", scripted, async () => {
  const { client } = recordingClient();
  const runner = client.beta.messages.toolRunner(ask("tools", {
    tools: [
      betaTool({ name: "Read", description: "Reads a file.",
                 inputSchema: { type: "object", properties: { path: { type: "string" } },
                                required: ["path"] },
                 run: (input) => `the text of ${input.path}` }),
      shellTool(({ command }) => `ran ${command}`),
    ],
  }));
  assert.equal((await runner.runUntilDone()).content[0].text, "Both ran.");
});

const fruit = format({ name: { type: "string" }, count: { type: "integer" } });

test("parse returns what the schema says", scripted, async () => {
  const { client } = recordingClient();
  for (const messages of [client.messages, client.beta.messages]) {
    const whole = await messages.parse(ask("fruit", fruit));
    assert.deepEqual(whole.parsed_output, { name: "apple", count: 3 });
    const streamed = await messages.stream(ask("fruit", fruit)).finalMessage();
    assert.deepEqual(streamed.parsed_output, whole.parsed_output);
  }
});

test("parse refuses what is no JSON", scripted, async () => {
  const { client } = recordingClient();
  await assert.rejects(client.messages.parse(ask("hello", fruit)), Anthropic.AnthropicError);
});

// This SDK closes the brackets of half an input by itself, so only an error keeps half a Write from
// being run.
test("a call that was cut is an error, and no tool runs", scripted, async () => {
  const { client } = recordingClient();
  const written = [];
  const runner = client.beta.messages.toolRunner(ask("halfcall", {
    stream: true,
    tools: [betaTool({ name: "Write", description: "Writes a file.",
                       inputSchema: { type: "object" }, run: (input) => { written.push(input); } })],
  }));
  await assert.rejects(runner.runUntilDone(), Anthropic.APIError);
  assert.deepEqual(written, []);
});

test("an error in the stream is thrown, after what had come", scripted, async () => {
  const { client } = recordingClient();
  let text = "";
  const stream = client.messages.stream(ask("failmid")).on("text", (part) => { text += part; });
  await assert.rejects(stream.finalMessage(), (error) => {
    assert.ok(error instanceof Anthropic.APIError);
    assert.match(error.message, /memory is gone/);
    return true;
  });
  assert.equal(text, "begun");
});

test("errors have the classes of the hosted API", scripted, async () => {
  const { client } = recordingClient();
  const kinds = { toolong: [400, "invalid_request_error"], busy: [529, "overloaded_error"] };
  for (const [name, [status, type]] of Object.entries(kinds)) {
    await assert.rejects(client.messages.create(ask(name)), (error) => {
      assert.equal(error.status, status, name);
      assert.equal(error.error.error.type, type, name);
      assert.match(error.requestID, /^req_/);
      return true;
    });
  }
  const wrong = recordingClient({ apiKey: "wrong" }).client;
  await assert.rejects(wrong.messages.create(ask("hello")), Anthropic.AuthenticationError);
});

test("abort ends the request on the server", scripted, async () => {
  const { client } = recordingClient();
  const stream = client.messages.stream(ask("hang"));
  stream.on("connect", () => stream.abort());
  await assert.rejects(stream.done(), Anthropic.APIUserAbortError);
});

test("count and models", scripted, async () => {
  const { client } = recordingClient();
  const { messages } = ask("hello");
  const count = await client.messages.countTokens({ model: "claude-x", messages });
  assert.equal(count.input_tokens, 10);
  const models = [];
  for await (const model of client.models.list()) models.push(model.id);
  assert.ok(models.length > 0);
  assert.equal((await client.models.retrieve(models[0])).id, models[0]);
});

test("a real model streams an answer whose usage is the count", weights, async () => {
  const { client } = recordingClient();
  const body = ask("Say hello in five words.");
  const answer = await client.messages.stream(body).finalMessage();
  assert.ok(answer.content[0].text.trim().length > 0);
  const count = await client.messages.countTokens({ model: body.model, messages: body.messages });
  const { input_tokens, cache_read_input_tokens, cache_creation_input_tokens } = answer.usage;
  assert.equal(input_tokens + cache_read_input_tokens + cache_creation_input_tokens,
               count.input_tokens);
});

test("a real model's answer is held to the schema", weights, async () => {
  const { client } = recordingClient();
  const { parsed_output } = await client.messages.parse(ask("How many legs has a horse?", format({
    is_mammal: { type: "boolean" }, legs: { enum: ["none", "two", "four"] },
  })));
  assert.equal(typeof parsed_output.is_mammal, "boolean");
  assert.ok(["none", "two", "four"].includes(parsed_output.legs));
});

test("a real model calls a tool through the runner", weights, async () => {
  const { client } = recordingClient();
  const commands = [];
  const runner = client.beta.messages.toolRunner(ask(
    "Run the command `ls /data` with the Bash tool.", {
      max_tokens: 200, max_iterations: 2, temperature: 0,
      tool_choice: { type: "any" },
      tools: [shellTool(({ command }) => { commands.push(command); return "a.txt\nb.txt"; })],
    }));
  for await (const message of runner) assert.equal(message.role, "assistant");
  assert.ok(commands.length > 0);
  assert.equal(typeof commands[0], "string");
});
