/** The envelopes of the API's families: taken off what succeeded, turned into errors otherwise. */

import { AssistantError, errorOfStatus, ServerError, type ErrorDetails } from "./errors.js";
import { placeOf } from "./unreachable.js";

type Body = Record<string, unknown>;

/** What the envelope holds: `data` where that is all, or else the body without its mark. */
export function unwrapped(body: unknown): unknown {
  if (!isObject(body)) return body;
  if (typeof body["status_code"] === "number" && "data" in body) return body["data"];
  if (body["success"] !== true) return body;
  const { success: _, ...rest } = body;
  return "data" in rest && Object.keys(rest).length === 1 ? rest["data"] : rest;
}

/** Throws what the body says went wrong; one family says so with a status of 200. */
export async function bodyOf(response: Response, text: string): Promise<unknown> {
  const body = parsed(text);
  if (!response.ok) throw errorOf(response, body);
  if (isObject(body) && typeof body["status_code"] === "number" && body["status_code"] !== 200) {
    throw errorOf(response, body);
  }
  if (body === undefined && text !== "") {
    throw new ServerError("invalid_answer", foreign(response), {
      status: response.status,
      requestId: response.headers.get("x-request-id") ?? undefined,
    });
  }
  return body;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** The error in any of the shapes that the API has for one. */
export function errorOf(response: Response, body: unknown): AssistantError {
  const said = isObject(body) ? saidBy(body) : {};
  const details: ErrorDetails = {
    param: said.param,
    requestId: response.headers.get("x-request-id") ?? undefined,
    retryAfterMs: retryAfterMs(response.headers.get("retry-after")),
  };
  const status = response.ok && isObject(body) ? body["status_code"] : response.status;
  const code = said.code ?? `HTTP_${status}`;
  const message = said.message ?? foreign(response);
  if (typeof status === "number" && status < 500) {
    return errorOfStatus(status, code, message, details);
  }
  // A refusal inside an answer of 200, with a number of its own, such as that of a wrong password.
  if (response.ok) return new AssistantError(code, message, details);
  return errorOfStatus(response.status, code, message, details);
}

/** It may be a proxy, or another server at the address. */
function foreign({ url, status }: Response): string {
  const place = url ? placeOf(url) : "the address";
  return `No API answered at ${place} (status ${status}); is the address right?`;
}

interface Said {
  code?: string | undefined;
  message?: string | undefined;
  param?: string | undefined;
}

function saidBy(body: Body): Said {
  const error = body["error"];
  if (isObject(error)) {
    const { code, message, param, details } = error;
    const named = isObject(details) ? Object.keys(details)[0] : undefined;
    const of = text(param) ?? (named === "non_field_errors" ? undefined : named);
    return { code: text(code), message: naming(of, text(message)), param: of };
  }
  const detail = body["detail"];
  if (Array.isArray(detail) && isObject(detail[0])) {
    const { loc, msg } = detail[0];
    const path = Array.isArray(loc) ? loc.slice(1).join(".") : "";
    const message = text(body["status_message"]) ?? text(msg);
    return { message: naming(path, message), param: path || undefined };
  }
  return { message: text(error) ?? text(detail) ?? text(body["status_message"]) };
}

/** The message, with the field that it is about. */
function naming(field: string | undefined, message: string | undefined): string | undefined {
  const isNamed = !field || message?.split(/[^\w.]+/).includes(field);
  return !message || isNamed ? message : `${field}: ${message}`;
}

/** Milliseconds, from a Retry-After of seconds or of a date. */
export function retryAfterMs(header: string | null): number | undefined {
  if (header === null || header.trim() === "") return undefined;
  const seconds = Number(header);
  if (Number.isFinite(seconds)) return Math.max(0, seconds * 1000);
  const at = Date.parse(header);
  return Number.isNaN(at) ? undefined : Math.max(0, at - Date.now());
}

function text(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

function isObject(value: unknown): value is Body {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
