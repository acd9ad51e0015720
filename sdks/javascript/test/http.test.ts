import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { test, type TestContext } from "node:test";
import {
  AbortedError,
  AIVideoAssistant,
  AssistantError,
  ConnectionError,
  RateLimitError,
  ServerError,
  TimeoutError,
} from "@ai-video-assistant/sdk";
import { collected, deadUrl, serve } from "./support.ts";

const OK = '{"success":true,"data":{"id":"a1","name":"Ann"}}';
const LIMITED = '{"success":false,"error":{"code":"RATE_LIMITED","message":"Slowly."}}';
const client = (apiUrl: string, options = {}) => new AIVideoAssistant({ apiUrl, ...options });

/** A server that gives these answers, one after the other, and counts the questions. */
async function answering(t: TestContext, ...answers: ((to: ServerResponse) => void)[]) {
  const asked: string[] = [];
  const url = await serve(t, (request, response) => {
    const answer = answers[Math.min(asked.length, answers.length - 1)]!;
    asked.push(`${request.method} ${request.url}`);
    request.resume().on("end", () => answer(response));
  });
  return { url, asked };
}
const says = (status: number, body: string, headers = {}) => (to: ServerResponse) =>
  void to.writeHead(status, { "content-type": "application/json", ...headers }).end(body);

test("it tries again after 429, when the server says", async (t) => {
  const limited = says(429, LIMITED, { "retry-after": "0" });
  const { url, asked } = await answering(t, limited, limited, says(201, OK));
  assert.equal((await client(url).create({ name: "Ann" })).id, "a1");
  assert.equal(asked.length, 3);
});

test("it does not wait longer than anybody would, and says how long that is", async (t) => {
  const { url, asked } = await answering(t, says(429, LIMITED, { "retry-after": "3600" }));
  await assert.rejects(client(url).assistants.get("a1"), (error: RateLimitError) => {
    assert.ok(error instanceof RateLimitError);
    assert.deepEqual([error.retryable, error.retryAfterMs], [true, 3_600_000]);
    return true;
  });
  assert.equal(asked.length, 1);
});

test("it gives up after as many tries as were allowed", async (t) => {
  const { url, asked } = await answering(t, says(503, "{}", { "retry-after": "0" }));
  await assert.rejects(client(url).assistants.get("a1", { maxRetries: 4 }), ServerError);
  assert.equal(asked.length, 5);
});

test("it asks again what failed, but makes nothing twice", async (t) => {
  const failed = says(500, "<h1>Oops</h1>", { "retry-after": "0" });
  const read = await answering(t, failed, says(200, OK));
  await client(read.url).assistants.get("a1");
  assert.equal(read.asked.length, 2);
  const made = await answering(t, failed, says(201, OK));
  await assert.rejects(client(made.url).create({ name: "Ann" }), (error: ServerError) => {
    assert.deepEqual([error.name, error.status, error.code], ["ServerError", 500, "HTTP_500"]);
    return true;
  });
  assert.equal(made.asked.length, 1);
});

test("it asks again where the connection broke", async (t) => {
  const { url, asked } = await answering(t, (to) => to.destroy(), says(200, OK));
  assert.equal((await client(url).assistants.get("a1")).name, "Ann");
  assert.equal(asked.length, 2);
});

test("it says that nobody answers", async (t) => {
  const url = await deadUrl(t);
  const { assistants } = client(url, { maxRetries: 0 });
  await assert.rejects(assistants.list(), (error: ConnectionError) => {
    assert.deepEqual([error.name, error.retryable], ["ConnectionError", true]);
    return true;
  });
});

test("it waits for no answer longer than it was told", async (t) => {
  const silent = await answering(t, () => undefined);
  const options = { timeoutMs: 50, maxRetries: 0 };
  await assert.rejects(client(silent.url, options).assistants.list(), TimeoutError);
  const slow = await answering(t, (to) => void to.writeHead(200).write("{"));
  await assert.rejects(client(slow.url, options).assistants.list(), TimeoutError);
  const deaf = client(slow.url, { ...options, fetch: () => new Promise(() => undefined) });
  await assert.rejects(deaf.assistants.list(), TimeoutError);
});

