import { ChatFailedError, ConnectionError } from "../errors.js";
import type { Http } from "../http.js";
import type { Answer, BodyOf, CallOptions } from "../routes.js";

/** More of the answer, and all of it so far. */
export interface ChatChunk {
  type: "response_chunk";
  timestamp: number;
  data: { chunk: string; accumulated: string };
}

/** A tool: START, then END or ERROR of the same `id`. An ERROR without `tool` ends the answer. */
export interface ChatStep {
  type: "event";
  timestamp: number;
  data: {
    status: "START" | "END" | "ERROR";
    title: string;
    message: string;
    id?: string;
    tool?: string;
    [field: string]: unknown;
  };
}

export type ChatEvent = ChatChunk | ChatStep;

/** What was said in a dialog. */
export interface ChatMessage {
  id: string;
  dialog_id: string;
  role: "user" | "assistant" | "system";
  content: string;
  events: ChatStep[];
  is_failed: boolean;
  token_usage: number;
  create_time: string;
  update_time: string;
}

export interface ChatOptions extends CallOptions {
  /** A link that `upload` of the API gave. */
  fileUrl?: string;
}

/** Written dialogs with an assistant. */
export class Chat {
  readonly #http: Http;

  constructor(http: Http) {
    this.#http = http;
  }

  /** Begins a dialog with the assistant of that id. */
  createDialog(
    assistantId: string,
    fields: Omit<BodyOf<"POST /dialog">, "agent_id"> = {},
    options: CallOptions = {},
  ): Promise<Answer<"POST /dialog">> {
    const body = { ...fields, agent_id: assistantId };
    return this.#http.call("POST /dialog", { ...options, body });
  }

  /** Your dialogs, newest first. */
  dialogs(options: CallOptions = {}): Promise<Answer<"GET /dialog/list">> {
    return this.#http.call("GET /dialog/list", options);
  }

  async deleteDialog(dialogId: string, options: CallOptions = {}): Promise<void> {
    await this.#http.call("DELETE /dialog", { ...options, query: { dialog_id: dialogId } });
  }

  /** What was said, oldest first. */
  async history(dialogId: string, options: CallOptions = {}): Promise<ChatMessage[]> {
    const query = { dialog_id: dialogId, limit: 1000 };
    // The schema has the shape of the route's other meaning, without a dialog.
    const said: unknown = await this.#http.call("GET /history", { ...options, query });
    return said as ChatMessage[];
  }

  /**
   * The answer as it is written. Leaving the loop stops it; what was written is kept. Where the
   * model fails or the server is stopped, an ERROR tells so and ChatFailedError is thrown after it.
   */
  async *stream(
    dialogId: string,
    text: string,
    options: ChatOptions = {},
  ): AsyncGenerator<ChatEvent> {
    const { fileUrl, ...rest } = options;
    const body = { dialog_id: dialogId, user_input: text, file_url: fileUrl ?? null };
    let written = "";
    let failure: ChatFailedError | undefined;
    try {
      for await (const { data: said } of this.#http.events("POST /chat", { ...rest, body })) {
        const event = JSON.parse(said) as ChatEvent;
        const { type, data } = event;
        if (type === "response_chunk") written = data.accumulated;
        else if (data.status === "ERROR" && data.tool === undefined) {
          failure = new ChatFailedError(data.message, written);
        }
        yield event;
      }
    } catch (error) {
      // A server that is stopped may not end its streams in order.
      throw failure ?? error;
    }
    if (failure) throw failure;
  }

  /** The whole answer; throws ChatFailedError where the model failed or the server was stopped. */
  async send(dialogId: string, text: string, options: ChatOptions = {}): Promise<string> {
    let answer: string | undefined;
    for await (const { type, data } of this.stream(dialogId, text, options)) {
      if (type === "response_chunk") answer = data.accumulated;
    }
    if (answer === undefined) {
      throw new ConnectionError("connection_lost", "The answer ended before it began.");
    }
    return answer;
  }

  /** Stops the answer that is being written, wherever that was asked for. */
  stop(dialogId: string, options: CallOptions = {}): Promise<Answer<"POST /chat/stop">> {
    return this.#http.call("POST /chat/stop", { ...options, body: { dialog_id: dialogId } });
  }
}
