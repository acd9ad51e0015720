// @ts-check
/**
 * The loudspeaker's audio thread: a ring buffer that is filled with 16 kHz speech and played at the
 * rate of the device. Speech comes in tracks (one per spoken answer) and is counted per track.
 *
 * In:  {type: "begin", track}, {type: "audio", pcm}, {type: "flush"}, {type: "end"},
 *      {type: "clear", track}, {type: "gain", gain}
 * Out: {type: "playing" | "audible" | "played" | "finished" | "cleared", track, playedMs, peak}
 */
import { Resampler } from "./resampler.js";

const RATE = 16000;
/** More than the server ever sends ahead; a suspended device loses the oldest, not the newest. */
const CAPACITY_S = 30;
const REPORT_S = 0.2;
/** Louder than this is a voice, not the silence around it. */
const AUDIBLE = 0.01;
/** Of the way to a new volume, this much each sample: there in 20 ms, without a crackle. */
const GLIDE = 0.005;
/** What is louder than this is bent and never cut off. */
const KNEE = 0.8;

class Playback extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(RATE, sampleRate);
    this.ring = new Float32Array(Math.ceil(CAPACITY_S * sampleRate));
    /** Samples ever written and ever played or dropped: the difference is what waits. */
    this.written = 0;
    this.read = 0;
    this.isClearing = false;
    this.gain = 1;
    this.wantedGain = 1;
    /** @type {{id: string, endsAt: number | null, played: number, reported: number, peak: number, isPlaying: boolean, isAudible: boolean}[]} */
    this.tracks = [];
    this.port.onmessage = ({ data }) => this.receive(data);
  }

  /** @param {{type: string, track?: string, pcm?: ArrayBuffer, gain?: number}} message */
  receive({ type, track, pcm, gain }) {
    if (type === "begin") this.begin(track ?? "");
    else if (type === "audio" && pcm) this.write(this.resampler.process(fromPcm(pcm)));
    else if (type === "flush") this.write(this.resampler.flush());
    else if (type === "end") this.end();
    else if (type === "gain") this.wantedGain = gain ?? 1;
    else if (type === "clear") this.isClearing ||= this.tracks.some(({ id }) => id === track);
  }

  /** @param {string} id */
  begin(id) {
    this.end();
    this.drop();
    this.tracks.push({
      id, endsAt: null,
      played: 0, reported: 0, peak: 0, isPlaying: false, isAudible: false,
    });
  }

  end() {
    const last = this.tracks.at(-1);
    if (!last || last.endsAt !== null) return;
    this.write(this.resampler.flush());
    last.endsAt = this.written;
  }

  /** @param {Float32Array} samples */
  write(samples) {
    if (this.isClearing) return;
    for (const sample of samples) {
      this.ring[this.written % this.ring.length] = sample;
      this.written += 1;
    }
    this.read = Math.max(this.read, this.written - this.ring.length);
  }

  /** Forgets everything that waits, if that was asked for. */
  drop() {
    if (!this.isClearing) return;
    this.isClearing = false;
    this.read = this.written;
    this.resampler.reset();
    for (const track of this.tracks.splice(0)) this.report("cleared", track);
  }

  /** @param {Float32Array[][]} _inputs @param {Float32Array[][]} outputs @returns {boolean} */
  process(_inputs, outputs) {
    const speaker = outputs[0][0];
    const count = Math.min(speaker.length, this.written - this.read);
    for (let i = 0; i < count; i += 1) {
      // Cut to silence within one block (3 ms): at once to the ear, without a click.
      const fade = this.isClearing ? 1 - (i + 1) / count : 1;
      this.gain += GLIDE * (this.wantedGain - this.gain);
      speaker[i] = fade * amplified(this.ring[(this.read + i) % this.ring.length], this.gain);
    }
    for (const channel of outputs[0].slice(1)) channel.set(speaker);
    this.count(speaker, count);
    this.drop();
    return true;
  }

  /** Books what was played on its tracks. @param {Float32Array} block @param {number} count */
  count(block, count) {
    let at = 0;
    while (this.tracks.length) {
      const track = this.tracks[0];
      const last = track.endsAt ?? Infinity;
      const until = Math.min(count, last - this.read);
      this.book(track, block.subarray(at, Math.max(at, until)));
      at = Math.max(at, until);
      if (this.read + at < last) break;
      this.report("finished", track);
      this.tracks.shift();
    }
    this.read += count;
    const [waiting] = this.tracks;
    // Of what waits for more, for a minute maybe, no later report tells.
    if (waiting && this.read === this.written && waiting.played > waiting.reported) this.reportPlayed(waiting);
  }

  /** @param {typeof this.tracks[0]} track @param {Float32Array} samples */
  book(track, samples) {
    if (!samples.length) return;
    track.played += samples.length;
    for (const sample of samples) track.peak = Math.max(track.peak, Math.abs(sample));
    if (!track.isPlaying) this.report("playing", track);
    track.isPlaying = true;
    if (!track.isAudible && track.peak > AUDIBLE) {
      track.isAudible = true;
      this.report("audible", track);
    }
    if (track.played - track.reported >= REPORT_S * sampleRate) this.reportPlayed(track);
  }

  /** @param {typeof this.tracks[0]} track */
  reportPlayed(track) {
    track.reported = track.played;
    this.report("played", track);
  }

  /** @param {string} type @param {typeof this.tracks[0]} track */
  report(type, track) {
    const playedMs = Math.round((track.played / sampleRate) * 1000);
    this.port.postMessage({ type, track: track.id, playedMs, peak: track.peak });
  }
}

/** @param {number} sample @param {number} gain @returns {number} */
function amplified(sample, gain) {
  const loud = sample * gain;
  if (gain <= 1 || Math.abs(loud) <= KNEE) return loud;
  return Math.sign(loud) * (KNEE + (1 - KNEE) * Math.tanh((Math.abs(loud) - KNEE) / (1 - KNEE)));
}

/** @param {ArrayBuffer} pcm s16le @returns {Float32Array} */
function fromPcm(pcm) {
  return Float32Array.from(new Int16Array(pcm), (sample) => sample / 32768);
}

registerProcessor("playback", Playback);
