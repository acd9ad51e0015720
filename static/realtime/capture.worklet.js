// @ts-check
/**
 * The microphone's audio thread: any device rate in; 16 kHz, s16le, mono out, in frames of 20 ms.
 * Posts {pcm: ArrayBuffer of 640 bytes, rms: 0..1} for every frame.
 */
import { Resampler } from "./resampler.js";

const RATE = 16000;
const FRAME_SAMPLES = 320;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate, RATE);
    this.frame = new Int16Array(FRAME_SAMPLES);
    this.filled = 0;
    this.energy = 0;
  }

  /** @param {Float32Array[][]} inputs @returns {boolean} */
  process(inputs) {
    const channel = inputs[0][0];
    if (!channel) return true; // the microphone is not connected yet, or was unplugged
    for (const sample of this.resampler.process(channel)) {
      const level = Math.max(-1, Math.min(1, sample));
      this.frame[this.filled] = Math.round(level * 32767);
      this.energy += level * level;
      this.filled += 1;
      if (this.filled === FRAME_SAMPLES) this.sendFrame();
    }
    return true;
  }

  sendFrame() {
    const pcm = this.frame.buffer;
    this.port.postMessage({ pcm, rms: Math.sqrt(this.energy / FRAME_SAMPLES) }, [pcm]);
    this.frame = new Int16Array(FRAME_SAMPLES);
    this.filled = 0;
    this.energy = 0;
  }
}

registerProcessor("capture", Capture);
