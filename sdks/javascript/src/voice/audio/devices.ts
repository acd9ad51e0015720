/** The microphone and the loudspeaker of one conversation. */
import { MicrophoneError, closed } from "../errors.js";
import { Microphone, openMicrophone, stopStream, type Frame } from "./microphone.js";
import type { PageConstraints, PageStream } from "./page-types.js";
import { Player, type PlaybackReport } from "./player.js";
import { openSound, type Sound, type SoundOptions } from "./sound.js";

export interface AudioOptions extends SoundOptions {
  /** Whether replies are played. Default: yes, in browsers. */
  playback?: boolean;
  /** An audio thread that is open already, and whose owner closes it. */
  sound?: Sound;
  /** 1, the default, is as loud as speech was made. */
  volume?: number;
}

export interface MicrophoneOptions {
  /** A stream that is open already; the conversation closes it. */
  stream?: PageStream;
  /** Further wishes, such as `{ deviceId }`. */
  constraints?: PageConstraints;
}

export interface DeviceListener {
  /** Every 20 ms of the microphone; `rms` is 0 while it is muted. */
  frame(frame: Frame): void;
  report(report: PlaybackReport): void;
  /** The microphone was unplugged. */
  lost(error: MicrophoneError): void;
}

const LOUDEST = 2;

export class Devices {
  readonly #options: AudioOptions;
  readonly #listener: DeviceListener;
  #sound: Promise<Sound> | null;
  #player: Player | null = null;
  #microphone: Microphone | null = null;
  #opening: Promise<void> | null = null;
  /** Raised with each wish to have no microphone: one that is being opened is not wanted then. */
  #stops = 0;
  #isClosed = false;
  #isMuted = false;
  #volume = 1;

  constructor(options: AudioOptions, listener: DeviceListener) {
    this.#options = options;
    this.#listener = listener;
    this.#sound = options.sound ? Promise.resolve(options.sound) : null;
    this.setVolume(options.volume ?? 1);
  }

  get isMuted(): boolean {
    return this.#isMuted;
  }

  get volume(): number {
    return this.#volume;
  }

  get hasMicrophone(): boolean {
    return this.#microphone !== null;
  }

  get player(): Player | null {
    return this.#player;
  }

  /** Rejects with UnsupportedError. */
  async openPlayer(): Promise<void> {
    this.#player = new Player(await this.#openSound(), (report) => this.#listener.report(report));
    this.setVolume(this.#volume);
  }

  /**
   * Rejects with MicrophoneError or UnsupportedError, and with ConnectionError after the end; does
   * nothing where it is on already.
   */
  openMicrophone(options: MicrophoneOptions): Promise<void> {
    if (this.#isClosed || this.#microphone) {
      if (options.stream && options.stream !== this.#microphone?.stream) stopStream(options.stream);
      return this.#isClosed ? Promise.reject(closed()) : Promise.resolve();
    }
    const opening = (this.#opening ??= this.#listen(options, this.#stops));
    const done = (): void => {
      if (this.#opening === opening) this.#opening = null;
    };
    opening.then(done, done);
    return opening;
  }

  closeMicrophone(): void {
    this.#stops += 1;
    this.#opening = null;
    this.#microphone?.close();
    this.#microphone = null;
  }

  /** Muted is silence, not nothing: the server ends a turn by the silence it hears. */
  mute(isMuted: boolean): void {
    this.#isMuted = isMuted;
  }

  setVolume(volume: number): void {
    this.#volume = Math.min(LOUDEST, Math.max(0, volume));
    // The ear hears squares.
    this.#player?.amplify(this.#volume ** 2);
  }

  close(): void {
    this.#isClosed = true;
    this.closeMicrophone();
    this.#player?.close();
    this.#player = null;
    const close = (sound: Sound): void => sound.close();
    if (!this.#options.sound) this.#sound?.then(close, () => undefined);
    this.#sound = null;
  }

  /** One audio thread, also for those who ask while it opens. */
  async #openSound(): Promise<Sound> {
    const opening = (this.#sound ??= openSound(this.#options));
    try {
      return await opening;
    } catch (error) {
      this.#sound = null;
      throw error;
    }
  }

  async #listen({ stream, constraints }: MicrophoneOptions, stops: number): Promise<void> {
    const opened = stream ?? (await openMicrophone(constraints));
    if (stops !== this.#stops) return stopStream(opened);
    try {
      const sound = await this.#openSound();
      if (stops !== this.#stops) return stopStream(opened);
      this.#microphone = new Microphone(sound, opened, {
        onFrame: (frame) => this.#hear(frame),
        onLost: () => this.#lose(),
      });
    } catch (error) {
      stopStream(opened);
      throw error;
    }
  }

  #hear({ pcm, rms }: Frame): void {
    if (this.#isMuted) new Uint8Array(pcm).fill(0);
    this.#listener.frame({ pcm, rms: this.#isMuted ? 0 : rms });
  }

  #lose(): void {
    this.closeMicrophone();
    this.#listener.lost(new MicrophoneError("lost"));
  }
}
