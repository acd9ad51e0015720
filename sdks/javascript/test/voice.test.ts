import assert from "node:assert/strict";
import { test } from "node:test";
import {
  AIVideoAssistant,
  type AssistantError,
  type Closing,
  ConnectionError,
  InterruptedError,
  ToolFailure,
} from "@ai-video-assistant/sdk";
import { FakeServer, type FakeSocket, ids, next, settled } from "./fakesocket.ts";

// --- beginning -----------------------------------------------------------------------------------
test("it begins with the credential, the assistant and what it was told", async () => {
  const server = new FakeServer();
  const variables = { name: "Ada" };
  const overrides = { tools: [] };
  const conversation = await server.connect({ variables, source: "test", overrides });
  assert.equal(server.socket.url.href, "ws://example.test/ws?assistant_id=a1");
  assert.deepEqual(server.socket.protocols, ["bearer", "sk-test"]);
  const [start] = server.got("session.start");
  assert.deepEqual(start?.["audio"], { encoding: "pcm_s16le", sample_rate_hz: 16000, channels: 1 });
  assert.deepEqual(start?.["metadata"], {
    channel: "api",
    source: "test",
    dynamicVariables: variables,
    overrides: { output: { mode: "text" }, tools: [] },
    capabilities: ["spoken_prompts", "resume"],
  });
  assert.equal(conversation.sessionId, "s1");
  assert.equal(conversation.state, "listening");
});

test("it tells listeners of what comes in the same breath as the beginning", async () => {
  const server = new FakeServer();
  const conversation = await server.connect({}, () => server.final(0, "Welcome!"));
  const types: string[] = [];
  conversation.on("event", ({ type }) => types.push(type));
  assert.equal(await next(conversation, "response"), "Welcome!");
  assert.deepEqual(types, ["session.started", "assistant.response.final"]);
});

for (const { code, closeCode, name } of [
  { code: "auth.invalid_api_key", closeCode: 4401, name: "AuthenticationError" },
  { code: "auth.forbidden", closeCode: 4403, name: "PermissionError" },
  { code: "assistant.not_found", closeCode: 4404, name: "NotFoundError" },
  { code: "rate_limit.connections", closeCode: 4429, name: "RateLimitError" },
]) {
  test(`it says why the server refuses it: ${code}`, async () => {
    const server = new FakeServer();
    const { WebSocket } = server;
    const assistant = new AIVideoAssistant({ apiUrl: "http://x.test", WebSocket });
    const opening = server.nextSocket();
    const connecting = assistant.connect("a1", { output: "text" });
    await opening;
    server.event("error", { code, message: "No.", stage: "protocol" });
    server.socket.end(closeCode);
    await assert.rejects(connecting, { name, code, message: "No.", closeCode });
  });
}

test("it does not wait for ever for a server that says nothing", async () => {
  const server = new FakeServer();
  const assistant = new AIVideoAssistant({ apiUrl: "http://x.test", WebSocket: server.WebSocket });
  const connecting = assistant.connect("a1", { output: "text", timeoutMs: 10 });
  await assert.rejects(connecting, { name: "TimeoutError" });
  assert.notEqual(server.socket.closedWith, undefined);
});

test("a connection may be given up before it has begun", async () => {
  const server = new FakeServer();
  const aborter = new AbortController();
  const assistant = new AIVideoAssistant({ apiUrl: "http://x.test", WebSocket: server.WebSocket });
  const opening = server.nextSocket();
  const connecting = assistant.connect("a1", { output: "text", signal: aborter.signal });
  await opening;
  aborter.abort();
  await assert.rejects(connecting, { name: "AbortedError" });
  const late = assistant.connect("a1", { output: "text", signal: aborter.signal });
  await assert.rejects(late, { name: "AbortedError" });
  assert.equal(server.sockets.length, 1);
});

// --- replies -------------------------------------------------------------------------------------
test("a text gets its own reply, not the opener that is on its way", async () => {
  const server = new FakeServer();
  const conversation = await server.connect();
  const all: string[] = [];
  conversation.on("response", (text, reply) => all.push(`${reply.isOpener} ${text}`));
  const reply = conversation.sendText("What time is it?");
  assert.equal(conversation.state, "thinking");
  server.final(0, "Welcome!");
  server.delta(1, "Four ");
  server.final(1, "Four o'clock.");
  assert.equal(await reply, "Four o'clock.");
  assert.deepEqual(all, ["true Welcome!", "false Four o'clock."]);
  assert.equal(conversation.state, "listening");
});

