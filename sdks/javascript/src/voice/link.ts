/** One socket, from its opening to its close. */
import { ConnectionError, UnsupportedError } from "../errors.js";
import type { ServerEvent } from "./events.js";
import { decode, type Address, type ClientMessage } from "./protocol.js";
import { limit } from "./timers.js";

/** The part of a WebSocket that is used; the browsers' and Node's own have it, and `ws` too. */
export interface WebSocketLike {
  binaryType: string;
  readonly readyState: number;
  send(data: string | Uint8Array<ArrayBuffer>): void;
  close(code?: number): void;
  // The classes disagree about the type of an event, and only these fields are read.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  addEventListener(type: string, listener: (event: any) => void): void;
}
export type WebSocketClass = new (url: string, protocols?: string[]) => WebSocketLike;

export interface LinkListener {
  opened(): void;
  event(event: ServerEvent): void;
  audio(pcm: ArrayBuffer): void;
  /** In place of "closed", where the socket never opened; `cause` is what is known about it. */
  refused(cause: unknown): void;
  /** Once. */
  closed(code: number, reason: string): void;
}

const OPEN = 1;
/** The server is heard of every 50 s at least; a network that went away may not say so. */
const DEAD_AFTER_MS = 75_000;
const LOST = 1006;
/** The socket is of no use any more; the session goes on over another. */
const GIVEN_UP = 4000;

export class Link {
  readonly #socket: WebSocketLike;
  #listener: LinkListener | null;
  #isOpened = false;
  #cause: unknown;
  #stopWatch: () => void = () => undefined;

  /** Throws UnsupportedError without a WebSocket, ConnectionError for an impossible address. */
  constructor(address: Address, socketClass: WebSocketClass | undefined, listener: LinkListener) {
    this.#listener = listener;
    this.#socket = open(address, socketClass ?? globalThis.WebSocket);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.addEventListener("open", () => {
      this.#isOpened = true;
      this.#listener?.opened();
    });
    this.#socket.addEventListener("message", ({ data }) => this.#receive(data));
    // Browsers keep to themselves what is wrong.
    this.#socket.addEventListener("error", ({ error }) => (this.#cause = error));
    this.#socket.addEventListener("close", ({ code, reason }) => this.#end(code, String(reason)));
    this.#listen();
  }

  /** Whether the socket took it. */
  send(message: ClientMessage | Uint8Array<ArrayBuffer>): boolean {
    if (this.#socket.readyState !== OPEN) return false;
    this.#socket.send(message instanceof Uint8Array ? message : JSON.stringify(message));
    return true;
  }

  /** Closes the socket and tells nobody; 1000 also ends the session. */
  drop(code: 1000 | typeof GIVEN_UP = GIVEN_UP): void {
    this.#listener = null;
    this.#stopWatch();
    this.#socket.close(code);
  }

  #receive(data: unknown): void {
    this.#listen();
    if (typeof data !== "string") return this.#listener?.audio(data as ArrayBuffer);
    const event = decode(data);
    if (event) this.#listener?.event(event);
  }

  #listen(): void {
    this.#stopWatch();
    this.#stopWatch = limit(DEAD_AFTER_MS, () => this.#end(LOST, ""));
  }

  #end(code: number, reason: string): void {
    const listener = this.#listener;
    this.drop();
    // A server that refuses says so with a code; without one, nobody like it was there.
    if (!this.#isOpened && code === LOST) listener?.refused(this.#cause);
    else listener?.closed(code, reason);
  }
}

function open({ url, protocols }: Address, socketClass: WebSocketClass | undefined): WebSocketLike {
  if (!socketClass) {
    const message = "There is no WebSocket here: pass a class for it as the option WebSocket.";
    throw new UnsupportedError("websocket.unsupported", message);
  }
  try {
    return new socketClass(url, protocols);
  } catch (error) {
    const message = "The address cannot be opened.";
    throw new ConnectionError("connection.refused", message, { cause: error });
  }
}
