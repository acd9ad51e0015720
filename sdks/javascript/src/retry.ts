import type { AssistantError } from "./errors.js";

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 8_000;
/** Whoever is asked to wait longer is told so, rather than kept. */
const LONGEST_WAIT_MS = 60_000;

/**
 * How long to wait before trying again: as the server asks, or else twice as long each time, and
 * never the same for two clients. Null where trying again does not help.
 */
export function delayBeforeRetry(error: AssistantError, tried: number): number | null {
  if (!error.retryable) return null;
  if (error.retryAfterMs !== undefined) {
    return error.retryAfterMs <= LONGEST_WAIT_MS ? error.retryAfterMs : null;
  }
  const full = Math.min(FIRST_DELAY_MS * 2 ** tried, LONGEST_DELAY_MS);
  return full * (0.5 + Math.random() / 2);
}
