import assert from "node:assert/strict";
import { test } from "node:test";
import {
  AIVideoAssistant,
  AuthenticationError,
  ConflictError,
  NotFoundError,
  ValidationError,
} from "@ai-video-assistant/sdk";
import { client, collected, PRODUCT_URL } from "./support.ts";

test("it makes, reads, changes and deletes an assistant", async () => {
  const { assistants } = client();
  const made = await assistants.create({ name: "Rest", prompt: "Be brief." });
  assert.equal((await assistants.get(made.id)).prompt, "Be brief.");
  const changed = await assistants.update(made.id, { prompt: "Be long." });
  assert.deepEqual([changed.name, changed.prompt], ["Rest", "Be long."]);
  assert.equal((await assistants.config(made.id)).name, "Rest");
  await assistants.delete(made.id);
  await assert.rejects(assistants.get(made.id), NotFoundError);
});

test("it lists a page, and goes through all of them", async () => {
  const assistant = client();
  const names = ["Pages 1", "Pages 2", "Pages 3"];
  for (const name of names) await assistant.create({ name });
  const page = await assistant.assistants.list({ keyword: "Pages", page_size: 2 });
  assert.deepEqual([page.items.length, page.total], [2, 3]);
  const all = assistant.assistants.iterate({ keyword: "Pages", page_size: 2 });
  assert.deepEqual((await collected(all)).map(({ name }) => name).sort(), names);
});

test("it goes through the pages of the tools' family", async () => {
  const { resources } = client().tools;
  const made = await resources.create({ name: "Mine", category: "system" });
  const own = await collected(resources.iterate({ include_system: false, page_size: 1 }));
  assert.ok(own.some(({ id }) => id === made.id));
  await resources.delete(made.id as string);
});

test("it knows models, voices, recognisers, tools and the history", async () => {
  const { llm, voices, asr, tools, history, tasks } = client();
  for (const kind of [llm, voices, asr]) assert.ok((await kind.list()).total > 0);
  assert.ok("calculator" in (await tools.list()));
  assert.ok((await tools.get("calculator")).parameters);
  assert.equal(typeof (await history.stats()).total_calls, "number");
  assert.ok((await history.list()).items);
  assert.ok((await tasks.models()).items.length > 0);
});

test("it has a model answer, a voice speak and a recogniser listen", async () => {
  const { llm, voices, asr } = client();
  const [model] = (await llm.list({ model_type: "text" })).items;
  assert.ok((await llm.chat(model!.id, { message: "Hello" })).reply);
  const [voice] = (await voices.list()).items;
  const spoken = await voices.preview(voice!.id, { text: "Hello" });
  const speech = await (await fetch(spoken.audio_url!)).arrayBuffer();
  const [recogniser] = (await asr.list({ language: "en" })).items;
  assert.equal((await asr.transcribe(recogniser!.id, speech)).success, true);
});

test("it calls routes that no resource has, typed by the schema", async () => {
  const assistant = client();
  assert.ok(Array.isArray(await assistant.call("GET /usage/models_list")));
  const { id } = await assistant.call("POST /assistants", { body: { name: "Called" } });
  await assistant.call("DELETE /assistants/{id}", { path: { id } });
});

test("it says what the server refuses, with its words", async () => {
  const assistant = client();
  const wrong = { name: "x", speed: 99 };
  await assert.rejects(assistant.create(wrong), (error: ValidationError) => {
    assert.ok(error instanceof ValidationError);
    assert.deepEqual([error.code, error.status, error.param], ["VALIDATION_ERROR", 400, "speed"]);
    assert.ok(error.message && error.requestId);
    assert.equal(error.retryable, false);
    return true;
  });
  await assistant.assistants.delete((await assistant.create({ ...wrong, speed: 1 })).id);
});

test("it refuses a wrong key, and takes the right one", async () => {
  const wrong = client({ apiKey: "sk-gw-wrong" });
  await assert.rejects(wrong.assistants.list(), AuthenticationError);
  await assert.rejects(wrong.tasks.list(), AuthenticationError);
  await assert.rejects(wrong.chat.dialogs(), AuthenticationError);
  const right = client({ apiKey: process.env["AI_VIDEO_ASSISTANT_API_KEY"] });
  await Promise.all([right.assistants.list(), right.tasks.list(), right.chat.dialogs()]);
});

test("it has the same error for what no family of the API knows", async () => {
  const { assistants, tasks, tools, chat } = client();
  const unknown = "00000000-0000-4000-8000-000000000000";
  const calls = [
    () => assistants.get("nobody"),
    () => tasks.get(unknown),
    () => tools.get("none"),
    () => chat.history("no"),
  ];
  for (const call of calls) {
    await assert.rejects(call(), (error: NotFoundError) => {
      assert.ok(error instanceof NotFoundError, `${error.name}: ${error.message}`);
      assert.notEqual(error.message, "");
      return true;
    });
  }
});

test("it gives a ticket that a browser can connect with", async () => {
  const assistant = client();
  const { id } = await assistant.create({ name: "Ticket", opener: "Welcome." });
  const ticket = await assistant.createTicket(id);
  const page = client({ apiKey: "", ticket: () => Promise.resolve(ticket) });
  const conversation = await page.connect(id);
  await conversation.close();
});

test("it takes the key from the environment and the address with or without a path", async () => {
  for (const apiUrl of [PRODUCT_URL, `${PRODUCT_URL}/`, `${PRODUCT_URL}/api/v1/`]) {
    assert.ok((await new AIVideoAssistant({ apiUrl }).tools.list())["calculator"]);
  }
  for (const options of [{ apiUrl: "localhost" }, { wsUrl: "ftp://x" }, { apiUrl: "" }]) {
    assert.throws(() => new AIVideoAssistant(options), ValidationError);
  }
});

test("it refuses an id that is missing, before it asks", async () => {
  const { assistants } = client();
  await assert.rejects(assistants.get(""), ValidationError);
  await assert.rejects(assistants.delete(undefined as unknown as string), ValidationError);
});

test("it keeps a base from being deleted that an assistant uses, unless forced", async () => {
  const assistant = client();
  const base = await assistant.knowledgeBases.create({ name: "Used" });
  const { id } = await assistant.create({ name: "Reader", knowledgeBaseId: base.id });
  await assert.rejects(assistant.knowledgeBases.delete(base.id), ConflictError);
  await assistant.knowledgeBases.delete(base.id, { force: true });
  assert.equal((await assistant.assistants.get(id)).knowledgeBaseId, null);
});
