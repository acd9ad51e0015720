import { sleep } from "../deadline.js";
import { AssistantError, ConnectionError } from "../errors.js";
import type { Http } from "../http.js";
import { delayBeforeRetry } from "../retry.js";
import type { Answer, BodyOf, CallOptions, QueryOf } from "../routes.js";
import { formWith, UPLOAD_TIMEOUT_MS, type Uploadable } from "./files.js";

/** One entry of a task's log. Unknown types may come: ignore them. */
export interface TaskEvent {
  /** 0, 1, 2…; `follow` can begin at any. */
  idx: number;
  /** Such as "text_chunk", "tool_start" or "task_complete". */
  type: string;
  data: {
    task_id: string;
    conversation_id: string;
    /** Of a chunk: the text that it adds. */
    content?: string;
    /** At the end of a text: all of it. */
    full_content?: string;
    message?: string;
    name?: string;
    [field: string]: unknown;
  };
  /** Seconds since 1970. */
  ts: number;
}

/** With one of these a task is over; exactly one comes. */
const LAST_TYPES = new Set(["task_complete", "task_stopped", "error"]);
const ENDED: ReadonlySet<string> = new Set(["succeeded", "failed", "canceled"]);
/** A server that restarts is back within this many tries, which take about a minute. */
const FOLLOW_RETRIES = 13;

export interface FollowOptions extends CallOptions {
  /** The `idx` of the first event that is wanted; 0 if not given. */
  from?: number;
}

/** Work in the background, which outlives its client. */
export class Tasks {
  readonly #http: Http;
  readonly files: TaskFiles;
  readonly conversations: TaskConversations;

  constructor(http: Http) {
    this.#http = http;
    this.files = new TaskFiles(http);
    this.conversations = new TaskConversations(http);
  }

  /** Gives the agent something to do; a ConflictError while a task of yours is running. */
  send(
    message: string | BodyOf<"POST /messages">,
    options: CallOptions = {},
  ): Promise<Answer<"POST /messages">> {
    const body = typeof message === "string" ? { message } : message;
    return this.#http.call("POST /messages", { ...options, body });
  }

  /** The task and its events from that one on, as far as they are there. */
  get(
    id: string,
    query: QueryOf<"GET /tasks/{task_id}"> = {},
    options: CallOptions = {},
  ): Promise<Answer<"GET /tasks/{task_id}">> {
    return this.#http.call("GET /tasks/{task_id}", { ...options, path: { task_id: id }, query });
  }

  /** Your tasks, newest first. */
  list(
    query: QueryOf<"GET /tasks"> = {},
    options: CallOptions = {},
  ): Promise<Answer<"GET /tasks">> {
    return this.#http.call("GET /tasks", { ...options, query });
  }

  /**
   * Every event of the task, once and in order, as they happen, until the task is over. A lost
   * connection is made again, and goes on behind the last event; a server that is away is looked
   * for for about a minute.
   */
  async *follow(id: string, options: FollowOptions = {}): AsyncGenerator<TaskEvent> {
    const { from = 0, maxRetries = FOLLOW_RETRIES, ...rest } = options;
    for (let next = from, tried = 0; ; tried++) {
      let lost: AssistantError;
      try {
        const call = { ...rest, maxRetries: 0, path: { task_id: id }, query: { from: next } };
        let came = false;
        for await (const { data } of this.#http.events("GET /tasks/{task_id}/events", call)) {
          const event = JSON.parse(data) as TaskEvent;
          [next, tried, came] = [event.idx + 1, 0, true];
          yield event;
          if (LAST_TYPES.has(event.type)) return;
        }
        if (!came && (await this.#isOver(id, next, rest))) return;
        lost = new ConnectionError("connection_lost", "The stream of events ended too early.", {
          retryable: true,
        });
      } catch (error) {
        if (!(error instanceof AssistantError)) throw error;
        lost = error;
      }
      const delayMs = delayBeforeRetry(lost, tried);
      if (tried >= maxRetries || delayMs === null) throw lost;
      await sleep(delayMs, options.signal);
    }
  }

  async #isOver(id: string, next: number, options: CallOptions): Promise<boolean> {
    const { status, events } = await this.get(id, { from: next }, options);
    return ENDED.has(status) && events.length === 0;
  }

  /** Stops the task within about a second; what it wrote is kept. */
  cancel(id: string, options: CallOptions = {}): Promise<Answer<"POST /tasks/{task_id}/cancel">> {
    return this.#http.call("POST /tasks/{task_id}/cancel", { ...options, path: { task_id: id } });
  }

  /** The models that a task may name. */
  models(options: CallOptions = {}): Promise<Answer<"GET /models">> {
    return this.#http.call("GET /models", options);
  }
}

/** The caller's folder, which tasks read and write. */
export class TaskFiles {
  readonly #http: Http;

  constructor(http: Http) {
    this.#http = http;
  }

  async upload(
    file: Uploadable,
    { name, dir, ...options }: CallOptions & { name?: string; dir?: string } = {},
  ): Promise<Answer<"POST /files/upload">> {
    const call = { timeoutMs: UPLOAD_TIMEOUT_MS, ...options, body: formWith(file, name, { dir }) };
    return this.#http.call("POST /files/upload", call);
  }

  list(path = "", options: CallOptions = {}): Promise<Answer<"GET /files">> {
    return this.#http.call("GET /files", { ...options, query: { path } });
  }

  /** A file, or a folder as a zip. */
  download(path: string, options: CallOptions = {}): Promise<Blob> {
    return this.#http.file("GET /files/download", { ...options, query: { path } });
  }

  async delete(path: string, options: CallOptions = {}): Promise<void> {
    await this.#http.call("DELETE /files", { ...options, query: { path } });
  }
}

/** What tasks belong to. */
export class TaskConversations {
  readonly #http: Http;

  constructor(http: Http) {
    this.#http = http;
  }

  create(
    fields: BodyOf<"POST /conversations"> = {},
    options: CallOptions = {},
  ): Promise<Answer<"POST /conversations">> {
    return this.#http.call("POST /conversations", { ...options, body: fields });
  }

  list(
    query: QueryOf<"GET /conversations"> = {},
    options: CallOptions = {},
  ): Promise<Answer<"GET /conversations">> {
    return this.#http.call("GET /conversations", { ...options, query });
  }

  /** One conversation; `full` with all that was said. */
  get(
    id: string,
    { full = false, ...options }: CallOptions & { full?: boolean } = {},
  ): Promise<Answer<"GET /conversations/{conversation_id}">> {
    const call = { ...options, path: { conversation_id: id }, query: { full: full ? "1" : "0" } };
    return this.#http.call("GET /conversations/{conversation_id}", call);
  }

  async delete(id: string, options: CallOptions = {}): Promise<void> {
    const call = { ...options, path: { conversation_id: id } };
    await this.#http.call("DELETE /conversations/{conversation_id}", call);
  }
}
