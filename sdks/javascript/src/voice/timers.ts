/** Limits of time that are no reason for a program to go on. */

/** Does something later, unless it is called off by the function that comes back. */
export function limit(ms: number, exceeded: () => void): () => void {
  const timer: unknown = setTimeout(exceeded, ms);
  // Node's timers are objects, and hold its process.
  if (typeof timer === "object") (timer as { unref(): void }).unref();
  return () => clearTimeout(timer as number);
}
