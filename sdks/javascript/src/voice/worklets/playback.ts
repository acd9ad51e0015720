/**
 * The loudspeaker's audio thread: a ring buffer that is filled with 16 kHz speech and played at the
 * rate of the device. Speech comes in tracks (one per spoken answer) and is counted per track.
 *
 * In:  {type: "begin", track}, {type: "audio", pcm}, {type: "flush"}, {type: "end"},
 *      {type: "pause", isPaused}, {type: "clear", track}, {type: "gain", gain}, {type: "close"}
 * Out: {type: "playing" | "audible" | "played" | "finished" | "cleared", track, playedMs, peak}
 */
import { Resampler } from "../audio/resampler.js";

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

interface Track {
  id: string;
  endsAt: number | null;
  played: number;
  reported: number;
  peak: number;
  isPlaying: boolean;
  isAudible: boolean;
}

type Message =
  | { type: "begin" | "clear"; track: string }
  | { type: "audio"; pcm: ArrayBuffer }
  | { type: "flush" | "end" | "close" }
  | { type: "pause"; isPaused: boolean }
  | { type: "gain"; gain: number };

class Playback extends AudioWorkletProcessor {
  readonly #resampler = new Resampler(RATE, sampleRate);
  readonly #ring = new Float32Array(Math.ceil(CAPACITY_S * sampleRate));
  /** Samples ever written and ever played or dropped: the difference is what waits. */
  #written = 0;
  #read = 0;
  #isClearing = false;
  #isPaused = false;
  #isClosed = false;
  #gain = 1;
  #wantedGain = 1;
  readonly #tracks: Track[] = [];

  constructor() {
    super();
    this.port.onmessage = ({ data }: MessageEvent<Message>) => this.#receive(data);
  }

  process(_inputs: Float32Array[][], outputs: Float32Array[][]): boolean {
    const [speaker, ...others] = outputs[0] ?? [];
    if (!speaker) return !this.#isClosed;
    const isFrozen = this.#isPaused && !this.#isClearing;
    const count = isFrozen ? 0 : Math.min(speaker.length, this.#written - this.#read);
    for (let i = 0; i < count; i += 1) {
      // Cut to silence within one block (3 ms): at once to the ear, without a click.
      const fade = this.#isClearing ? 1 - (i + 1) / count : 1;
      this.#gain += GLIDE * (this.#wantedGain - this.#gain);
      const sample = this.#ring[(this.#read + i) % this.#ring.length]!;
      speaker[i] = fade * amplified(sample, this.#gain);
    }
    for (const channel of others) channel.set(speaker);
    this.#count(speaker, count);
    this.#drop();
    // Until it says so, the browser keeps the processor and its memory, also of a node let go.
    return !this.#isClosed;
  }

  #receive(message: Message): void {
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

  #begin(id: string): void {
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
      isAudible: false,
    });
  }

  #end(): void {
    const last = this.#tracks.at(-1);
    if (!last || last.endsAt !== null) return;
    this.#write(this.#resampler.flush());
    last.endsAt = this.#written;
  }

  #write(samples: Float32Array): void {
    if (this.#isClearing) return;
    for (const sample of samples) {
      this.#ring[this.#written % this.#ring.length] = sample;
      this.#written += 1;
    }
    this.#read = Math.max(this.#read, this.#written - this.#ring.length);
  }

  /** Forgets everything that waits, if that was asked for. */
  #drop(): void {
    if (!this.#isClearing) return;
    this.#isClearing = false;
    this.#isPaused = false;
    this.#read = this.#written;
    this.#resampler.reset();
    for (const track of this.#tracks.splice(0)) this.#report("cleared", track);
  }

  /** Books what was played on its tracks. */
  #count(block: Float32Array, count: number): void {
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
    // Of what waits for more, for a minute maybe, no later report tells.
    const isDry = this.#read === this.#written || this.#isPaused;
    if (waiting && isDry && waiting.played > waiting.reported) this.#reportPlayed(waiting);
  }

  #book(track: Track, samples: Float32Array): void {
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

  #reportPlayed(track: Track): void {
    track.reported = track.played;
    this.#report("played", track);
  }

  #report(type: string, track: Track): void {
    const playedMs = Math.round((track.played / sampleRate) * 1000);
    this.port.postMessage({ type, track: track.id, playedMs, peak: track.peak });
  }
}

function amplified(sample: number, gain: number): number {
  const loud = sample * gain;
  if (gain <= 1 || Math.abs(loud) <= KNEE) return loud;
  return Math.sign(loud) * (KNEE + (1 - KNEE) * Math.tanh((Math.abs(loud) - KNEE) / (1 - KNEE)));
}

/** s16le as parts of full scale. */
function fromPcm(pcm: ArrayBuffer): Float32Array {
  return Float32Array.from(new Int16Array(pcm), (sample) => sample / 32768);
}

registerProcessor("playback", Playback);
