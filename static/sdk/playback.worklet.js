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

// src/voice/worklets/playback.ts
var RATE = 16e3;
var CAPACITY_S = 30;
var REPORT_S = 0.2;
var AUDIBLE = 0.01;
var GLIDE = 5e-3;
var KNEE = 0.8;
var Playback = class extends AudioWorkletProcessor {
  #resampler = new Resampler(RATE, sampleRate);
  #ring = new Float32Array(Math.ceil(CAPACITY_S * sampleRate));
  /** Samples ever written and ever played or dropped: the difference is what waits. */
  #written = 0;
  #read = 0;
  #isClearing = false;
  #isPaused = false;
  #isClosed = false;
  #gain = 1;
  #wantedGain = 1;
  #tracks = [];
  constructor() {
    super();
    this.port.onmessage = ({ data }) => this.#receive(data);
  }
  process(_inputs, outputs) {
    const [speaker, ...others] = outputs[0] ?? [];
    if (!speaker) return !this.#isClosed;
    const isFrozen = this.#isPaused && !this.#isClearing;
    const count = isFrozen ? 0 : Math.min(speaker.length, this.#written - this.#read);
    for (let i = 0; i < count; i += 1) {
      const fade = this.#isClearing ? 1 - (i + 1) / count : 1;
      this.#gain += GLIDE * (this.#wantedGain - this.#gain);
      const sample = this.#ring[(this.#read + i) % this.#ring.length];
      speaker[i] = fade * amplified(sample, this.#gain);
    }
    for (const channel of others) channel.set(speaker);
    this.#count(speaker, count);
    this.#drop();
    return !this.#isClosed;
  }
  #receive(message) {
    switch (message.type) {
      case "begin":
        return this.#begin(message.track);
      case "audio":
        return this.#write(this.#resampler.process(fromPcm(message.pcm)));
      case "flush":
        return this.#write(this.#resampler.flush());
      case "end":
        return this.#end();
      case "pause":
        this.#isPaused = message.isPaused;
        return;
      case "gain":
        this.#wantedGain = message.gain;
        return;
      case "close":
        this.#isClosed = true;
        return;
      case "clear":
        this.#isClearing ||= this.#tracks.some(({ id }) => id === message.track);
    }
  }
  #begin(id) {
    this.#end();
    this.#drop();
    this.#isPaused = false;
    this.#tracks.push({
      id,
      endsAt: null,
      played: 0,
      reported: 0,
      peak: 0,
      isPlaying: false,
      isAudible: false
    });
  }
  #end() {
    const last = this.#tracks.at(-1);
    if (!last || last.endsAt !== null) return;
    this.#write(this.#resampler.flush());
    last.endsAt = this.#written;
  }
  #write(samples) {
    if (this.#isClearing) return;
    for (const sample of samples) {
      this.#ring[this.#written % this.#ring.length] = sample;
      this.#written += 1;
    }
    this.#read = Math.max(this.#read, this.#written - this.#ring.length);
  }
  /** Forgets everything that waits, if that was asked for. */
  #drop() {
    if (!this.#isClearing) return;
    this.#isClearing = false;
    this.#isPaused = false;
    this.#read = this.#written;
    this.#resampler.reset();
    for (const track of this.#tracks.splice(0)) this.#report("cleared", track);
  }
  /** Books what was played on its tracks. */
  #count(block, count) {
    let at = 0;
    for (let track = this.#tracks[0]; track; track = this.#tracks[0]) {
      const last = track.endsAt ?? Infinity;
      const until = Math.min(count, last - this.#read);
      this.#book(track, block.subarray(at, Math.max(at, until)));
      at = Math.max(at, until);
      if (this.#read + at < last) break;
      this.#report("finished", track);
      this.#tracks.shift();
    }
    this.#read += count;
    const waiting = this.#tracks[0];
    const isDry = this.#read === this.#written || this.#isPaused;
    if (waiting && isDry && waiting.played > waiting.reported) this.#reportPlayed(waiting);
  }
  #book(track, samples) {
    if (!samples.length) return;
    track.played += samples.length;
    for (const sample of samples) track.peak = Math.max(track.peak, Math.abs(sample));
    if (!track.isPlaying) this.#report("playing", track);
    track.isPlaying = true;
    if (!track.isAudible && track.peak > AUDIBLE) {
      track.isAudible = true;
      this.#report("audible", track);
    }
    if (track.played - track.reported >= REPORT_S * sampleRate) this.#reportPlayed(track);
  }
  #reportPlayed(track) {
    track.reported = track.played;
    this.#report("played", track);
  }
  #report(type, track) {
    const playedMs = Math.round(track.played / sampleRate * 1e3);
    this.port.postMessage({ type, track: track.id, playedMs, peak: track.peak });
  }
};
function amplified(sample, gain) {
  const loud = sample * gain;
  if (gain <= 1 || Math.abs(loud) <= KNEE) return loud;
  return Math.sign(loud) * (KNEE + (1 - KNEE) * Math.tanh((Math.abs(loud) - KNEE) / (1 - KNEE)));
}
function fromPcm(pcm) {
  return Float32Array.from(new Int16Array(pcm), (sample) => sample / 32768);
}
registerProcessor("playback", Playback);
