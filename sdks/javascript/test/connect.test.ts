import assert from "node:assert/strict";
import { test } from "node:test";
import { AuthenticationError, ConnectionError, NotFoundError } from "@ai-video-assistant/sdk";
import { client, deadUrl } from "./support.ts";

test("it talks with an assistant that it made", async () => {
  const assistant = client();
  const { id } = await assistant.create({ name: "Talker", opener: "Welcome to the test." });
  const conversation = await assistant.connect(id);
  const opener = await new Promise((resolve) => conversation.on("response", resolve));
  assert.equal(opener, "Welcome to the test.");
  assert.notEqual(await conversation.sendText("Hello"), "");
  await conversation.close();
});

test("it says why it does not connect: a wrong key, an unknown assistant, no server", async (t) => {
  const assistant = client();
  const { id } = await assistant.create({ name: "Unreachable" });
  await assert.rejects(client({ apiKey: "sk-gw-wrong" }).connect(id), AuthenticationError);
  await assert.rejects(assistant.connect("nobody"), NotFoundError);
  const wsUrl = (await deadUrl(t)).replace("http", "ws");
  await assert.rejects(client({ wsUrl }).connect(id), ConnectionError);
  await (await assistant.connect(id)).close();
});

test("it connects without a global WebSocket, and over the one it is given", async (t) => {
  const { WebSocket } = globalThis;
  t.after(() => (globalThis.WebSocket = WebSocket));
  const assistant = client();
  const { id } = await assistant.create({ name: "Old Node" });
  Reflect.deleteProperty(globalThis, "WebSocket");
  const conversation = await assistant.connect(id);
  assert.notEqual(await conversation.sendText("Hello"), "");
  await conversation.close();

  const opened: string[] = [];
  class Told extends WebSocket {
    constructor(url: string, protocols?: string[]) {
      super(url, protocols);
      opened.push(new URL(url).pathname);
    }
  }
  await (await client({ WebSocket: Told }).connect(id)).close();
  assert.deepEqual(opened, ["/ws"]);
});
