/** What becomes of a conversation whose connection breaks. */

export interface ReconnectOptions {
  /** Where the session cannot be resumed, begin another, which knows nothing of it. Default: no. */
  fresh?: boolean;
  /** How long to try. Default: 60 s, which is also how long the server keeps a session. */
  giveUpAfterMs?: number;
}

export interface ReconnectPolicy {
  isOn: boolean;
  fresh: boolean;
  giveUpAfterMs: number;
}

const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 5000;
const GIVE_UP_AFTER_MS = 60_000;

/**
 * Closed so, a connection may be made again: it is lost, the server is restarting or busy, or
 * (1011) it has given up a socket that took nothing any more.
 */
const LOST = new Set([1001, 1005, 1006, 1011, 1012, 1013, 4503]);

export const isLost = (code: number): boolean => LOST.has(code);

export function reconnectPolicy(asked: boolean | ReconnectOptions = true): ReconnectPolicy {
  const options = typeof asked === "object" ? asked : {};
  const { fresh = false, giveUpAfterMs = GIVE_UP_AFTER_MS } = options;
  return { isOn: asked !== false, fresh, giveUpAfterMs };
}

/** Longer each time, and never the same for all clients of a server that went away. */
export function backoffMs(attempt: number, random: () => number = Math.random): number {
  const longest = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** (attempt - 1));
  return Math.round(longest * (0.5 + random() / 2));
}
