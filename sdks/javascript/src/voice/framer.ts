/** Sound in the pieces in which it is sent. */
import { FRAME_BYTES, MAX_AUDIO_BYTES } from "./protocol.js";

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
