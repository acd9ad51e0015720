/** What is to be sent while there is no connection. */
import { FRAME_BYTES, MAX_AUDIO_BYTES, durationMs, type ClientMessage } from "./protocol.js";

/** Of what was said meanwhile, the end is kept: more would come late and out of place. */
const KEPT_AUDIO_MS = 2000;

export class Backlog {
  #messages: ClientMessage[] = [];
  #audio: Uint8Array<ArrayBuffer>[] = [];
  #audioMs = 0;

  add(message: ClientMessage): void {
    // Of one answer, only the latest report of what was played says something.
    if (message.type === "output.audio.played") {
      this.#messages = this.#messages.filter(
        (other) => other.type !== message.type || other.tts_id !== message.tts_id,
      );
    }
    this.#messages.push(message);
  }

  addAudio(pcm: Uint8Array<ArrayBuffer>): void {
    this.#audio.push(pcm);
    this.#audioMs += durationMs(pcm.length);
    while (this.#audioMs > KEPT_AUDIO_MS) this.#audioMs -= durationMs(this.#audio.shift()!.length);
  }

  has(message: ClientMessage): boolean {
    return this.#messages.includes(message);
  }

  /** Another session begins: of all that waits, only texts mean something to it. */
  keepTexts(): void {
    this.#messages = this.#messages.filter(({ type }) => type === "input.text");
    this.#audio = [];
    this.#audioMs = 0;
  }

  /** Everything, in the order in which it is to be sent. */
  empty(): (ClientMessage | Uint8Array<ArrayBuffer>)[] {
    const all = [...this.#audio.splice(0), ...this.#messages.splice(0)];
    this.#audioMs = 0;
    return all;
  }
}

/** Cuts a stream of bytes, in whatever pieces it comes, into whole frames. */
export class Framer {
  #rest = new Uint8Array(0);

  /** The frames that these bytes complete, in pieces that the server takes. */
  add(pcm: ArrayBuffer | ArrayBufferView): Uint8Array<ArrayBuffer>[] {
    const bytes = ArrayBuffer.isView(pcm)
      ? new Uint8Array(pcm.buffer, pcm.byteOffset, pcm.byteLength)
      : new Uint8Array(pcm);
    const all = new Uint8Array(this.#rest.length + bytes.length);
    all.set(this.#rest);
    all.set(bytes, this.#rest.length);
    const whole = all.length - (all.length % FRAME_BYTES);
    this.#rest = all.slice(whole);
    const pieces = [];
    for (let at = 0; at < whole; at += MAX_AUDIO_BYTES) {
      pieces.push(all.slice(at, Math.min(whole, at + MAX_AUDIO_BYTES)));
    }
    return pieces;
  }
}
