/** A server's side of the voice socket, played by the test. */
import assert from "node:assert/strict";
import { after } from "node:test";
import {
  AIVideoAssistant,
  type Conversation,
  type ConversationOptions,
  type ServerEvent,
} from "@ai-video-assistant/sdk";

type Listener = (event: never) => void;
type Sent = Record<string, unknown> & { type: string };

/** One socket that the SDK has opened. */
export class FakeSocket {
  binaryType = "blob";
  readyState = 0;
  readonly url: URL;
  readonly protocols: string[];
  readonly sent: Sent[] = [];
  /** Bytes of sound. */
  readonly heard: Uint8Array[] = [];
  closedWith: number | undefined;
  readonly #listeners = new Map<string, Listener[]>();

  constructor(url: string, protocols: string[] = []) {
    this.url = new URL(url);
    this.protocols = protocols;
  }

  addEventListener(type: string, listener: Listener): void {
    this.#listeners.set(type, [...(this.#listeners.get(type) ?? []), listener]);
  }

  send(data: string | Uint8Array): void {
    if (typeof data === "string") this.sent.push(JSON.parse(data));
    else this.heard.push(data);
  }

  close(code = 1000): void {
    this.closedWith ??= code;
    this.readyState = 3;
  }

  open(): void {
    this.readyState = 1;
    this.#tell("open", {});
  }

  say(data: string | ArrayBuffer): void {
    this.#tell("message", { data });
  }

  /** The connection ends, by the server or by itself. */
  end(code: number): void {
    this.readyState = 3;
    this.#tell("close", { code, reason: "" });
  }

  #tell(type: string, event: object): void {
    for (const listener of this.#listeners.get(type) ?? []) listener(event as never);
  }
}

const opened: { server: FakeServer; conversation: Conversation }[] = [];

/** A conversation that is left open would look for its server for a minute. */
after(async () => {
  for (const { server, conversation } of opened) {
    const closing = conversation.close();
    server.socket.end(1000);
    await closing;
  }
});

/** A server that one client talks with, over as many sockets as it opens. */
export class FakeServer {
  readonly sockets: FakeSocket[] = [];
  #seq = 0;
  #waiting: ((socket: FakeSocket) => void) | null = null;

  /** The class of sockets that lead here. */
  get WebSocket() {
    const server = this;
    return class extends FakeSocket {
      constructor(url: string, protocols?: string[]) {
        super(url, protocols);
        server.sockets.push(this);
        server.#waiting?.(this);
        server.#waiting = null;
      }
    };
  }

  get socket(): FakeSocket {
    const last = this.sockets.at(-1);
    assert.ok(last, "the client opened no socket");
    return last;
  }

  /** The messages of one type that the socket of now has got. */
  got(type: string): Sent[] {
    return this.socket.sent.filter((message) => message.type === type);
  }

  /** The next socket that the client opens, open. */
  async nextSocket(): Promise<FakeSocket> {
    const socket = await new Promise<FakeSocket>((resolve) => (this.#waiting = resolve));
    await settled();
    socket.open();
    return socket;
  }

  /** A conversation that has begun; `more` comes in the same breath as the beginning. */
  async connect(
    options: ConversationOptions = {},
    more: () => void = () => undefined,
    resume: object = { resume_token: "token-1", resume_within_s: 60 },
  ): Promise<Conversation> {
    const assistant = new AIVideoAssistant({
      apiUrl: "http://example.test",
      apiKey: "sk-test",
      WebSocket: this.WebSocket,
    });
    const opening = this.nextSocket();
    const connecting = assistant.connect("a1", { output: "text", ...options });
    connecting.catch(() => undefined);
    await opening;
    this.event("session.started", { sessionId: "s1", ...resume });
    more();
    const conversation = await connecting;
    opened.push({ server: this, conversation });
    return conversation;
  }

  /** Says an event, with the next number unless it is given. */
  event(type: string, data: object = {}, seq: number = (this.#seq += 1)): void {
    const origin = { sessionId: "s1", source: "server", trackId: "control" };
    const envelope = { type, seq, timestamp: 0, ...origin };
    this.socket.say(JSON.stringify({ ...data, ...envelope, data } satisfies ServerEvent));
  }

  /** Numbers as a new session begins them. */
  restart(): void {
    this.#seq = 0;
  }

  delta(turn: number, text: string): void {
    this.event("assistant.response.delta", { ...ids(turn), text });
  }

  final(turn: number, text: string): void {
    this.event("assistant.response.final", { ...ids(turn), text });
  }

  interrupted(turn: number, reason: string, heard = ""): void {
    const told = { reason, heard_text: heard, heard_ms: 0, generated_text: heard };
    this.event("response.interrupted", { ...ids(turn), ...told });
  }

  call(turn: number, id: string, name: string, more: object = {}): void {
    const asked = {
      id,
      type: "function",
      function: { name, arguments: '{"level": 3}' },
      executor: "client",
      wait_for_response: true,
      timeout_ms: 15_000,
      ...more,
    };
    this.event("assistant.tool_call", { ...ids(turn), tool_call_id: id, tool_call: asked });
  }

  result(turn: number, id: string, name: string, code = 200): void {
    const status = { code, message: "" };
    const result = { tool_call_id: id, name, output: "", status };
    const data = { ...ids(turn), tool_call_id: id, source: "client", result };
    this.event("assistant.tool_result", data);
  }

  /** The statuses and outputs that the client has answered calls with. */
  answers(): { code: number; output: unknown }[] {
    return this.got("tool_call.results").flatMap(({ results }) =>
      (results as { output: unknown; status: { code: number } }[]).map(({ output, status }) => ({
        code: status.code,
        output,
      })),
    );
  }
}

export function ids(turn: number) {
  return { turn, turn_id: `turn_${turn}`, response_id: `resp_${turn}`, tts_id: `tts_${turn}` };
}

/** After all promises that could be settled now. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** What the next event of a name carries first. */
export function next(
  conversation: Conversation,
  name: "reconnected" | "response",
): Promise<unknown> {
  return new Promise((resolve) => {
    conversation.once(name, (...[first]: unknown[]) => resolve(first));
  });
}
