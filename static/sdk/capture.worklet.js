// Built from sdks/javascript by scripts/build_sdks.sh; change it there.

// src/voice/audio/resampler.ts
var ZERO_CROSSINGS = 24;
var PASS_BAND = 0.92;
var greatestCommonDivisor = (a, b) => b === 0 ? a : greatestCommonDivisor(b, a % b);
function filterBank(up, down) {
  const half = Math.ceil(ZERO_CROSSINGS * Math.max(1, down / up));
  const cutoff = PASS_BAND * Math.min(1, up / down);
  return Array.from({ length: up }, (_, phase) => {
    const row = Float32Array.from({ length: 2 * half }, (_2, tap) => {
      const x = tap - half + 1 - phase / up;
      const sinc = x === 0 ? cutoff : Math.sin(Math.PI * cutoff * x) / (Math.PI * x);
      const turn = Math.PI * x / half;
      return sinc * (0.42 + 0.5 * Math.cos(turn) + 0.08 * Math.cos(2 * turn));
    });
    const sum = row.reduce((total, tap) => total + tap, 0);
    return row.map((tap) => tap / sum);
  });
}
var Resampler = class {
  #up;
  #down;
  /** Empty where both rates are the same. */
  #bank;
  #taps;
  /** Input that the next output sample still needs. */
  #pending;
  /** Where the next output sample lies in `pending`, in parts of 1/up sample. */
  #position = 0;
  /** Rates in Hz. */
  constructor(fromRate, toRate) {
    const divisor = greatestCommonDivisor(Math.round(fromRate), Math.round(toRate));
    this.#up = Math.round(toRate) / divisor;
    this.#down = Math.round(fromRate) / divisor;
    this.#bank = this.#up === this.#down ? [] : filterBank(this.#up, this.#down);
    this.#taps = this.#bank[0]?.length ?? 0;
    this.#pending = this.#silence();
  }
  /** Forgets the stream, so that the next sample is the first of another. */
  reset() {
    this.#pending = this.#silence();
    this.#position = 0;
  }
  /** The samples that the input completes. */
  process(input) {
    if (!this.#taps) return input;
    const samples = new Float32Array(this.#pending.length + input.length);
    samples.set(this.#pending);
    samples.set(input, this.#pending.length);
    const span = (samples.length - this.#taps + 1) * this.#up - this.#position;
    const output = new Float32Array(Math.max(0, Math.ceil(span / this.#down)));
    for (let n = 0; n < output.length; n += 1) {
      const start = Math.floor(this.#position / this.#up);
      const row = this.#bank[this.#position % this.#up];
      let sum = 0;
      for (let tap = 0; tap < this.#taps; tap += 1) sum += row[tap] * samples[start + tap];
      output[n] = sum;
      this.#position += this.#down;
    }
    const used = Math.min(Math.floor(this.#position / this.#up), samples.length);
    this.#pending = samples.slice(used);
    this.#position -= used * this.#up;
    return output;
  }
  /** What is still inside the filter at the end of a stream. */
  flush() {
    const rest = this.#taps ? this.process(new Float32Array(this.#taps / 2)) : new Float32Array(0);
    this.reset();
    return rest;
  }
  /** What lies before a stream: half a filter of nothing. */
  #silence() {
    return new Float32Array(this.#taps ? this.#taps / 2 - 1 : 0);
  }
};

// src/voice/worklets/capture.ts
var RATE = 16e3;
var FRAME_SAMPLES = 320;
var NOTHING = new Float32Array(0);
var Capture = class extends AudioWorkletProcessor {
  #resampler = new Resampler(sampleRate, RATE);
  #frame = new Int16Array(FRAME_SAMPLES);
  #filled = 0;
  #energy = 0;
  #isClosed = false;
  constructor() {
    super();
    this.port.onmessage = () => this.#isClosed = true;
  }
  process(inputs) {
    if (this.#isClosed) return false;
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
  #send() {
    const pcm = this.#frame.buffer;
    const rms = Math.sqrt(this.#energy / FRAME_SAMPLES);
    this.port.postMessage({ pcm, rms }, [pcm]);
    this.#frame = new Int16Array(FRAME_SAMPLES);
    this.#filled = 0;
    this.#energy = 0;
  }
};
registerProcessor("capture", Capture);
