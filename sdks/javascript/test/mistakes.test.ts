/** What a program is told that made a mistake, or whose server fails it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  AIVideoAssistant,
  ChatFailedError,
  ConnectionError,
  NotFoundError,
  ServerError,
  ValidationError,
  type ChatEvent,
} from "@ai-video-assistant/sdk";
import { deadUrl, serve } from "./support.ts";

test("it says which server is away, and why", async (t) => {
  const apiUrl = await deadUrl(t);
  await assert.rejects(new AIVideoAssistant({ apiUrl, maxRetries: 0 }).assistants.list(), {
    name: "ConnectionError",
    message: `The server at ${apiUrl} cannot be reached: ECONNREFUSED.`,
  });
  const plain = (await serve(t, (_, to) => void to.end())).replace("http:", "https:");
  await assert.rejects(
    new AIVideoAssistant({ apiUrl: plain, maxRetries: 0 }).assistants.list(),
    (error: ConnectionError) => error.message.includes(plain),
  );
});

test("it says at which address something else answers", async (t) => {
  const apiUrl = await serve(t, ({ url }, to) => {
    to.writeHead(url?.startsWith("/wrong") ? 404 : 200).end("<h1>Something else</h1>");
  });
  const place = "/api/v1/assistants";
  for (const [base, Kind, status] of [
    [`${apiUrl}/wrong`, NotFoundError, 404],
    [apiUrl, ServerError, 200],
  ] as const) {
    await assert.rejects(new AIVideoAssistant({ apiUrl: base }).assistants.list(), (error: Error) => {
      assert.ok(error instanceof Kind);
      const told = `No API answered at ${base}${place} (status ${status}); is the address right?`;
      assert.equal(error.message, told);
      return true;
    });
  }
});

test("it refuses a key that no header can carry", () => {
  for (const apiKey of ["sk-clé", "sk-key\n", "sk key"]) {
    assert.throws(() => new AIVideoAssistant({ apiKey }), { name: "ValidationError", param: "apiKey" });
  }
  assert.ok(new AIVideoAssistant({ apiKey: "sk-gw_key.1" }));
});

test("it names the field that is wrong", async (t) => {
  const error = {
    code: "VALIDATION_ERROR",
    message: "This field is required.",
    details: { name: ["This field is required."] },
  };
  const apiUrl = await serve(t, (_, to) => {
    to.writeHead(400, { "content-type": "application/json" });
    to.end(JSON.stringify({ success: false, error }));
  });
  await assert.rejects(new AIVideoAssistant({ apiUrl }).create({} as { name: string }), {
    name: "ValidationError",
    param: "name",
    message: "name: This field is required.",
  });
});

test("what is uploaded needs a name", async (t) => {
  const apiUrl = await serve(t, (_, to) => void to.end('{"success":true,"data":{"id":"d1"}}'));
  const { knowledgeBases, tasks } = new AIVideoAssistant({ apiUrl });
  for (const nameless of ["text", new Blob(["text"])]) {
    const told = { name: "ValidationError", param: "name" };
    await assert.rejects(knowledgeBases.upload("b1", nameless), told);
    await assert.rejects(tasks.files.upload(nameless), ValidationError);
    assert.equal((await knowledgeBases.upload("b1", nameless, { name: "a.txt" })).id, "d1");
  }
  await knowledgeBases.upload("b1", new File(["text"], "b.txt"));
});

test("an answer that fails is an ERROR, and then an error", async (t) => {
  const chunk = { type: "response_chunk", data: { chunk: "Once", accumulated: "Once" } };
  const failed = { type: "event", data: { status: "ERROR", title: "", message: "Stopped." } };
  const apiUrl = await serve(t, (_, to) => {
    to.writeHead(200, { "content-type": "text/event-stream" });
    for (const event of [chunk, failed]) to.write(`data: ${JSON.stringify(event)}\n\n`);
    to.end();
  });
  const { chat } = new AIVideoAssistant({ apiUrl });
  const told: ChatEvent[] = [];
  const reading = async (): Promise<void> => {
    for await (const event of chat.stream("d1", "Hello")) told.push(event);
  };
  await assert.rejects(reading(), (error: ChatFailedError) => {
    assert.ok(error instanceof ChatFailedError);
    assert.deepEqual([error.message, error.text], ["Stopped.", "Once"]);
    return true;
  });
  assert.deepEqual(told, [chunk, failed]);
  await assert.rejects(chat.send("d1", "Hello"), { name: "ChatFailedError", code: "chat.failed" });
});

test("it looks about a minute for a server that restarts", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const fetch = () => Promise.reject(new TypeError("fetch failed"));
  const { tasks } = new AIVideoAssistant({ apiUrl: "http://x.test", fetch });
  const following = tasks.follow("t1").next();
  let isOver = false;
  const over = (): boolean => (isOver = true);
  following.then(over, over);
  while (!isOver) {
    t.mock.timers.tick(500);
    await new Promise(setImmediate);
  }
  await assert.rejects(following, ConnectionError);
  assert.ok(Date.now() > 50_000 && Date.now() < 90_000, `${Date.now()} ms`);
});
