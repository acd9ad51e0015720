/** Listeners by the name of an event; the arguments of each event are typed. */

type Listener<Arguments extends unknown[]> = (...given: Arguments) => void;

export class Emitter<Events extends { [Name in keyof Events]: unknown[] }> {
  readonly #listeners = new Map<keyof Events, Set<Listener<never>>>();

  /** Calls the listener for every such event; the function that comes back ends that. */
  on<Name extends keyof Events>(name: Name, listener: Listener<Events[Name]>): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => this.off(name, listener);
  }

  /** Calls the listener for the next such event only. */
  once<Name extends keyof Events>(name: Name, listener: Listener<Events[Name]>): () => void {
    const stop = this.on(name, (...given) => {
      stop();
      listener(...given);
    });
    return stop;
  }

  off<Name extends keyof Events>(name: Name, listener: Listener<Events[Name]>): void {
    this.#listeners.get(name)?.delete(listener);
  }

  /** Tells the listeners; what one of them throws reaches neither the others nor the caller. */
  protected emit<Name extends keyof Events>(name: Name, ...given: Events[Name]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        (listener as Listener<Events[Name]>)(...given);
      } catch (error) {
        report(error);
      }
    }
  }
}

/** Shows a listener's mistake, for which no program ends. */
function report(error: unknown): void {
  if (typeof reportError === "function") reportError(error);
  else console.error("A listener failed:", error);
}
