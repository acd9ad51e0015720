/**
 * The microphone's audio thread: any device rate in; 16 kHz, s16le, mono out, in frames of 20 ms.
 * Posts {pcm: ArrayBuffer of 640 bytes, rms: 0..1} for every frame, until it is sent anything.
 */
import { Resampler } from "../audio/resampler.js";

const RATE = 16000;
const FRAME_SAMPLES = 320;
const NOTHING = new Float32Array(0);

class Capture extends AudioWorkletProcessor {
  readonly #resampler = new Resampler(sampleRate, RATE);
  #frame = new Int16Array(FRAME_SAMPLES);
  #filled = 0;
  #energy = 0;
  #isClosed = false;

  constructor() {
    super();
    this.port.onmessage = () => (this.#isClosed = true);
  }

  process(inputs: Float32Array[][]): boolean {
    if (this.#isClosed) return false;
    // Without a channel the microphone is not connected yet, or was unplugged.
    const channel = inputs[0]?.[0] ?? NOTHING;
    for (const sample of this.#resampler.process(channel)) {
      const level = Math.max(-1, Math.min(1, sample));
      this.#frame[this.#filled] = Math.round(level * 32767);
      this.#energy += level * level;
      this.#filled += 1;
      if (this.#filled === FRAME_SAMPLES) this.#send();
    }
    return true;
  }

  #send(): void {
    const pcm = this.#frame.buffer;
    const rms = Math.sqrt(this.#energy / FRAME_SAMPLES);
    this.port.postMessage({ pcm, rms }, [pcm]);
    this.#frame = new Int16Array(FRAME_SAMPLES);
    this.#filled = 0;
    this.#energy = 0;
  }
}

registerProcessor("capture", Capture);
