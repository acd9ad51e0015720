// @ts-check
/**
 * Sample rate conversion of a stream, by a polyphase windowed-sinc low-pass filter.
 *
 * Dropping samples would fold everything above 8 kHz back into the speech band, which a recogniser
 * hears as noise; repeating them on the way out would add a metallic ring.
 */

/** Zero crossings of the sinc on each side of its centre: steepness against delay (1.5 ms). */
const ZERO_CROSSINGS = 24;
/** Where the filter starts to cut, as a part of the lower rate's bandwidth. */
const PASS_BAND = 0.92;

/** @param {number} a @param {number} b @returns {number} */
const greatestCommonDivisor = (a, b) => (b === 0 ? a : greatestCommonDivisor(b, a % b));

/**
 * One row of filter taps for each position of an output sample between two input samples.
 * @param {number} up @param {number} down @returns {Float32Array[]}
 */
function filterBank(up, down) {
  const half = Math.ceil(ZERO_CROSSINGS * Math.max(1, down / up));
  const cutoff = PASS_BAND * Math.min(1, up / down);
  return Array.from({ length: up }, (_, phase) => {
    const row = new Float32Array(2 * half);
    let sum = 0;
    for (let tap = 0; tap < row.length; tap += 1) {
      const x = tap - half + 1 - phase / up;
      const sinc = x === 0 ? cutoff : Math.sin(Math.PI * cutoff * x) / (Math.PI * x);
      const turn = (Math.PI * x) / half;
      row[tap] = sinc * (0.42 + 0.5 * Math.cos(turn) + 0.08 * Math.cos(2 * turn));
      sum += row[tap];
    }
    return row.map((tap) => tap / sum);
  });
}

export class Resampler {
  /** @param {number} fromRate Hz @param {number} toRate Hz */
  constructor(fromRate, toRate) {
    const divisor = greatestCommonDivisor(Math.round(fromRate), Math.round(toRate));
    this.up = Math.round(toRate) / divisor;
    this.down = Math.round(fromRate) / divisor;
    this.bank = this.up === this.down ? [] : filterBank(this.up, this.down);
    /** Input that the next output sample still needs. @type {Float32Array} */
    this.pending = this.silence();
    /** Where the next output sample lies in `pending`, in parts of 1/up sample. */
    this.position = 0;
  }

  /** What lies before a stream: half a filter of nothing. @returns {Float32Array} */
  silence() {
    return new Float32Array(this.bank.length ? this.bank[0].length / 2 - 1 : 0);
  }

  /** Forgets the stream, so that the next sample is the first of another. */
  reset() {
    this.pending = this.silence();
    this.position = 0;
  }

  /** The samples that the input completes. @param {Float32Array} input @returns {Float32Array} */
  process(input) {
    if (!this.bank.length) return input;
    const taps = this.bank[0].length;
    const samples = new Float32Array(this.pending.length + input.length);
    samples.set(this.pending);
    samples.set(input, this.pending.length);
    const span = (samples.length - taps + 1) * this.up - this.position;
    const output = new Float32Array(Math.max(0, Math.ceil(span / this.down)));
    for (let n = 0; n < output.length; n += 1) {
      const start = Math.floor(this.position / this.up);
      const row = this.bank[this.position % this.up];
      let sum = 0;
      for (let tap = 0; tap < taps; tap += 1) sum += row[tap] * samples[start + tap];
      output[n] = sum;
      this.position += this.down;
    }
    const used = Math.min(Math.floor(this.position / this.up), samples.length);
    this.pending = samples.slice(used);
    this.position -= used * this.up;
    return output;
  }

  /** What is still inside the filter at the end of a stream. @returns {Float32Array} */
  flush() {
    const rest = this.bank.length ? this.process(new Float32Array(this.bank[0].length / 2)) : new Float32Array(0);
    this.reset();
    return rest;
  }
}