test("a text that interrupts the one before gets its reply, and that one an error", async () => {
  const server = new FakeServer();
  const conversation = await server.connect();
  const first = conversation.sendText("Tell me a story.");
  server.delta(1, "Once");
  const second = conversation.sendText("A short one.");
  const third = conversation.sendText("Very short.");
  server.interrupted(1, "input_text", "Once");
  server.interrupted(2, "input_text");
  server.final(3, "The end.");
  assert.equal(await third, "The end.");
  const interrupted = await first.catch((error: unknown) => error);
  assert.ok(interrupted instanceof InterruptedError);
  assert.equal(interrupted.interruption.heardText, "Once");
  await assert.rejects(second, { name: "InterruptedError", code: "response.interrupted" });
});

test("a text is not taken for answered by what was spoken before it", async () => {
  const server = new FakeServer();
  const conversation = await server.connect();
  const reply = conversation.sendText("Hello");
  server.event("transcript.final", { ...ids(1), utterance_id: "utt_1", text: "hello?" });
  server.delta(1, "You said hello");
  server.interrupted(1, "input_text");
  server.final(2, "You wrote hello.");
  assert.equal(await reply, "You wrote hello.");
});

test("nor by the answer to words that were understood late", async () => {
  const server = new FakeServer();
  const conversation = await server.connect();
  const first = conversation.sendText("Hello");
  server.delta(2, "Hel");
  server.event("transcript.final", { ...ids(1), utterance_id: "utt_1", text: "by the way" });
  server.final(2, "Hello!");
  assert.equal(await first, "Hello!");
  const second = conversation.sendText("And?");
  server.interrupted(3, "input_text");
  server.final(4, "And more.");
  assert.equal(await second, "And more.");
});

test("nor by a prompt that the assistant says by itself", async () => {
  const server = new FakeServer();
  const conversation = await server.connect();
  const reply = conversation.sendText("Hello");
  const waits = { wait_for_response: false, spoken: true };
  server.call(0, "c1", "voice_msg_prompt", waits);
  server.delta(1, "Mind the step!");
  server.interrupted(1, "input_text");
  server.final(2, "Hello!");
  assert.equal(await reply, "Hello!");
});

test("a text that chooses an option gets the rest of the reply that asked", async () => {
  const server = new FakeServer();
  const tools = { text_choice_prompt: () => new Promise(() => undefined) };
  const conversation = await server.connect({ tools });
  const first = conversation.sendText("A drink, please.");
  server.call(1, "c1", "text_choice_prompt");
  await settled();
  const second = conversation.sendText("Tea");
  server.result(1, "c1", "text_choice_prompt");
  server.final(1, "Here you are.");
  assert.deepEqual(await Promise.all([first, second]), ["Here you are.", "Here you are."]);
  assert.deepEqual(server.answers(), []);
});

test("a reply that fails is an error for who waits, and the conversation goes on", async () => {
  const server = new FakeServer();
  const conversation = await server.connect();
  const told: AssistantError[] = [];
  conversation.on("error", (error) => told.push(error));
  const failing = conversation.sendText("Hello");
  const failure = { code: "llm.failed", message: "No model.", stage: "llm", retryable: true };
  server.event("error", { ...ids(1), ...failure });
  await assert.rejects(failing, { name: "ConversationError", code: "llm.failed", stage: "llm" });
  assert.deepEqual(told.map(({ code }) => code), ["llm.failed"]);
  const refused = conversation.sendText("Hello?");
  server.event("error", { code: "rate_limit.turns", message: "Slowly.", stage: "protocol" });
  await assert.rejects(refused, { code: "rate_limit.turns" });
  const fine = conversation.sendText("Hello!");
  // It goes on without its voice.
  server.event("error", { ...ids(2), code: "tts.failed", message: "No voice.", stage: "tts" });
  server.final(2, "Hi.");
  assert.equal(await fine, "Hi.");
});

test("it never waits for ever, nor for a text that cannot be sent", async () => {
  const server = new FakeServer();
  const conversation = await server.connect();
  await assert.rejects(conversation.sendText(" \n"), { name: "ValidationError" });
  await assert.rejects(conversation.sendText("x".repeat(8001)), { name: "ValidationError" });
  await assert.rejects(conversation.sendText("Hello", { timeoutMs: 5 }), { name: "TimeoutError" });
  const signal = AbortSignal.timeout(5);
  await assert.rejects(conversation.sendText("Hello", { signal }), { name: "AbortedError" });
  assert.equal(server.got("input.text").length, 2);
  const late = conversation.sendText("Hello");
  server.final(1, "To the first.");
  server.final(2, "To the second.");
  server.final(3, "To the third.");
  assert.equal(await late, "To the third.");
});

