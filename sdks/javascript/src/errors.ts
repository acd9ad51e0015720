/**
 * Everything that can go wrong, as one tree:
 *
 *     AssistantError
 *     ├─ AuthenticationError     no key, a wrong one, or one that expired (401)
 *     ├─ PermissionError         the key may not do this (403)
 *     ├─ NotFoundError           no such thing, or somebody else's (404)
 *     ├─ ValidationError         a value that is refused; `param` names it (400, 413, 415, 422)
 *     ├─ ConflictError           not now: something else goes on (409)
 *     ├─ RateLimitError          too many requests or connections (429)
 *     ├─ ServerError             the server failed (5xx)
 *     ├─ ConnectionError         nobody answered, or the connection broke
 *     │  ├─ TimeoutError         no answer in time
 *     │  └─ ResumeExpiredError   a conversation whose connection was lost is gone
 *     ├─ ChatFailedError         a written answer that was not finished
 *     ├─ AbortedError            the caller's AbortSignal fired
 *     └─ UnsupportedError        this environment lacks what was asked for, such as a WebSocket
 */

export interface ErrorDetails {
  /** The HTTP status, where one came. */
  status?: number | undefined;
  /** The field or parameter that the server names. */
  param?: string | undefined;
  /** The server's id of the request, to be told to its operator. */
  requestId?: string | undefined;
  /** Whether the same request may succeed later. */
  retryable?: boolean | undefined;
  /** How long the server asks to wait before that. */
  retryAfterMs?: number | undefined;
  /** The close code of the voice protocol, where a socket was closed for it. */
  closeCode?: number | undefined;
  cause?: unknown;
}

export class AssistantError extends Error {
  override name = "AssistantError";
  /** The server's word for it, such as "ASSISTANT_NOT_FOUND" or "auth.required", or one of ours. */
  readonly code: string;
  readonly status: number | undefined;
  readonly param: string | undefined;
  readonly requestId: string | undefined;
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;
  readonly closeCode: number | undefined;

  constructor(code: string, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.status = details.status;
    this.param = details.param;
    this.requestId = details.requestId;
    this.retryable = details.retryable ?? false;
    this.retryAfterMs = details.retryAfterMs;
    this.closeCode = details.closeCode;
  }
}

export class AuthenticationError extends AssistantError {
  override name = "AuthenticationError";
}
export class PermissionError extends AssistantError {
  override name = "PermissionError";
}
export class NotFoundError extends AssistantError {
  override name = "NotFoundError";
}
export class ValidationError extends AssistantError {
  override name = "ValidationError";
}
export class ConflictError extends AssistantError {
  override name = "ConflictError";
}
export class RateLimitError extends AssistantError {
  override name = "RateLimitError";
}
export class ServerError extends AssistantError {
  override name = "ServerError";
}
export class ConnectionError extends AssistantError {
  override name = "ConnectionError";
}
export class TimeoutError extends ConnectionError {
  override name = "TimeoutError";
}
export class ResumeExpiredError extends ConnectionError {
  override name = "ResumeExpiredError";
}
/** The model failed, or the server was stopped, in the middle of a written answer. */
export class ChatFailedError extends AssistantError {
  override name = "ChatFailedError";
  /** What was written by then. */
  readonly text: string;

  constructor(message: string, text: string) {
    super("chat.failed", message, { retryable: true });
    this.text = text;
  }
}
export class AbortedError extends AssistantError {
  override name = "AbortedError";
}
export class UnsupportedError extends AssistantError {
  override name = "UnsupportedError";
}

type ErrorClass = new (code: string, message: string, details?: ErrorDetails) => AssistantError;

const BY_STATUS: Record<number, ErrorClass> = {
  400: ValidationError,
  401: AuthenticationError,
  403: PermissionError,
  404: NotFoundError,
  409: ConflictError,
  413: ValidationError,
  415: ValidationError,
  422: ValidationError,
  429: RateLimitError,
};
const RETRYABLE_STATUSES = new Set([408, 425, 429, 500, 502, 503, 504]);

/** Codes of the voice protocol, most specific first. */
const BY_CODE: [prefix: string, of: ErrorClass][] = [
  ["auth.forbidden", PermissionError],
  ["auth.", AuthenticationError],
  ["assistant.not_found", NotFoundError],
  ["rate_limit.", RateLimitError],
  ["session.resume_expired", ResumeExpiredError],
  ["connection.", ConnectionError],
  ["protocol.", ValidationError],
];

/** The error for an HTTP status and what the server said. */
export function errorOfStatus(
  status: number,
  code: string,
  message: string,
  details: ErrorDetails = {},
): AssistantError {
  const kind = BY_STATUS[status] ?? (status >= 500 ? ServerError : AssistantError);
  const retryable = details.retryable ?? RETRYABLE_STATUSES.has(status);
  return new kind(code, message, { ...details, status, retryable });
}

/** The error for a code of the voice protocol, such as "auth.required". */
export function errorOfCode(
  code: string,
  message: string,
  details: ErrorDetails = {},
): AssistantError {
  const kind = BY_CODE.find(([prefix]) => code.startsWith(prefix))?.[1] ?? AssistantError;
  return new kind(code, message, details);
}
