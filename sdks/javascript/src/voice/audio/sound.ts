/** The browser's audio thread, with the two processors that run on it. */
import { UnsupportedError } from "../../errors.js";
import type { PageAudio } from "./page-types.js";
import { CAPTURE_WORKLET, PLAYBACK_WORKLET } from "./worklet-sources.js";

export interface SoundOptions {
  /** Where `capture.worklet.js` is served, for pages whose policy forbids scripts from `blob:`. */
  captureWorkletUrl?: string | URL;
  /** Where `playback.worklet.js` is served. */
  playbackWorkletUrl?: string | URL;
}

/** Whether this page may use sound at all: browsers allow it over HTTPS and on localhost only. */
export function hasSound(): boolean {
  return typeof AudioWorkletNode !== "undefined" && isSecureContext;
}

/** A running audio thread. Whoever opened it closes it. */
export class Sound {
  readonly context: PageAudio;

  /** @internal Use `openSound`. */
  constructor(context: PageAudio) {
    this.context = context;
    // A browser that saw no click keeps the page silent until the next.
    for (const type of WAKING) addEventListener(type, this.resume);
    document.addEventListener("visibilitychange", this.resume);
  }

  /** Sounds again, where the browser or the phone has suspended it. */
  readonly resume = (): void => {
    if (this.context.state === "suspended") void this.context.resume().catch(() => undefined);
  };

  close(): void {
    for (const type of WAKING) removeEventListener(type, this.resume);
    document.removeEventListener("visibilitychange", this.resume);
    // Whoever closes it twice has what they want.
    this.context.close().catch(() => undefined);
  }
}

const WAKING = ["pointerdown", "keydown"] as const;

/** Opens the audio thread; call it from a click. Rejects with UnsupportedError. */
export async function openSound(options: SoundOptions = {}): Promise<Sound> {
  if (!hasSound()) {
    const message = "Browsers allow sound only over HTTPS and on localhost.";
    throw new UnsupportedError("audio.unsupported", message);
  }
  const sound = new Sound(new AudioContext({ latencyHint: "interactive" }));
  sound.resume();
  try {
    await Promise.all([
      addWorklet(sound, options.captureWorkletUrl, CAPTURE_WORKLET),
      addWorklet(sound, options.playbackWorkletUrl, PLAYBACK_WORKLET),
    ]);
  } catch (error) {
    sound.close();
    const message = "The page could not load the audio worklets; its policy may forbid blob:.";
    throw new UnsupportedError("audio.worklet", message, { cause: error });
  }
  return sound;
}

async function addWorklet(
  { context }: Sound,
  url: string | URL | undefined,
  source: string,
): Promise<void> {
  if (url !== undefined) return context.audioWorklet.addModule(url);
  const blob = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  try {
    await context.audioWorklet.addModule(blob);
  } finally {
    URL.revokeObjectURL(blob);
  }
}
