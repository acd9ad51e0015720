/** What a program is told when a server stops, stays away, or a tool of its own fails. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  AIVideoAssistant,
  ConnectionError,
  ResumeExpiredError,
  ToolError,
  ToolFailure,
  ValidationError,
} from "@ai-video-assistant/sdk";
import { FakeServer, settled } from "./fakesocket.ts";
import { deadUrl, serve } from "./support.ts";

test("a session that the server stopped is over at once", async () => {
  const server = new FakeServer();
  const conversation = await server.connect();
  await settled();
  const reply = conversation.sendText("Hello");
  server.event("session.stopped", { reason: "server_shutdown" });
  server.socket.end(1001);
  const { code, reason, error } = await conversation.closed;
  assert.deepEqual([code, reason, error?.name], [1001, "server_shutdown", "ConnectionError"]);
  await assert.rejects(reply, ConnectionError);
  await assert.rejects(conversation.sendText("Still there?"), ConnectionError);
  assert.equal(server.sockets.length, 1);
});

test("a session whose server goes away without a word goes on at another", async () => {
  const server = new FakeServer();
  await server.connect();
  await settled();
  const opening = server.nextSocket();
  server.socket.end(1001);
  assert.equal((await opening).sent[0]?.type, "session.resume");
});

test("it says that nobody was there, and how long it looked", async () => {
  const server = new FakeServer();
  const conversation = await server.connect({ reconnect: { giveUpAfterMs: 1 } });
  await settled();
  const reply = conversation.sendText("Hello");
  server.nextSocket().then((socket) => socket.end(1006));
  server.socket.end(1006);
  const message = "The server at ws://example.test/ws was not reachable for 0.001 s.";
  const told = { name: "ConnectionError", code: "connection.unreachable", message };
  await assert.rejects(reply, told);
});

test("a conversation that came back too late has an error of its own", async () => {
  const server = new FakeServer();
  const conversation = await server.connect();
  await settled();
  const opening = server.nextSocket();
  server.socket.end(1006);
  await opening;
  server.socket.end(4410);
  const { code, error } = await conversation.closed;
  assert.deepEqual([code, error instanceof ResumeExpiredError], [4410, true]);
});

test("it tells the program that a tool of it broke or is missing, but not that one refuses", async () => {
  const server = new FakeServer();
  const cause = new Error("Broken.");
  const tools = {
    fail: () => {
      throw cause;
    },
    refuse: () => {
      throw new ToolFailure("Not at night.", 409);
    },
  };
  const conversation = await server.connect({ tools });
  const errors: unknown[] = [];
  conversation.on("error", (error) => errors.push(error));
  for (const name of ["fail", "refuse", "fly"]) {
    server.call(1, name, name);
    await settled();
  }
  assert.deepEqual(server.answers().map(({ code }) => code), [500, 409, 501]);
  const told = errors.map((error) => {
    assert.ok(error instanceof ToolError);
    return [error.code, error.toolName, error.cause];
  });
  assert.deepEqual(told, [
    ["tool.failed", "fail", cause],
    ["tool.missing", "fly", undefined],
  ]);
});

test("a listener that throws is reported, and the conversation goes on", async (t) => {
  const reported = t.mock.method(console, "error", () => undefined);
  const server = new FakeServer();
  const conversation = await server.connect();
  const mistake = new Error("Mistaken.");
  conversation.on("response", () => {
    throw mistake;
  });
  const reply = conversation.sendText("Hello");
  server.final(1, "Hi.");
  assert.equal(await reply, "Hi.");
  assert.equal(reported.mock.calls[0]?.arguments[1], mistake);
});

test("half a sample is no sound", async () => {
  const server = new FakeServer();
  const conversation = await server.connect();
  assert.throws(() => conversation.sendAudio(new Uint8Array(641)), ValidationError);
  conversation.sendAudio(new Uint8Array(640));
  assert.equal(server.socket.heard.length, 1);
});

test("a conversation begins within the client's time-out", async () => {
  const { WebSocket } = new FakeServer();
  const assistant = new AIVideoAssistant({ apiUrl: "http://x.test", timeoutMs: 10, WebSocket });
  await assert.rejects(assistant.connect("a1", { output: "text" }), { name: "TimeoutError" });
});

test("it says where no voice server is, and why", async (t) => {
  const dead = (await deadUrl(t)).replace("http", "ws");
  const other = (await serve(t, (_, to) => void to.writeHead(404).end())).replace("http", "ws");
  for (const [wsUrl, why] of [
    [dead, "ECONNREFUSED"],
    [other, "it answered with status 404 in place of a WebSocket"],
  ] as const) {
    const message = `The server at ${wsUrl}/ws cannot be reached: ${why}.`;
    await assert.rejects(new AIVideoAssistant({ wsUrl }).connect("a1"), {
      name: "ConnectionError",
      message,
    });
  }
});