test("it may be ignored what becomes of a text", async () => {
  const server = new FakeServer();
  const conversation = await server.connect();
  void conversation.sendText("Hello");
  server.interrupted(1, "barge_in");
  // An unhandled rejection would fail this test.
  await settled();
});

// --- events --------------------------------------------------------------------------------------
test("it passes on what it does not know, and survives what makes no sense", async () => {
  const server = new FakeServer();
  const conversation = await server.connect();
  await settled();
  const seen: unknown[] = [];
  conversation.on("event", ({ type, data }) => seen.push([type, data["mood"]]));
  server.event("assistant.mood", { mood: "sunny" });
  server.socket.say("{not json");
  server.socket.say("42");
  server.event("error", { code: "asr.failed", message: "Nobody listens to this.", stage: "asr" });
  assert.deepEqual(seen, [["assistant.mood", "sunny"], ["error", undefined]]);
  assert.equal(conversation.state, "listening");
});

test("it says whose turn it is", async () => {
  const server = new FakeServer();
  const conversation = await server.connect({ output: "audio" });
  await settled();
  const states: string[] = [];
  conversation.on("state", (state) => states.push(state));
  server.event("input.speech_started", { utterance_id: "utt_1", probability: 0.9 });
  server.event("input.speech_stopped", { utterance_id: "utt_1", probability: 0.1 });
  server.event("transcript.final", { ...ids(1), utterance_id: "utt_1", text: "Hello" });
  server.event("output.audio.start", ids(1));
  server.event("output.audio.end", ids(1));
  server.final(1, "Hi.");
  assert.deepEqual(states, ["hearing", "listening", "thinking", "speaking", "listening"]);
});

test("it tells of sources, interruptions and transcripts in its own words", async () => {
  const server = new FakeServer();
  const conversation = await server.connect();
  await settled();
  const told: unknown[] = [];
  conversation.on("sources", ([source]) => told.push([source?.index, source?.knowledgeBaseId]));
  conversation.on("interrupted", ({ reason, heardText }) => told.push([reason, heardText]));
  conversation.on("transcript", ({ text, isFinal }) => told.push([text, isFinal]));
  server.event("transcript.delta", { ...ids(1), utterance_id: "utt_1", text: "How" });
  const citation = { index: 1, document: "a.pdf", page: 2, text: "…", knowledge_base_id: "kb" };
  server.event("assistant.citations", { ...ids(1), citations: [citation] });
  server.interrupted(1, "barge_in", "It is");
  assert.deepEqual(told, [["How", false], [1, "kb"], ["barge_in", "It is"]]);
});

// --- sound ---------------------------------------------------------------------------------------
test("it sends speech in whole frames, however it comes", async () => {
  const server = new FakeServer();
  const conversation = await server.connect();
  const speech = Uint8Array.from({ length: 1500 }, (_, at) => at % 251);
  conversation.sendAudio(speech.subarray(0, 100));
  conversation.sendAudio(speech.slice(100, 700).buffer);
  conversation.sendAudio(new DataView(speech.buffer, 700));
  const heard = server.socket.heard.flatMap((piece) => [...piece]);
  assert.deepEqual(heard, [...speech.subarray(0, 1280)]);
  conversation.sendAudio(new Uint8Array(200_000));
  assert.ok(server.socket.heard.every(({ length }) => length % 640 === 0 && length <= 65536));
});

test("it gives out the sound of a reply until that is cut off", async () => {
  const server = new FakeServer();
  const conversation = await server.connect({ output: "audio" });
  await settled();
  const sounds: unknown[] = [];
  conversation.on("audio", (pcm, { ttsId }) => sounds.push([ttsId, pcm.byteLength]));
  server.socket.say(new ArrayBuffer(640));
  server.event("output.audio.start", ids(1));
  server.socket.say(new ArrayBuffer(1280));
  server.event("output.audio.clear", ids(1));
  server.socket.say(new ArrayBuffer(640));
  assert.deepEqual(sounds, [["tts_1", 1280]]);
});

