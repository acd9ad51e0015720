/**
 * A WebSocket for Node: Node 20 has none of its own, and that of later ones does not tell why it
 * cannot connect. Only what a link needs.
 */
import { BINARY, CLOSE, FrameError, FrameReader, PING, PONG, TEXT, frameOf } from "./frames.js";
import type { WebSocketClass, WebSocketLike } from "./link.js";

/** The parts of Node that are used; its types are no dependency of the SDK. */
interface Stream {
  on(event: "data", listener: (bytes: Uint8Array) => void): void;
  on(event: "close" | "error", listener: () => void): void;
  write(bytes: Uint8Array): void;
  setNoDelay(): void;
  end(): void;
  destroy(): void;
}
interface Response {
  headers: Record<string, string | undefined>;
}
type Upgraded = (response: Response, stream: Stream, head: Uint8Array) => void;
interface Request {
  on(event: "upgrade", listener: Upgraded): void;
  on(event: "response", listener: (response: { statusCode: number }) => void): void;
  on(event: "error", listener: (error: Error) => void): void;
  end(): void;
  destroy(): void;
}
interface Http {
  request(url: string, options: { headers: Record<string, string> }): Request;
}
interface Crypto {
  createHash(name: "sha1"): { update(text: string): { digest(form: "base64"): string } };
}
interface Process {
  getBuiltinModule?(name: string): unknown;
}

const CONNECTING = 0;
const OPEN = 1;
const CLOSING = 2;
const CLOSED = 3;
const NO_CODE = 1005;
const LOST = 1006;
/** How long the server may take to close the connection after a goodbye. */
const GOODBYE_MS = 2000;
/** Appended to the key by both sides (RFC 6455, 1.3). */
const MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

type Listener = (event: object) => void;

class NodeSocket implements WebSocketLike {
  binaryType = "arraybuffer";
  readyState = CONNECTING;
  readonly #listeners = new Map<string, Listener[]>();
  readonly #reader = new FrameReader();
  readonly #request: Request;
  #stream: Stream | null = null;
  /** What the server closed with. */
  #farewell: { code: number; reason: string } | null = null;

  constructor(url: string, protocols: string[] = []) {
    const key = btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16))));
    const secure = url.startsWith("wss:");
    const http = builtin<Http>(secure ? "node:https" : "node:http");
    const named: Record<string, string> = {};
    if (protocols.length) named["Sec-WebSocket-Protocol"] = protocols.join(", ");
    this.#request = http.request(url.replace(/^ws/, "http"), {
      headers: {
        Connection: "Upgrade",
        Upgrade: "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key,
        ...named,
      },
    });
    this.#request.on("upgrade", (response, stream, head) => {
      if (response.headers["sec-websocket-accept"] === acceptOf(key)) this.#open(stream, head);
      else {
        stream.destroy();
        this.#fail(new Error("what answered is no WebSocket"));
      }
    });
    this.#request.on("error", (error) => this.#fail(error));
    this.#request.on("response", ({ statusCode }) => {
      this.#fail(new Error(`it answered with status ${statusCode} in place of a WebSocket`));
    });
    this.#request.end();
  }

  addEventListener(type: string, listener: Listener): void {
    this.#listeners.set(type, [...(this.#listeners.get(type) ?? []), listener]);
  }

  send(data: string | Uint8Array<ArrayBuffer>): void {
    if (this.readyState !== OPEN) return;
    const isText = typeof data === "string";
    const payload = isText ? new TextEncoder().encode(data) : data;
    this.#write(isText ? TEXT : BINARY, payload);
  }

  close(code = 1000): void {
    if (this.readyState === CONNECTING) return this.#giveUp();
    if (this.readyState !== OPEN) return;
    this.#write(CLOSE, new Uint8Array([code >> 8, code & 0xff]));
    this.#awaitEnd();
  }

  /** No WebSocket comes of it. */
  #fail(error: Error): void {
    if (this.readyState !== CLOSED) this.#tell("error", { error });
    this.#giveUp();
  }

  #giveUp(): void {
    this.#request.destroy();
    this.#end();
  }

  #awaitEnd(): void {
    this.readyState = CLOSING;
    const timer = setTimeout(() => this.#stream?.destroy(), GOODBYE_MS);
    this.addEventListener("close", () => clearTimeout(timer));
  }

  #open(stream: Stream, head: Uint8Array): void {
    // It was closed meanwhile.
    if (this.readyState !== CONNECTING) return stream.destroy();
    this.#stream = stream;
    this.readyState = OPEN;
    stream.setNoDelay();
    stream.on("data", (bytes) => this.#read(bytes));
    stream.on("close", () => this.#end());
    stream.on("error", () => this.#end());
    this.#tell("open", {});
    this.#read(head);
  }

  #read(bytes: Uint8Array): void {
    try {
      for (const { opcode, payload } of this.#reader.add(bytes)) this.#take(opcode, payload);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.close(error.code);
    }
  }

  #take(opcode: number, payload: Uint8Array<ArrayBuffer>): void {
    if (opcode === CLOSE) return this.#takeLeave(payload);
    if (opcode === PING) return this.#write(PONG, payload);
    if (this.readyState !== OPEN) return;
    if (opcode === TEXT) this.#tell("message", { data: new TextDecoder().decode(payload) });
    if (opcode === BINARY) this.#tell("message", { data: payload.buffer });
  }

  #takeLeave(payload: Uint8Array<ArrayBuffer>): void {
    const [high, low] = payload;
    const code = high === undefined || low === undefined ? NO_CODE : (high << 8) | low;
    this.#farewell = { code, reason: new TextDecoder().decode(payload.slice(2)) };
    if (this.readyState === OPEN) {
      this.#write(CLOSE, payload.slice(0, 2));
      this.#awaitEnd();
    }
    this.#stream?.end();
  }

  #write(opcode: number, payload: Uint8Array<ArrayBuffer>): void {
    this.#stream?.write(frameOf({ opcode, payload }));
  }

  #end(): void {
    if (this.readyState === CLOSED) return;
    this.readyState = CLOSED;
    this.#stream?.destroy();
    this.#tell("close", this.#farewell ?? { code: LOST, reason: "" });
  }

  #tell(type: string, event: object): void {
    for (const listener of this.#listeners.get(type) ?? []) listener(event);
  }
}

/** The class of it where this is Node. */
export function nodeWebSocket(): WebSocketClass | undefined {
  return nodeProcess()?.getBuiltinModule ? NodeSocket : undefined;
}

function nodeProcess(): Process | undefined {
  return (globalThis as { process?: Process }).process;
}

/** A module of Node, without an import that bundlers for browsers would stumble over. */
function builtin<Module>(name: string): Module {
  return nodeProcess()?.getBuiltinModule?.(name) as Module;
}

function acceptOf(key: string): string {
  return builtin<Crypto>("node:crypto").createHash("sha1").update(key + MAGIC).digest("base64");
}
