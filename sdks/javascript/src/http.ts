/** Calls of the REST API: time-outs, retries, envelopes and errors, once for all resources. */

import { bodyOf, errorOf, unwrapped } from "./answers.js";
import { Deadline, sleep } from "./deadline.js";
import { AssistantError, ConnectionError, ValidationError } from "./errors.js";
import { delayBeforeRetry } from "./retry.js";
import { unreachable } from "./unreachable.js";
import { eventsOf, type ServerSentEvent } from "./sse.js";
import type { Answer, CallArguments, CallOf, CallOptions, Route } from "./routes.js";

export type Fetch = (input: string, init: RequestInit) => Promise<Response>;

export interface HttpSettings {
  /** Where the server is, without "/api/v1". */
  apiUrl: string;
  apiKey: string | undefined;
  timeoutMs: number;
  maxRetries: number;
  fetch: Fetch;
}

/** Of these the server says that it did nothing, so that even a POST may be sent again. */
const UNDONE_STATUSES = new Set([429, 503]);

/** The values of a call, as any route takes them. */
interface Call extends CallOptions {
  path?: object | undefined;
  query?: object | undefined;
  body?: unknown;
}

export class Http {
  readonly #settings: HttpSettings;

  constructor(settings: HttpSettings) {
    this.#settings = settings;
  }

  /** Calls a route; gives what it answers, without the envelope. */
  async call<R extends Route>(
    route: R,
    ...[call]: CallArguments<R>
  ): Promise<Answer<R>> {
    const answer = await this.#answer(route, (call ?? {}) as Call, async (response, deadline) =>
      unwrapped(await bodyOf(response, await deadline.within(response.text()))),
    );
    return answer as Answer<R>;
  }

  /** Calls a route that answers with a file; its time-out is that of every piece. */
  async file<R extends Route>(route: R, call: CallOf<R>): Promise<Blob> {
    return this.#answer(route, call as Call, async (response, deadline) => {
      const pieces: BlobPart[] = [];
      for await (const piece of piecesOf(response, deadline)) pieces.push(piece as BlobPart);
      return new Blob(pieces, { type: response.headers.get("content-type") ?? "" });
    });
  }

  /**
   * Calls a route that answers with server-sent events, and gives them as they come. Leaving the
   * loop closes the stream. Its time-out is that of the silence, for which the server has pings.
   */
  async *events<R extends Route>(route: R, call: CallOf<R>): AsyncGenerator<ServerSentEvent> {
    const { response, deadline } = await this.#begun(route, call as Call);
    try {
      if (response.status === 204) return;
      if (!response.headers.get("content-type")?.startsWith("text/event-stream")) {
        // Refused with a status of 200, as one family does.
        await bodyOf(response, await deadline.within(response.text()));
        throw errorOf(response, undefined);
      }
      for await (const event of eventsOf(piecesOf(response, deadline))) {
        // One piece may hold many events; none comes after the caller's signal.
        deadline.throwIfOver();
        yield event;
      }
    } catch (error) {
      throw translated(error, this.#settings.apiUrl);
    } finally {
      deadline.clear();
    }
  }

  async #answer<T>(
    route: Route,
    call: Call,
    read: (response: Response, deadline: Deadline) => Promise<T>,
  ): Promise<T> {
    const { deadline, result } = await this.#retrying(route, call, read);
    deadline.clear();
    return result;
  }

  /** The beginning of an answer, whose deadline the caller clears. */
  async #begun(route: Route, call: Call): Promise<Begun<void>> {
    return this.#retrying(route, call, async () => undefined);
  }

  /** The response and what was read of it, after as many attempts as are allowed and may help. */
  async #retrying<T>(
    route: Route,
    call: Call,
    read: (response: Response, deadline: Deadline) => Promise<T>,
  ): Promise<Begun<T>> {
    const { apiUrl, apiKey, fetch, timeoutMs, maxRetries } = this.#settings;
    const [url, init] = request(route, call, apiUrl, apiKey);
    for (let tried = 0; ; tried++) {
      const deadline = new Deadline(call.timeoutMs ?? timeoutMs, call.signal);
      try {
        const sent = fetch(url, { ...init, signal: deadline.signal });
        const response = await deadline.within(sent);
        if (!response.ok) await bodyOf(response, await deadline.within(response.text()));
        return { response, deadline, result: await read(response, deadline) };
      } catch (failure) {
        deadline.clear();
        const error = translated(failure, apiUrl);
        const isLast = tried >= (call.maxRetries ?? maxRetries);
        const delayMs = delayBeforeRetry(error, tried);
        if (isLast || delayMs === null || !mayRepeat(route, error)) throw error;
        await sleep(delayMs, call.signal);
      }
    }
  }
}

interface Begun<T> {
  response: Response;
  deadline: Deadline;
  result: T;
}

/** What goes to fetch, the same in every attempt. */
function request(
  route: Route,
  call: Call,
  apiUrl: string,
  apiKey: string | undefined,
): [url: string, init: RequestInit] {
  const [method, template] = route.split(" ") as [string, string];
  const headers: Record<string, string> = { Accept: "application/json, */*" };
  if (apiKey !== undefined) headers["Authorization"] = `Bearer ${apiKey}`;
  // A key is the whole credential; without one, a page of the server has its session.
  const credentials = apiKey === undefined ? "same-origin" : "omit";
  const init: RequestInit = { method, headers, credentials };
  if (call.body instanceof FormData) {
    init.body = call.body;
  } else if (call.body !== undefined) {
    headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(call.body);
  }
  return [`${apiUrl}/api/v1${filled(template, call.path)}${queryString(call.query)}`, init];
}

async function* piecesOf(response: Response, deadline: Deadline): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  if (!reader) return;
  try {
    while (true) {
      deadline.restart();
      const { done, value } = await deadline.within(reader.read());
      deadline.pause();
      if (done) return;
      yield value;
    }
  } finally {
    // Also closes the connection of a stream that nobody wants to its end.
    reader.cancel().catch(() => undefined);
  }
}

/** The path with its parameters in place. */
function filled(template: string, values: object = {}): string {
  return template.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = (values as Record<string, unknown>)[name];
    if (value === undefined || value === null || value === "") {
      throw new ValidationError("invalid_argument", `${name} is missing.`, { param: name });
    }
    return encodeURIComponent(String(value));
  });
}

function queryString(query: object = {}): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
  const pairs = given.map(([name, value]) => [name, String(value)]);
  return pairs.length ? `?${new URLSearchParams(pairs)}` : "";
}

/** A failure of fetch as one of ours. */
function translated(failure: unknown, apiUrl: string): AssistantError {
  if (failure instanceof AssistantError) return failure;
  return new ConnectionError("connection_failed", unreachable(apiUrl, failure), {
    retryable: true,
    cause: failure,
  });
}

/** Whether the same request cannot do a thing twice. */
function mayRepeat(route: Route, error: AssistantError): boolean {
  if (!route.startsWith("POST ")) return true;
  return error.status !== undefined && UNDONE_STATUSES.has(error.status);
}