test("without a browser there is no microphone, and writing goes on", async () => {
  const server = new FakeServer();
  const conversation = await server.connect();
  await assert.rejects(conversation.startMicrophone(), {
    name: "UnsupportedError",
    code: "microphone.unsupported",
  });
  const reply = conversation.sendText("Hello");
  server.final(1, "Hi.");
  assert.equal(await reply, "Hi.");
});

// --- tools ---------------------------------------------------------------------------------------
test("it does what the assistant asks, and says what it cannot do", async () => {
  const server = new FakeServer();
  const tools = {
    dim: async ({ level }: { level?: number }) => ({ level }),
    refuse: () => {
      throw new ToolFailure("Not at night.", 409);
    },
    fail: () => Promise.reject(new Error("Broken.")),
    confuse: () => 1n,
  };
  const conversation = await server.connect({ tools });
  await settled();
  const asked: unknown[] = [];
  conversation.on("toolCall", ({ name, isWaited }) => asked.push([name, isWaited]));
  for (const name of ["dim", "refuse", "fail", "confuse", "fly", "toString"]) {
    server.call(1, name, name);
    await settled();
  }
  assert.deepEqual(server.answers(), [
    { code: 200, output: { level: 3 } },
    { code: 409, output: "" },
    { code: 500, output: "" },
    { code: 500, output: "" },
    { code: 501, output: "" },
    { code: 501, output: "" },
  ]);
  assert.equal(asked.length, 6);
});

test("of what nobody waits for it tells only that it failed", async () => {
  const server = new FakeServer();
  const tools = { dim: () => "done", fail: () => Promise.reject(new Error("Broken.")) };
  await server.connect({ tools });
  await settled();
  for (const name of ["dim", "fail"]) {
    server.call(1, name, name, { wait_for_response: false });
    server.result(1, name, name);
  }
  await settled();
  assert.deepEqual(server.answers().map(({ code }) => code), [500]);
});

test("it takes back what the server settled or nobody may ask any more", async () => {
  const server = new FakeServer();
  const signals: AbortSignal[] = [];
  const tools = {
    ask: async (_args: unknown, { signal }: { signal: AbortSignal }) => {
      signals.push(signal);
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      return "too late";
    },
  };
  const conversation = await server.connect({ tools });
  await settled();
  server.call(1, "c1", "ask");
  server.call(2, "c1", "ask");
  server.result(1, "c1", "ask", 504);
  assert.deepEqual(signals.map(({ aborted }) => aborted), [true, false]);
  server.socket.end(1011);
  server.sockets.at(-1)?.end(1006);
  void conversation.close();
  await settled();
  assert.deepEqual(signals.map(({ aborted }) => aborted), [true, true]);
  assert.deepEqual(server.answers(), []);
});

test("what the server has refused already is not done", async () => {
  const server = new FakeServer();
  let isDone = false;
  await server.connect({ tools: { dim: () => (isDone = true) } });
  await settled();
  server.call(1, "c1", "dim", { function: { name: "dim", arguments: "level three" } });
  await settled();
  assert.equal(isDone, false);
  assert.deepEqual(server.answers(), []);
});

// --- the end -------------------------------------------------------------------------------------
test("it ends once and in order, and nothing waits any more", async () => {
  const server = new FakeServer();
  const conversation = await server.connect();
  const endings: Closing[] = [];
  conversation.on("close", (closing) => endings.push(closing));
  const reply = conversation.sendText("Hello");
  const closing = conversation.close();
  await assert.rejects(conversation.sendText("Are you there?"), ConnectionError);
  server.event("session.stopped", { reason: "client" });
  server.socket.end(1000);
  await Promise.all([closing, conversation.close()]);
  await assert.rejects(reply, { name: "ConnectionError", code: "conversation.closed" });
  assert.deepEqual(endings, [{ code: 1000, reason: "client", error: null }]);
  assert.deepEqual(await conversation.closed, endings[0]);
  assert.equal(conversation.state, "closed");
  assert.deepEqual(server.got("session.stop").length, 1);
});

test("it ends where the connection breaks during the goodbye, and does not come back", async () => {
  const server = new FakeServer();
  const conversation = await server.connect();
  await settled();
  const closing = conversation.close();
  server.socket.end(1006);
  await closing;
  assert.deepEqual(await conversation.closed, { code: 1000, reason: "client", error: null });
  assert.equal(server.sockets.length, 1);
});

