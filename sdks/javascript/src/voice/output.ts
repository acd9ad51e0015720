/** Which spoken output arriving sound belongs to, and which of it is new. Pure: no sound, no clock. */
import { bytesOf, durationMs } from "./protocol.js";

/** Where in an output the next sound lies, after a connection was made again. */
export interface SoundPosition {
  ttsId: string;
  offsetMs: number;
}

export class Output {
  /** The responses of the spoken outputs, by the outputs' ids. */
  readonly #responses = new Map<string, string>();
  #ttsId: string | null = null;
  #receivedMs = 0;
  /** How much of what comes next came before the connection was lost. */
  #knownMs = 0;

  /** The output that sound belongs to now; null: it is not wanted. */
  get ttsId(): string | null {
    return this.#ttsId;
  }

  /** The sound that follows belongs to this output. */
  begin(ttsId: string, responseId: string): void {
    this.#ttsId = ttsId;
    this.#receivedMs = this.#knownMs = 0;
    this.#responses.set(ttsId, responseId);
  }

  responseOf(ttsId: string): string | undefined {
    return this.#responses.get(ttsId);
  }

  /** The outputs of one response, or of all. */
  idsOf(responseId?: string): string[] {
    const all = [...this.#responses];
    return all.filter(([, of]) => of === (responseId ?? of)).map(([ttsId]) => ttsId);
  }

  /** What is new of sound that has come; null where nothing is. */
  receive(all: ArrayBuffer): ArrayBuffer | null {
    if (this.#ttsId === null) return null;
    const known = Math.min(all.byteLength, bytesOf(this.#knownMs));
    this.#knownMs -= durationMs(known);
    if (known === all.byteLength) return null;
    this.#receivedMs += durationMs(all.byteLength - known);
    return known ? all.slice(known) : all;
  }

  /** The same session goes on over another connection. */
  goOn({ ttsId, offsetMs }: SoundPosition): void {
    if (ttsId === this.#ttsId) this.#knownMs = Math.max(0, this.#receivedMs - offsetMs);
  }

  /** Its sound is not wanted any more; whether it was the one of now. */
  drop(ttsId: string): boolean {
    const isCurrent = ttsId === this.#ttsId;
    if (isCurrent) this.#ttsId = null;
    return isCurrent;
  }

  /** Another session begins. */
  reset(): void {
    this.#responses.clear();
    this.#ttsId = null;
  }
}
