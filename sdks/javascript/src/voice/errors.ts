/**
 * The errors that only conversations have, beside those of `../errors.ts`:
 *
 *     AssistantError
 *     ├─ ConversationError    something failed within a conversation, which goes on
 *     ├─ InterruptedError     the reply that was waited for was cut off
 *     └─ MicrophoneError      there is no microphone to use
 */
import { AssistantError, ConnectionError, errorOfCode, type ErrorDetails } from "../errors.js";
import type { Interruption, ServerEvent } from "./events.js";

/** Something failed within a conversation, which goes on; `stage` says what, such as "llm". */
export class ConversationError extends AssistantError {
  override name = "ConversationError";
  readonly stage: string;
  readonly turnId: string | undefined;
  readonly toolCallId: string | undefined;

  constructor({ data }: ServerEvent) {
    const { code, message, stage, retryable } = data;
    super(String(code), String(message), { retryable: retryable === true });
    this.stage = String(stage);
    this.turnId = data["turn_id"];
    this.toolCallId = data["tool_call_id"];
  }
}

/** The reply to a text was cut off: the user spoke, another text came, or it was cancelled. */
export class InterruptedError extends AssistantError {
  override name = "InterruptedError";
  readonly interruption: Interruption;

  constructor(interruption: Interruption) {
    super("response.interrupted", `The reply was interrupted (${interruption.reason}).`);
    this.interruption = interruption;
  }
}

/** `insecure`: browsers allow the microphone over HTTPS and on localhost only. */
export type MicrophoneProblem = "denied" | "missing" | "busy" | "insecure" | "lost";

const MICROPHONE_MESSAGES: Record<MicrophoneProblem, string> = {
  denied: "The user or the browser does not allow the microphone.",
  missing: "There is no microphone.",
  busy: "Another program is using the microphone.",
  insecure: "Browsers allow the microphone only over HTTPS and on localhost.",
  lost: "The microphone was unplugged.",
};

/** There is no microphone to use. */
export class MicrophoneError extends AssistantError {
  override name = "MicrophoneError";
  readonly problem: MicrophoneProblem;

  constructor(problem: MicrophoneProblem, details: ErrorDetails = {}) {
    super(`microphone.${problem}`, MICROPHONE_MESSAGES[problem], details);
    this.problem = problem;
  }
}

/** What the protocol's close codes mean, where no error event told why. */
const CLOSINGS: Record<number, [code: string, message: string]> = {
  1001: ["connection.going_away", "The server is going away."],
  1009: ["protocol.too_big", "The server refused a message that is too large."],
  1011: ["internal", "The server had an error of its own."],
  4400: ["protocol.invalid_message", "The server did not understand a message."],
  4401: ["auth.required", "The credential is missing, wrong or expired."],
  4403: ["auth.forbidden", "The caller may not talk to this assistant."],
  4404: ["assistant.not_found", "There is no such assistant, or it is somebody else's."],
  4408: ["session.inactive", "The conversation ended because nothing happened for a while."],
  4409: ["session.replaced", "The conversation goes on over a newer connection."],
  4410: ["session.resume_expired", "The conversation cannot be resumed any more."],
  4429: ["rate_limit.connections", "Too many conversations at once."],
  4503: ["server.overloaded", "The server is busy."],
};
const RETRYABLE = new Set([1001, 1005, 1006, 1011, 1012, 1013, 4408, 4429, 4503]);

/** For what is still wanted of a conversation that is over. */
export function closed(): AssistantError {
  return new ConnectionError("conversation.closed", "The conversation is over.");
}

/** Why a socket was closed; null for a conversation that ended in order. */
export function errorOfClosing(code: number, told: ServerEvent | null): AssistantError | null {
  if (code === 1000) return null;
  const details = { closeCode: code, retryable: RETRYABLE.has(code) };
  const known = CLOSINGS[code];
  if (known && told) return errorOfCode(told.data["code"], told.data["message"], details);
  if (known) return errorOfCode(...known, details);
  const message = `The connection was lost (${code}).`;
  return new ConnectionError("connection.lost", message, { ...details, retryable: true });
}
