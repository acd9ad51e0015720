// @ts-check
/**
 * The microphone and the loudspeaker, each on the browser's audio thread.
 *
 * @typedef {"denied" | "missing" | "busy" | "insecure"} MicrophoneProblem
 * @typedef {{type: "playing" | "audible" | "played" | "finished" | "cleared", track: string,
 *   playedMs: number, peak: number}} PlaybackReport
 */

/** Without the first, the assistant would hear and interrupt itself. */
const CONSTRAINTS = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };

/** @type {Record<string, MicrophoneProblem>} */
const PROBLEMS = {
  NotAllowedError: "denied",
  SecurityError: "denied",
  NotFoundError: "missing",
  OverconstrainedError: "missing",
  NotReadableError: "busy",
  AbortError: "busy",
};

/** Whether this page may use sound at all: browsers allow it over HTTPS and on localhost only. */
export const hasSound = () => typeof AudioWorkletNode !== "undefined" && isSecureContext;

/** Why there is no microphone. */
export class MicrophoneError extends Error {
  /** @param {MicrophoneProblem} problem */
  constructor(problem) {
    super(problem);
    this.problem = problem;
  }
}

/** A running context; call it from a click, or the browser keeps it silent. @returns {Promise<AudioContext>} */
export async function openContext() {
  const context = new AudioContext({ latencyHint: "interactive" });
  const modules = ["./capture.worklet.js", "./playback.worklet.js"];
  await Promise.all(modules.map((name) => context.audioWorklet.addModule(new URL(name, import.meta.url))));
  await context.resume();
  return context;
}

/** The microphone's sound. Raises MicrophoneError. @returns {Promise<MediaStream>} */
export async function openStream() {
  if (!navigator.mediaDevices) throw new MicrophoneError("insecure");
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: CONSTRAINTS });
  } catch (error) {
    const problem = error instanceof DOMException ? PROBLEMS[error.name] : undefined;
    if (problem) throw new MicrophoneError(problem);
    throw error;
  }
}

/** Gives the device back. @param {MediaStream} stream */
export function stopStream(stream) {
  for (const track of stream.getTracks()) track.stop();
}

/** Dispatches "frame" (detail: {pcm, rms}) every 20 ms, and "lost" when the device goes away. */
export class Microphone extends EventTarget {
  /** @param {AudioContext} context @param {MediaStream} stream */
  constructor(context, stream) {
    super();
    this.stream = stream;
    this.source = context.createMediaStreamSource(stream);
    this.node = new AudioWorkletNode(context, "capture", {
      numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit",
    });
    this.node.port.onmessage = ({ data }) => this.dispatchEvent(new CustomEvent("frame", { detail: data }));
    this.source.connect(this.node);
    stream.getAudioTracks()[0].addEventListener("ended", () => this.dispatchEvent(new Event("lost")));
  }

  close() {
    this.node.port.onmessage = null;
    this.source.disconnect();
    stopStream(this.stream);
  }
}

/** Plays answers in order; dispatches "report" (detail: PlaybackReport). */
export class Player extends EventTarget {
  /** @param {AudioContext} context */
  constructor(context) {
    super();
    this.node = new AudioWorkletNode(context, "playback", { numberOfInputs: 0, outputChannelCount: [2] });
    this.node.port.onmessage = ({ data }) => this.dispatchEvent(new CustomEvent("report", { detail: data }));
    this.node.connect(context.destination);
  }

  /** @param {string} track the audio that follows belongs to it */
  begin(track) {
    this.node.port.postMessage({ type: "begin", track });
  }

  /** @param {ArrayBuffer} pcm 16 kHz s16le; its memory goes to the audio thread */
  push(pcm) {
    this.node.port.postMessage({ type: "audio", pcm }, [pcm]);
  }

  /** A sentence is complete: it is played to its last sample, whenever the next follows. */
  flush() {
    this.node.port.postMessage({ type: "flush" });
  }

  /** No more audio follows for this track. */
  end() {
    this.node.port.postMessage({ type: "end" });
  }

  /** How many times louder than it comes it is played. @param {number} gain */
  amplify(gain) {
    this.node.port.postMessage({ type: "gain", gain });
  }

  /** Silence now, if this track plays or waits; the rest of it is dropped. @param {string} track */
  clear(track) {
    this.node.port.postMessage({ type: "clear", track });
  }
}
