import { ValidationError } from "./errors.js";
import { Http, type Fetch } from "./http.js";
import { Assistants } from "./resources/assistants.js";
import { Chat } from "./resources/chat.js";
import { History } from "./resources/history.js";
import { KnowledgeBases } from "./resources/knowledge.js";
import { Asr, Llm, Voices } from "./resources/models.js";
import { Tasks } from "./resources/tasks.js";
import { Tools } from "./resources/tools.js";
import type { Answer, BodyOf, CallArguments, CallOptions, Route } from "./routes.js";
import { openConversation, type ConversationOptions } from "./voice/connection.js";
import type { Conversation } from "./voice/conversation.js";
import type { WebSocketClass } from "./voice/link.js";
import { nodeWebSocket } from "./voice/node-socket.js";
import type { Access } from "./voice/protocol.js";

export interface ClientOptions {
  /** Where the server is; in a browser the page's own server, elsewhere http://localhost:8080. */
  apiUrl?: string | undefined;
  /** Where its WebSockets are, with or without the path "/ws"; as `apiUrl` if not given. */
  wsUrl?: string | undefined;
  /** If not given, the environment's AI_VIDEO_ASSISTANT_API_KEY; "" for none. */
  apiKey?: string | undefined;
  /** Gets a ticket for each connection of a conversation, so that a page needs no key. */
  ticket?: (() => Promise<string>) | undefined;
  /**
   * How long one attempt of a call, or the silence of a stream, may last; 60 s if not given. Also
   * how long a conversation may take to begin; 15 s if not given.
   */
  timeoutMs?: number | undefined;
  /** How often a call is tried again where that may help; twice if not given. */
  maxRetries?: number | undefined;
  /** In place of the global ones. */
  fetch?: Fetch | undefined;
  WebSocket?: WebSocketClass | undefined;
}

const LOCAL_URL = "http://localhost:8080";
const TIMEOUT_MS = 60_000;
const MAX_RETRIES = 2;
/** What a header can carry. */
const SENDABLE_KEY = /^[\x21-\x7e]+$/;

/** A client of one server, for one user. */
export class AIVideoAssistant {
  readonly assistants: Assistants;
  readonly llm: Llm;
  readonly asr: Asr;
  readonly voices: Voices;
  readonly knowledgeBases: KnowledgeBases;
  readonly history: History;
  readonly tools: Tools;
  readonly tasks: Tasks;
  readonly chat: Chat;

  readonly #http: Http;
  readonly #socketUrl: string;
  readonly #options: ClientOptions;

  constructor(options: ClientOptions = {}) {
    const apiKey = (options.apiKey ?? environment("AI_VIDEO_ASSISTANT_API_KEY")) || undefined;
    const apiUrl = urlOf("apiUrl", options.apiUrl ?? pageOrigin() ?? LOCAL_URL, /^https?:$/);
    if (apiKey && !SENDABLE_KEY.test(apiKey)) {
      const message = "apiKey has characters that no key has, such as spaces or ends of lines.";
      throw new ValidationError("invalid_argument", message, { param: "apiKey" });
    }
    this.#socketUrl = socketUrlOf(options.wsUrl ?? apiUrl);
    this.#options = { ...options, apiKey };
    this.#http = new Http({
      apiUrl,
      apiKey,
      timeoutMs: options.timeoutMs ?? TIMEOUT_MS,
      maxRetries: options.maxRetries ?? MAX_RETRIES,
      fetch: options.fetch ?? ((url, init) => fetch(url, init)),
    });
    this.assistants = new Assistants(this.#http);
    this.llm = new Llm(this.#http);
    this.asr = new Asr(this.#http);
    this.voices = new Voices(this.#http);
    this.knowledgeBases = new KnowledgeBases(this.#http);
    this.history = new History(this.#http);
    this.tools = new Tools(this.#http);
    this.tasks = new Tasks(this.#http);
    this.chat = new Chat(this.#http);
  }

  /** Makes an assistant; the same as `assistants.create`. */
  create(
    fields: BodyOf<"POST /assistants">,
    options: CallOptions = {},
  ): Promise<Answer<"POST /assistants">> {
    return this.assistants.create(fields, options);
  }

  /**
   * Begins a conversation with the assistant, by voice or in writing. In a browser call it from a
   * click, or its sound waits for one.
   */
  connect(assistantId: string, options: ConversationOptions = {}): Promise<Conversation> {
    const { timeoutMs = this.#options.timeoutMs, ...rest } = options;
    return openConversation({
      ...rest,
      ...(timeoutMs !== undefined && { timeoutMs }),
      socketUrl: this.#socketUrl,
      assistantId,
      access: () => this.#access(),
      // Node's own does not tell why it cannot connect.
      WebSocket: this.#options.WebSocket ?? nodeWebSocket() ?? globalThis.WebSocket,
    });
  }

  /**
   * A ticket with which a browser may connect once, within a minute: for your server to give to
   * your pages, whose `ticket` option asks for one. With an id, it is for that assistant only.
   */
  async createTicket(assistantId?: string, options: CallOptions = {}): Promise<string> {
    const body = assistantId === undefined ? {} : { assistant_id: assistantId };
    return (await this.#http.call("POST /voice/tickets", { ...options, body })).ticket;
  }

  /** Calls any route of the API, also those of no resource, such as "GET /usage/models_list". */
  call<R extends Route>(route: R, ...given: CallArguments<R>): Promise<Answer<R>> {
    return this.#http.call(route, ...given);
  }

  /** How a socket gets in; asked for each, as a ticket serves once. */
  async #access(): Promise<Access> {
    const { apiKey, ticket } = this.#options;
    if (ticket) return { kind: "ticket", ticket: await ticket() };
    return apiKey === undefined ? { kind: "open" } : { kind: "key", key: apiKey };
  }
}

/** A variable of the environment, where there is one; browsers have none. */
function environment(name: string): string | undefined {
  const { process } = globalThis as { process?: { env?: Record<string, string | undefined> } };
  return process?.env?.[name];
}

/** Where the page comes from, if this is one of a server. */
function pageOrigin(): string | undefined {
  const origin = typeof location === "undefined" ? undefined : location.origin;
  return origin?.startsWith("http") ? origin : undefined;
}

/** The address without "/api/v1" and without a slash at its end. */
function urlOf(name: string, given: string, protocols: RegExp): string {
  const url = parsed(given);
  if (!url || !protocols.test(url.protocol)) {
    const text = `${name} is not an address that can be used: ${given}`;
    throw new ValidationError("invalid_argument", text, { param: name });
  }
  return `${url.origin}${url.pathname}`.replace(/\/+$/, "").replace(/\/api\/v1$/, "");
}

function parsed(url: string): URL | null {
  try {
    return new URL(url);
  } catch {
    return null;
  }
}

/** The address of the voice WebSocket. */
function socketUrlOf(given: string): string {
  const base = urlOf("wsUrl", given.replace(/^http/, "ws"), /^wss?:$/);
  return base.endsWith("/ws") ? base : `${base}/ws`;
}
