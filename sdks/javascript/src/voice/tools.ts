/** What an assistant asks of this device: a call comes in, an outcome goes back. */
import { AssistantError } from "../errors.js";
import type { ServerEvent } from "./events.js";

/** A call of a tool, by the assistant. */
export interface ToolCall {
  /** Unique within its turn only: models number the calls of each turn anew. */
  readonly id: string;
  readonly name: string;
  // What a model writes follows the tool's schema at best; check it before use.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  readonly arguments: Record<string, any>;
  /** Who is to do it: only what `client` says is asked of this device. */
  readonly executor: "client" | "server";
  /** Whether the reply waits for the result; else the assistant hears of failures only. */
  readonly isWaited: boolean;
  /** Whether the assistant says the prompt itself, so that the device need not. */
  readonly isSpoken: boolean;
  readonly timeoutMs: number;
  readonly turnId: string;
  readonly responseId: string;
  /** Fires when the result is not wanted any more: too late, settled otherwise, or all is over. */
  readonly signal: AbortSignal;
}

/** How a call ended, as the server says. */
export interface ToolResult {
  readonly id: string;
  readonly name: string;
  readonly executor: "client" | "server";
  /** As in HTTP: below 400 it was done; 499 withdrawn, 504 too late. */
  readonly code: number;
  readonly message: string;
  readonly output: string;
  readonly turnId: string;
}

/** Does what is asked; what it returns goes back as JSON. Throw ToolFailure to say why not. */
export type ToolHandler = (
  args: ToolCall["arguments"],
  call: ToolCall,
) => unknown | Promise<unknown>;
export type ToolHandlers = Record<string, ToolHandler>;

/** Thrown by a handler: the assistant is told the message and the code. */
export class ToolFailure extends Error {
  override name = "ToolFailure";
  readonly code: number;
  readonly output: string;

  /** `code` as in HTTP, 400 or more. */
  constructor(message: string, code = 500, output = "") {
    super(message);
    this.code = code;
    this.output = output;
  }
}

/** The program has no such tool ("tool.missing"), or it threw `cause` ("tool.failed"). */
export class ToolError extends AssistantError {
  override name = "ToolError";
  readonly toolName: string;
  readonly toolCallId: string;

  constructor(code: "tool.missing" | "tool.failed", { id, name }: ToolCall, cause?: unknown) {
    const message =
      code === "tool.missing"
        ? `This program has no tool "${name}".`
        : `The tool "${name}" of this program failed: ${wordsOf(cause)}`;
    super(code, message, { cause });
    this.toolName = name;
    this.toolCallId = id;
  }
}

export interface ToolOutcome {
  code: number;
  message: string;
  output?: unknown;
}

interface ToolListener {
  answer(call: ToolCall, outcome: ToolOutcome): void;
  /** A tool of this program is missing, or broke; its refusals are none. */
  failed(error: ToolError): void;
}

interface Running {
  call: ToolCall;
  aborter: AbortController;
}

/** Runs the handlers; each call is answered at most once, and not when nobody waits any more. */
export class Toolbox {
  readonly #handlers: ToolHandlers;
  readonly #listener: ToolListener;
  readonly #running = new Set<Running>();

  constructor(handlers: ToolHandlers, listener: ToolListener) {
    this.#handlers = handlers;
    this.#listener = listener;
  }

  /** The call that an event tells of; `run` starts it, once its listeners have heard of it. */
  read(event: ServerEvent): { call: ToolCall; run: () => void } {
    const { id, function: asked, ...tool } = event.data["tool_call"];
    const args = parsed(asked.arguments);
    const aborter = new AbortController();
    const call: ToolCall = {
      id,
      name: asked.name,
      arguments: args ?? {},
      executor: tool.executor,
      isWaited: tool.wait_for_response === true,
      isSpoken: tool.spoken === true,
      timeoutMs: tool.timeout_ms,
      turnId: event.data["turn_id"],
      responseId: event.data["response_id"],
      signal: aborter.signal,
    };
    // Without arguments it is a call that the server has refused already.
    const isOurs = call.executor === "client" && args !== null;
    return { call, run: () => void (isOurs && this.#perform({ call, aborter })) };
  }

  /** The server says how a call ended: nobody waits for our answer. */
  settle({ id, turnId }: ToolResult): void {
    for (const running of this.#running) {
      const { call, aborter } = running;
      // Of what nobody waits for, the server says at once that it was accepted.
      if (call.id !== id || call.turnId !== turnId || !call.isWaited) continue;
      this.#running.delete(running);
      aborter.abort();
    }
  }

  /** Nothing is wanted any more. */
  abort(): void {
    for (const { aborter } of this.#running) aborter.abort();
    this.#running.clear();
  }

  async #perform(running: Running): Promise<void> {
    this.#running.add(running);
    const { call } = running;
    const outcome = await this.#outcome(call);
    if (!this.#running.delete(running)) return;
    if (call.isWaited || outcome.code >= 400) this.#listener.answer(call, outcome);
  }

  async #outcome(call: ToolCall): Promise<ToolOutcome> {
    const handler = this.#handlers[call.name];
    // Every object has a toString, which is no tool.
    if (!handler || !Object.hasOwn(this.#handlers, call.name)) {
      this.#listener.failed(new ToolError("tool.missing", call));
      return { code: 501, message: "This client has no such tool." };
    }
    try {
      const output = await handler(call.arguments, call);
      return { code: 200, message: "ok", output: sendable(output) };
    } catch (error) {
      if (!(error instanceof ToolFailure)) {
        this.#listener.failed(new ToolError("tool.failed", call, error));
      }
      return failure(error);
    }
  }
}

const MAX_MESSAGE_LENGTH = 1000;

/** A result as JSON says it; throws for what JSON cannot say. */
function sendable(output: unknown): unknown {
  return JSON.parse(JSON.stringify(output ?? ""));
}

function failure(error: unknown): ToolOutcome {
  const message = wordsOf(error).slice(0, MAX_MESSAGE_LENGTH);
  return error instanceof ToolFailure
    ? { code: error.code, message, output: error.output }
    : { code: 500, message };
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function parsed(text: string): ToolCall["arguments"] | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : null;
  } catch {
    return null;
  }
}

/** How a call ended, as an event tells. */
export function toolResult({ data }: ServerEvent): ToolResult {
  const { status, output, name } = data["result"];
  return {
    id: data["tool_call_id"],
    name: name ?? "",
    executor: data["source"],
    code: status.code,
    message: status.message,
    output,
    turnId: data["turn_id"],
  };
}
