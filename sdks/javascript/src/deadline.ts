import { AbortedError, TimeoutError, type AssistantError } from "./errors.js";

/** How long something may take, and the caller's signal that ends it before: both as one signal. */
export class Deadline {
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal | undefined;
  readonly #timeoutMs: number;
  readonly #ended: Promise<never>;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(timeoutMs: number, caller?: AbortSignal) {
    this.#timeoutMs = timeoutMs;
    this.#caller = caller;
    this.#ended = new Promise((_, reject) => {
      const end = (): void => reject(this.#controller.signal.reason as AssistantError);
      this.#controller.signal.addEventListener("abort", end, { once: true });
    });
    // Nobody may be waiting when it ends.
    this.#ended.catch(() => undefined);
    if (caller?.aborted) this.#abort();
    else caller?.addEventListener("abort", this.#abort, { once: true });
    this.restart();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** What the promise gives, or the reason for which there is no more time for it. */
  within<T>(promise: Promise<T>): Promise<T> {
    return Promise.race([promise, this.#ended]);
  }

  /** Starts the time anew: something came. */
  restart(): void {
    clearTimeout(this.#timer);
    if (this.signal.aborted || !Number.isFinite(this.#timeoutMs)) return;
    this.#timer = setTimeout(() => {
      const text = `Nothing came within ${this.#timeoutMs} ms.`;
      this.#controller.abort(new TimeoutError("timeout", text, { retryable: true }));
    }, this.#timeoutMs);
  }

  /** Stops the clock until `restart`: whoever reads takes as long as they like. */
  pause(): void {
    clearTimeout(this.#timer);
  }

  /** Throws the reason, where there is no more time. */
  throwIfOver(): void {
    if (this.signal.aborted) throw this.signal.reason;
  }

  /** Stops the clock and forgets the caller's signal. To be called at any end. */
  clear(): void {
    clearTimeout(this.#timer);
    this.#caller?.removeEventListener("abort", this.#abort);
  }

  readonly #abort = (): void => {
    this.#controller.abort(abortedBy(this.#caller));
  };
}

/** Waits, but not beyond the caller's signal. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(abortedBy(signal));
    const abort = (): void => {
      clearTimeout(timer);
      reject(abortedBy(signal));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

function abortedBy(signal: AbortSignal | undefined): AbortedError {
  return new AbortedError("aborted", "The caller ended this.", { cause: signal?.reason });
}
