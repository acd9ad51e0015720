/** Why nobody was reached, as a person can use it. */

/** The place without what only the server is to know. */
export function placeOf(url: string | URL): string {
  return String(url).replace(/[?#].*$/s, "");
}

/** "ECONNREFUSED", say; Node hides it in the causes of causes. */
export function reasonOf(failure: unknown): string {
  let reason = "";
  for (let at = failure; at instanceof Error; at = at.cause) {
    const { code } = at as { code?: unknown };
    if (typeof code === "string" && code) return code;
    reason = at.message || reason;
  }
  return reason;
}

/** One sentence, with the reason where that is known. */
export function unreachable(url: string | URL, failure: unknown): string {
  const reason = reasonOf(failure);
  return `The server at ${placeOf(url)} cannot be reached${reason && `: ${reason}`}.`;
}