test("it says why the server has ended it", async () => {
  const server = new FakeServer();
  const conversation = await server.connect();
  const reply = conversation.sendText("Hello");
  server.event("error", { code: "auth.invalid_api_key", message: "Revoked.", stage: "protocol" });
  server.event("session.stopped", { reason: "auth" });
  server.socket.end(4401);
  await assert.rejects(reply, { name: "AuthenticationError" });
  const { code, reason, error } = await conversation.closed;
  assert.deepEqual([code, reason, error?.name], [4401, "auth", "AuthenticationError"]);
});

// --- another connection --------------------------------------------------------------------------
test("it goes on where the connection broke, and nothing is told or answered twice", async () => {
  const server = new FakeServer();
  const conversation = await server.connect();
  await settled();
  const texts: string[] = [];
  const states: string[] = [];
  conversation.on("response", (text) => texts.push(text));
  conversation.on("state", (state) => states.push(state));
  const sent = conversation.sendText("Before");
  server.delta(1, "To ");
  const opening = server.nextSocket();
  // It closes a moment before it says so.
  server.socket.readyState = 2;
  const queued = conversation.sendText("Meanwhile");
  server.socket.end(1006);
  for (let at = 0; at < 150; at += 1) conversation.sendAudio(new Uint8Array(640).fill(at));
  const socket = await opening;
  assert.deepEqual(socket.sent, [
    { type: "session.resume", session_id: "s1", resume_token: "token-1", last_seq: 2 },
  ]);
  const more = { missed: 2, resume_token: "token-2", resume_within_s: 60 };
  server.event("session.resumed", { session_id: "s1", ...more }, 2);
  server.event("assistant.response.delta", { ...ids(1), text: "To " }, 2);
  server.final(1, "To before.");
  assert.deepEqual(socket.sent.slice(1), [{ type: "input.text", text: "Meanwhile" }]);
  // Of three seconds, the last two.
  const heard = socket.heard.map(([first]) => first);
  assert.deepEqual(heard, Array.from({ length: 100 }, (_, at) => at + 50));
  server.final(2, "To meanwhile.");
  assert.deepEqual(await Promise.all([sent, queued]), ["To before.", "To meanwhile."]);
  assert.deepEqual(texts, ["To before.", "To meanwhile."]);
  assert.deepEqual(states, ["thinking", "reconnecting", "thinking", "listening"]);
  const again = server.nextSocket();
  server.socket.end(1001);
  assert.equal((await again).sent[0]?.["resume_token"], "token-2");
});

const resumed = (server: FakeServer, more: object): void =>
  server.event("session.resumed", { missed: 0, resume_token: "t", resume_within_s: 60, ...more }, 1);

const texts = (socket: FakeSocket): unknown[] =>
  socket.sent.filter(({ type }) => type === "input.text").map(({ text }) => text);

test("what the server has not received is said again, in order and before all else", async () => {
  const server = new FakeServer();
  const conversation = await server.connect();
  await settled();
  const replies = ["One", "Two"].map((text) => conversation.sendText(text));
  const opening = server.nextSocket();
  server.socket.end(1006);
  conversation.sendAudio(new Uint8Array(640));
  conversation.commit();
  replies.push(conversation.sendText("Three"));
  // In the same breath as it is back.
  conversation.once("reconnected", () => replies.push(conversation.sendText("Four")));
  const socket = await opening;
  resumed(server, { received: 1 });
  const [, ...said] = socket.sent.map(({ text, type }) => text ?? type);
  assert.deepEqual(said, ["Two", "input.commit", "Three", "Four"]);
  assert.equal(socket.heard.length, 1);
  const another = server.nextSocket();
  socket.end(1006);
  // "Two" and the commit are the second and the third.
  const last = await another;
  resumed(server, { received: 3 });
  assert.deepEqual(texts(last), ["Three", "Four"]);
  for (const turn of [1, 2, 3, 4]) server.final(turn, `To ${turn}.`);
  assert.deepEqual(await Promise.all(replies), ["To 1.", "To 2.", "To 3.", "To 4."]);
});

test("of what the server says it has, nothing is said again", async () => {
  const server = new FakeServer();
  const conversation = await server.connect();
  await settled();
  for (const text of ["One", "Two"]) conversation.sendText(text).catch(() => undefined);
  server.event("heartbeat", { received: 2 });
  conversation.sendText("Three").catch(() => undefined);
  const opening = server.nextSocket();
  server.socket.end(1006);
  const socket = await opening;
  resumed(server, { received: 2 });
  assert.deepEqual(texts(socket), ["Three"]);
  // From before the connection broke, and sent again.
  server.event("heartbeat", { received: 1 });
  const another = server.nextSocket();
  socket.end(1006);
  const last = await another;
  resumed(server, { received: 3 });
  assert.deepEqual(texts(last), []);
});

