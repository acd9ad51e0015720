import assert from "node:assert/strict";
import { test } from "node:test";
import type { Conversation } from "@ai-video-assistant/sdk";
import { Line, client } from "./support.ts";

/** A conversation over a line that can break, with all the responses it was told of. */
async function talk(line: Line): Promise<{ conversation: Conversation; told: string[] }> {
  const { id } = await client().create({ name: "Reachable", firstTurnMode: "user_first" });
  const conversation = await client({ wsUrl: line.url }).connect(id, { output: "text" });
  const told: string[] = [];
  conversation.on("response", (text) => told.push(text));
  return { conversation, told };
}

test("it goes on after its connection broke, and answers what was said meanwhile", async (t) => {
  const line = await new Line().open(t);
  const { conversation, told } = await talk(line);
  const before = await conversation.sendText("Hello");
  const { sessionId } = conversation;
  for (const text of ["Are you there?", "And now?"]) {
    const reconnected = new Promise((resolve) => conversation.once("reconnected", resolve));
    const noticed = new Promise((resolve) => conversation.once("reconnecting", resolve));
    line.cut();
    await noticed;
    const reply = conversation.sendText(text);
    assert.equal(conversation.state, "reconnecting");
    assert.deepEqual(await reconnected, { isFresh: false, missed: 0 });
    assert.notEqual(await reply, "");
  }
  assert.equal(conversation.sessionId, sessionId);
  assert.equal(told.length, 3);
  assert.equal(told[0], before);
  await conversation.close();
});

for (const side of ["client", "server"] as const) {
  test(`a text that the ${side} said last is answered once, by its own reply`, async (t) => {
    const line = await new Line().open(t);
    const { conversation, told } = await talk(line);
    const hello = await conversation.sendText("Hello");
    const swallowed = line.swallow(side);
    const reply = conversation.sendText("Thank you");
    await swallowed;
    line.cut();
    assert.equal(await reply, "You are welcome.");
    assert.equal(await conversation.sendText("Hello"), hello);
    assert.deepEqual(told, [hello, "You are welcome.", hello]);
    await conversation.close();
  });
}

test("two texts on their way are answered as if nothing had broken", async (t) => {
  const line = await new Line().open(t);
  const { conversation } = await talk(line);
  const swallowed = line.swallow("client");
  const first = conversation.sendText("Well");
  const second = conversation.sendText("Thank you");
  await swallowed;
  line.cut();
  await assert.rejects(first, { name: "InterruptedError" });
  assert.match(await second, /Well\s+Thank you/);
  assert.equal(await conversation.sendText("Thank you"), "You are welcome.");
  await conversation.close();
});

test("it is told of what happened while it was away", async (t) => {
  const line = await new Line().open(t);
  const { conversation, told } = await talk(line);
  const reply = conversation.sendText("Hello");
  // The reply has begun, and the rest of it comes over another connection or not at all.
  await new Promise((resolve) => conversation.once("responseDelta", resolve));
  line.cut();
  assert.notEqual(await reply, "");
  assert.deepEqual(told, [await reply]);
  await conversation.close();
});
