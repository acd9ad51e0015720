/** What takes its time on the server: documents, tasks, written answers. */

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  AbortedError,
  AssistantError,
  ConnectionError,
  NotFoundError,
  TimeoutError,
  type TaskEvent,
} from "@ai-video-assistant/sdk";
import { client, collected, Line } from "./support.ts";

/** One task at a time is all that a user may have; these tests take turns. */
const oneAtATime = { concurrency: 1 };

test("it uploads documents, waits until they can be found, and finds them", async () => {
  const { knowledgeBases } = client();
  const base = await knowledgeBases.create({ name: "Manual" });
  const file = new File(["The reset button is under the lid."], "reset.txt");
  const document = await knowledgeBases.upload(base.id, file);
  assert.equal(document.name, "reset.txt");
  await knowledgeBases.addText(base.id, { name: "más.txt", content: "The lid is blue." });
  const ready = await knowledgeBases.waitUntilReady(base.id);
  assert.deepEqual(ready.map(({ name }) => name).sort(), ["más.txt", "reset.txt"]);
  const { results } = await knowledgeBases.search(base.id, "Where is the reset button?");
  assert.match(results[0]!.content, /under the lid/);
  await knowledgeBases.deleteDocument(base.id, document.id);
  assert.equal((await collected(knowledgeBases.documents(base.id))).length, 1);
});

test("it does not wait for a document that failed, nor for ever", async () => {
  const { knowledgeBases } = client();
  const base = await knowledgeBases.create({ name: "Broken" });
  const broken = await knowledgeBases.upload(base.id, "not a PDF", { name: "broken.pdf" });
  const wait = knowledgeBases.waitUntilReady(base.id, broken.id);
  await assert.rejects(wait, (error: AssistantError) => {
    assert.match(error.message, /^broken\.pdf: ./);
    return true;
  });
  const added = await knowledgeBases.addText(base.id, { name: "a.txt", content: "a" });
  const hasty = knowledgeBases.waitUntilReady(base.id, added.id, { withinMs: -1 });
  await assert.rejects(
    hasty.then(() => Promise.reject(new TimeoutError("ready", "It was ready at once."))),
    TimeoutError,
  );
});

test("tasks", oneAtATime, async (t) => {
  const { tasks } = client();

  await t.test("it follows a task to its end, and reads its log again from anywhere", async () => {
    const { task_id } = await tasks.send("Say hello.");
    const events = await collected(tasks.follow(task_id));
    assertComplete(events, 0);
    assert.deepEqual((await tasks.get(task_id)).status, "succeeded");
    const later = await collected(tasks.follow(task_id, { from: 2 }));
    assert.deepEqual(later, events.slice(2));
    assert.deepEqual(await collected(tasks.follow(task_id, { from: events.length })), []);
  });

  await t.test("it misses nothing where the connection breaks", async (t) => {
    const line = await new Line().open(t);
    const { task_id } = await tasks.send("Count to ten.");
    const events: TaskEvent[] = [];
    for await (const event of client({ apiUrl: line.url }).tasks.follow(task_id)) {
      events.push(event);
      if (events.length === 2 || events.length === 4) line.cut();
    }
    assertComplete(events, 0);
  });

  await t.test("it stops following when the caller does", async () => {
    const { task_id } = await tasks.send("Count to ten.");
    const stop = new AbortController();
    await assert.rejects(async () => {
      for await (const _event of tasks.follow(task_id, { signal: stop.signal })) stop.abort();
    }, AbortedError);
    await tasks.cancel(task_id);
    assertComplete(await collected(tasks.follow(task_id)), 0);
  });

  await t.test("it gives up a server that is gone, and a task that is none", async (t) => {
    const line = await new Line().open(t);
    const { task_id } = await tasks.send("Say hello.");
    await collected(tasks.follow(task_id));
    const lost = client({ apiUrl: line.url, fetch: (...given) => (line.cut(), fetch(...given)) });
    const gone = client({ apiUrl: "http://127.0.0.1:1" });
    await assert.rejects(collected(gone.tasks.follow(task_id, { maxRetries: 1 })), ConnectionError);
    assert.ok((await collected(lost.tasks.follow(task_id))).length > 0);
    const unknown = "00000000-0000-4000-8000-000000000000";
    await assert.rejects(collected(tasks.follow(unknown)), NotFoundError);
  });
});

test("it keeps files and conversations of tasks", async () => {
  const { files, conversations } = client().tasks;
  const bytes = new Uint8Array([0, 255, 10, 13]);
  const { path } = await files.upload(bytes, { name: "bytes.bin", dir: "sub" });
  assert.deepEqual((await files.list("sub")).items.map(({ name }) => name), ["bytes.bin"]);
  const back = await (await files.download(path)).bytes();
  assert.deepEqual([...back], [...bytes]);
  await files.delete(path);
  await assert.rejects(files.download(path), NotFoundError);
  const { conversation_id } = await conversations.create();
  assert.deepEqual((await conversations.get(conversation_id, { full: true })).messages, []);
  await conversations.delete(conversation_id);
});

test("it chats in writing, as the answer comes and as a whole", async () => {
  const assistant = client();
  const { id } = await assistant.create({ name: "Writer" });
  const { dialog_id } = await assistant.chat.createDialog(id);
  let text = "";
  for await (const event of assistant.chat.stream(dialog_id, "Hello")) {
    if (event.type === "response_chunk") text = event.data.accumulated;
  }
  const [question, answer] = await assistant.chat.history(dialog_id);
  assert.deepEqual([question?.content, answer?.content], ["Hello", text]);
  assert.notEqual(await assistant.chat.send(dialog_id, "And again?"), "");
  assert.ok((await assistant.chat.dialogs()).some((dialog) => dialog.dialog_id === dialog_id));
  await assistant.chat.deleteDialog(dialog_id);
  await assert.rejects(assistant.chat.send(dialog_id, "Still there?"), NotFoundError);
});

/** Every event from that one on, once and in order, and one that ends the task, at the end. */
function assertComplete(events: TaskEvent[], from: number): void {
  assert.deepEqual(
    events.map(({ idx }) => idx),
    events.map((_, position) => from + position),
  );
  assert.match(events.at(-1)!.type, /^(task_complete|task_stopped|error)$/);
}
