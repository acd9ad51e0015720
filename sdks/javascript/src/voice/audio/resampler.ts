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

const greatestCommonDivisor = (a: number, b: number): number =>
  b === 0 ? a : greatestCommonDivisor(b, a % b);

/** One row of filter taps for each position of an output sample between two input samples. */
function filterBank(up: number, down: number): Float32Array[] {
  const half = Math.ceil(ZERO_CROSSINGS * Math.max(1, down / up));
  const cutoff = PASS_BAND * Math.min(1, up / down);
  return Array.from({ length: up }, (_, phase) => {
    const row = Float32Array.from({ length: 2 * half }, (_, tap) => {
      const x = tap - half + 1 - phase / up;
      const sinc = x === 0 ? cutoff : Math.sin(Math.PI * cutoff * x) / (Math.PI * x);
      const turn = (Math.PI * x) / half;
      return sinc * (0.42 + 0.5 * Math.cos(turn) + 0.08 * Math.cos(2 * turn));
    });
    const sum = row.reduce((total, tap) => total + tap, 0);
    return row.map((tap) => tap / sum);
  });
}

export class Resampler {
  readonly #up: number;
  readonly #down: number;
  /** Empty where both rates are the same. */
  readonly #bank: Float32Array[];
  readonly #taps: number;
  /** Input that the next output sample still needs. */
  #pending: Float32Array;
  /** Where the next output sample lies in `pending`, in parts of 1/up sample. */
  #position = 0;

  /** Rates in Hz. */
  constructor(fromRate: number, toRate: number) {
    const divisor = greatestCommonDivisor(Math.round(fromRate), Math.round(toRate));
    this.#up = Math.round(toRate) / divisor;
    this.#down = Math.round(fromRate) / divisor;
    this.#bank = this.#up === this.#down ? [] : filterBank(this.#up, this.#down);
    this.#taps = this.#bank[0]?.length ?? 0;
    this.#pending = this.#silence();
  }

  /** Forgets the stream, so that the next sample is the first of another. */
  reset(): void {
    this.#pending = this.#silence();
    this.#position = 0;
  }

  /** The samples that the input completes. */
  process(input: Float32Array): Float32Array {
    if (!this.#taps) return input;
    const samples = new Float32Array(this.#pending.length + input.length);
    samples.set(this.#pending);
    samples.set(input, this.#pending.length);
    const span = (samples.length - this.#taps + 1) * this.#up - this.#position;
    const output = new Float32Array(Math.max(0, Math.ceil(span / this.#down)));
    for (let n = 0; n < output.length; n += 1) {
      const start = Math.floor(this.#position / this.#up);
      const row = this.#bank[this.#position % this.#up]!;
      let sum = 0;
      for (let tap = 0; tap < this.#taps; tap += 1) sum += row[tap]! * samples[start + tap]!;
      output[n] = sum;
      this.#position += this.#down;
    }
    const used = Math.min(Math.floor(this.#position / this.#up), samples.length);
    this.#pending = samples.slice(used);
    this.#position -= used * this.#up;
    return output;
  }

  /** What is still inside the filter at the end of a stream. */
  flush(): Float32Array {
    const rest = this.#taps ? this.process(new Float32Array(this.#taps / 2)) : new Float32Array(0);
    this.reset();
    return rest;
  }

  /** What lies before a stream: half a filter of nothing. */
  #silence(): Float32Array {
    return new Float32Array(this.#taps ? this.#taps / 2 - 1 : 0);
  }
}
