/** The loudspeaker: plays answers in order, and tells what was really heard. */
import type { Sound } from "./sound.js";

export interface PlaybackReport {
  /** `audible`: the first sound that is no silence; `played`: every 200 ms; the others as named. */
  type: "playing" | "audible" | "played" | "finished" | "cleared";
  ttsId: string;
  playedMs: number;
  /** The loudest sample until now, 0 to 1. */
  peak: number;
}

export class Player {
  readonly #node: AudioWorkletNode;

  constructor({ context }: Sound, onReport: (report: PlaybackReport) => void) {
    this.#node = new AudioWorkletNode(context, "playback", {
      numberOfInputs: 0,
      outputChannelCount: [2],
    });
    this.#node.port.onmessage = ({ data: { track, ...report } }) =>
      onReport({ ...report, ttsId: track });
    this.#node.connect(context.destination);
  }

  /** The sound that follows belongs to this answer. */
  begin(ttsId: string): void {
    this.#post({ type: "begin", track: ttsId });
  }

  /** 16 kHz s16le; the memory of it goes to the audio thread. */
  push(pcm: ArrayBuffer): void {
    this.#node.port.postMessage({ type: "audio", pcm }, [pcm]);
  }

  /** A sentence is complete: it is played to its last sample, whenever the next follows. */
  flush(): void {
    this.#post({ type: "flush" });
  }

  /** No more sound follows for this answer. */
  end(): void {
    this.#post({ type: "end" });
  }

  /** Freezes: what waits stays, and goes on with the same sample. */
  pause(isPaused: boolean): void {
    this.#post({ type: "pause", isPaused });
  }

  /** How many times louder than it comes it is played. */
  amplify(gain: number): void {
    this.#post({ type: "gain", gain });
  }

  /** Silence now, if this answer plays or waits; the rest of it is dropped. */
  clear(ttsId: string): void {
    this.#post({ type: "clear", track: ttsId });
  }

  close(): void {
    this.#node.port.onmessage = null;
    this.#post({ type: "close" });
    this.#node.disconnect();
  }

  #post(message: object): void {
    this.#node.port.postMessage(message);
  }
}