test("a torrent of messages is not kept for ever", async () => {
  const server = new FakeServer();
  const conversation = await server.connect();
  await settled();
  for (let at = 0; at < 1200; at += 1) conversation.cancel();
  const opening = server.nextSocket();
  server.socket.end(1006);
  const socket = await opening;
  resumed(server, { received: 0 });
  assert.equal(socket.sent.length, 1 + 1000);
  const another = server.nextSocket();
  socket.end(1006);
  const last = await another;
  resumed(server, { received: 990 });
  assert.equal(last.sent.length, 1 + 10);
});

test("sound that came before the connection broke is not heard twice", async () => {
  const server = new FakeServer();
  const conversation = await server.connect({ output: "audio" });
  await settled();
  let heard = 0;
  conversation.on("audio", ({ byteLength }) => (heard += byteLength));
  server.event("output.audio.start", ids(1));
  server.socket.say(new ArrayBuffer(3200));
  const opening = server.nextSocket();
  server.socket.end(1006);
  await opening;
  const audio = { ...ids(1), offset_ms: 60 };
  const told = { session_id: "s1", missed: 0, resume_token: "t", resume_within_s: 60, audio };
  server.event("session.resumed", told, 2);
  server.socket.say(new ArrayBuffer(640));
  server.socket.say(new ArrayBuffer(1280));
  assert.equal(heard, 3200 + 640);
});

test("a session that is gone is closed with the reason", async () => {
  const server = new FakeServer();
  const conversation = await server.connect();
  await settled();
  const reply = conversation.sendText("Hello");
  const opening = server.nextSocket();
  server.socket.end(1006);
  await opening;
  const code = "session.resume_expired";
  server.event("error", { code, message: "Too late.", stage: "protocol" });
  server.socket.end(4410);
  const closing = await conversation.closed;
  assert.deepEqual([closing.code, closing.error?.code], [4410, code]);
  await assert.rejects(reply, { code });
});

test("another session takes its place where that is wanted", async () => {
  const server = new FakeServer();
  const conversation = await server.connect({ reconnect: { fresh: true } });
  await settled();
  const lost = conversation.sendText("Before");
  const resuming = server.nextSocket();
  server.socket.end(1006);
  const queued = conversation.sendText("Meanwhile");
  conversation.cancel();
  await resuming;
  const opening = server.nextSocket();
  // A server that knows nothing of resuming.
  server.event("error", { code: "protocol.invalid_message", message: "?", stage: "protocol" });
  const socket = await opening;
  const reconnected = next(conversation, "reconnected");
  server.restart();
  server.event("session.started", { sessionId: "s2" });
  assert.deepEqual(await reconnected, { isFresh: true, missed: 0 });
  assert.deepEqual(socket.sent.map(({ type }) => type), ["session.start", "input.text"]);
  server.final(0, "Welcome again!");
  server.final(1, "To meanwhile.");
  assert.equal(await queued, "To meanwhile.");
  await assert.rejects(lost, ConnectionError);
});

for (const { name, options, resume } of [
  { name: "that is not wanted", options: { reconnect: false }, resume: undefined },
  { name: "the server offers none", options: {}, resume: {} },
]) {
  test(`a lost connection is the end where ${name}`, async () => {
    const server = new FakeServer();
    const conversation = await server.connect(options, undefined, resume);
    await settled();
    const reply = conversation.sendText("Hello");
    server.socket.end(1006);
    await assert.rejects(reply, { name: "ConnectionError", code: "connection.lost" });
    const { code, error } = await conversation.closed;
    assert.deepEqual([code, error?.name], [1006, "ConnectionError"]);
  });
}

test("it gives up a server that stays away, and may be closed while it tries", async () => {
  const server = new FakeServer();
  const giving = await server.connect({ reconnect: { giveUpAfterMs: 1 } });
  await settled();
  server.nextSocket().then((socket) => socket.end(1006));
  server.socket.end(1006);
  assert.equal((await giving.closed).error?.code, "connection.unreachable");
  const other = new FakeServer();
  const closing = await other.connect();
  await settled();
  other.socket.end(1006);
  assert.equal(closing.state, "reconnecting");
  await closing.close();
  assert.deepEqual(await closing.closed, { code: 1000, reason: "client", error: null });
});
