/** The microphone, from the permission to frames of 20 ms. */
import { UnsupportedError } from "../../errors.js";
import { MicrophoneError, type MicrophoneProblem } from "../errors.js";
import type { PageConstraints, PageStream } from "./page-types.js";
import type { Sound } from "./sound.js";

export interface Frame {
  /** 640 bytes: 20 ms of pcm_s16le, 16 kHz, mono. */
  pcm: ArrayBuffer;
  /** Its loudness, 0 to 1. */
  rms: number;
}

/** Without the first, the assistant would hear and interrupt itself. */
const CONSTRAINTS: PageConstraints = {
  echoCancellation: true,
  noiseSuppression: true,
  autoGainControl: true,
  channelCount: 1,
};

const PROBLEMS: Record<string, MicrophoneProblem> = {
  NotAllowedError: "denied",
  SecurityError: "denied",
  NotFoundError: "missing",
  OverconstrainedError: "missing",
  NotReadableError: "busy",
  AbortError: "busy",
};

/**
 * The microphone's sound, once the user allows it. Rejects with MicrophoneError, or, outside
 * browsers, UnsupportedError.
 */
export async function openMicrophone(
  constraints: PageConstraints = {},
): Promise<PageStream> {
  if (typeof window === "undefined") {
    const message = "There is no browser to ask for a microphone: send speech with sendAudio.";
    throw new UnsupportedError("microphone.unsupported", message);
  }
  const devices = typeof navigator === "undefined" ? undefined : navigator.mediaDevices;
  if (!devices) throw new MicrophoneError("insecure");
  try {
    return await devices.getUserMedia({ audio: { ...CONSTRAINTS, ...constraints } });
  } catch (error) {
    const problem = error instanceof DOMException ? PROBLEMS[error.name] : undefined;
    throw new MicrophoneError(problem ?? "missing", { cause: error });
  }
}

/** Gives the device back. */
export function stopStream(stream: PageStream): void {
  for (const track of stream.getTracks()) track.stop();
}

function sourceOf(context: AudioContext, stream: PageStream): MediaStreamAudioSourceNode {
  try {
    return context.createMediaStreamSource(stream);
  } catch (error) {
    // A stream of a camera only, say.
    throw new MicrophoneError("missing", { cause: error });
  }
}

/** A microphone that is listened to. */
export class Microphone {
  readonly stream: PageStream;
  readonly #source: MediaStreamAudioSourceNode;
  readonly #node: AudioWorkletNode;
  readonly #track: MediaStreamTrack | undefined;
  readonly #onLost: () => void;

  /** `onLost` is called when the device goes away. Throws MicrophoneError. */
  constructor(
    { context }: Sound,
    stream: PageStream,
    listeners: { onFrame: (frame: Frame) => void; onLost: () => void },
  ) {
    this.stream = stream;
    this.#source = sourceOf(context, stream);
    this.#node = new AudioWorkletNode(context, "capture", {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
    });
    this.#node.port.onmessage = ({ data }) => listeners.onFrame(data);
    this.#source.connect(this.#node);
    this.#track = stream.getAudioTracks()[0];
    this.#onLost = listeners.onLost;
    this.#track?.addEventListener("ended", this.#onLost);
  }

  close(): void {
    this.#track?.removeEventListener("ended", this.#onLost);
    this.#node.port.onmessage = null;
    this.#node.port.postMessage("close");
    this.#source.disconnect();
    stopStream(this.stream);
  }
}