test("it stops when the caller does, also while it waits to try again", async (t) => {
  const silent = await answering(t, () => undefined);
  const busy = await answering(t, says(503, "{}", { "retry-after": "30" }));
  for (const { url } of [silent, busy]) {
    const stop = new AbortController();
    const asked = client(url).assistants.list({}, { signal: stop.signal });
    setTimeout(() => stop.abort("bored"), 20);
    await assert.rejects(asked, (error: AbortedError) => {
      assert.deepEqual([error.name, error.cause], ["AbortedError", "bored"]);
      return true;
    });
  }
  const signal = AbortSignal.abort();
  await assert.rejects(client(silent.url).assistants.list({}, { signal }), AbortedError);
});

test("it does not take something else for an answer", async (t) => {
  const { url } = await answering(t, says(200, "<html>Sign in to the hotel's network</html>"));
  await assert.rejects(client(url).assistants.list(), (error: AssistantError) => {
    assert.deepEqual([error.name, error.code], ["ServerError", "invalid_answer"]);
    return true;
  });
});

test("it reads events however the network cuts them", async (t) => {
  const chunk = (text: string) => ({ type: "response_chunk", timestamp: 1, data: { chunk: text } });
  const said = ["你好", "a\u2028b", "🙂"].map(chunk);
  const text = said.map((event) => `: ping\r\n\r\nid: 1\r\ndata: ${JSON.stringify(event)}\r\n\r\n`);
  const bytes = Buffer.from(text.join(""));
  const url = await serve(t, async (_request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (const byte of bytes) {
      response.write(Buffer.of(byte));
      await new Promise(setImmediate);
    }
    response.end("data: {cut off");
  });
  assert.deepEqual(await collected(client(url).chat.stream("d1", "Hello")), said);
});

test("it says what ended a stream: a refusal, silence, the server, the caller", async (t) => {
  const begins = (to: ServerResponse) =>
    void to.writeHead(200, { "content-type": "text/event-stream" }).write(": ping\n\n");
  const stream = (url: string, options = {}) =>
    collected(client(url, { timeoutMs: 200 }).chat.stream("d1", "Hello", options));

  const refusal = '{"status_code":409,"status_message":"Busy.","data":null,"detail":"Busy."}';
  const refusing = await answering(t, says(200, refusal));
  await assert.rejects(stream(refusing.url), { name: "ConflictError", message: "Busy." });
  const silent = await answering(t, begins);
  await assert.rejects(stream(silent.url), TimeoutError);
  const breaking = await answering(t, (to) => (begins(to), setTimeout(() => to.destroy(), 20)));
  await assert.rejects(stream(breaking.url), (error: Error) => error.name === "ConnectionError");
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 20);
  await assert.rejects(stream(silent.url, { signal: stop.signal }), AbortedError);
});

test("it gives whoever reads as long as they like, and nothing after their signal", async (t) => {
  const chunk = 'data: {"type":"response_chunk","data":{"chunk":"a","accumulated":"a"}}\n\n';
  const { url } = await answering(t, (to) => {
    to.writeHead(200, { "content-type": "text/event-stream" }).end(chunk.repeat(3));
  });
  let count = 0;
  for await (const _event of client(url, { timeoutMs: 40 }).chat.stream("d1", "Hello")) {
    await new Promise((resolve) => setTimeout(resolve, 60));
    count += 1;
  }
  assert.equal(count, 3);
  const stop = new AbortController();
  await assert.rejects(async () => {
    for await (const _event of client(url).chat.stream("d1", "Hello", { signal: stop.signal })) {
      count += 1;
      stop.abort();
    }
  }, AbortedError);
  assert.equal(count, 4);
});

test("it closes the stream of a loop that was left", async (t) => {
  let closed: (() => void) | undefined;
  const whenClosed = new Promise<void>((resolve) => (closed = resolve));
  const { url } = await answering(t, (to) => {
    to.on("close", () => closed?.());
    to.writeHead(200, { "content-type": "text/event-stream" });
    to.write('data: {"type":"response_chunk","data":{"chunk":"a","accumulated":"a"}}\n\n');
  });
  for await (const _event of client(url).chat.stream("d1", "Hello")) break;
  await whenClosed;
});
