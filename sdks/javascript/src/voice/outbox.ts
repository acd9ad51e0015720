/** What is to be sent, and what may have to be sent again. Pure: no socket. */
import { durationMs, type ClientMessage } from "./protocol.js";

type Audio = Uint8Array<ArrayBuffer>;

/** Of what was said meanwhile, the end is kept: more would come late and out of place. */
const KEPT_AUDIO_MS = 2000;
/** The server tells every 50 s what it has got, so that only a torrent comes near it. */
const MAX_GIVEN = 1000;

/**
 * Both sides count the messages of a session. Those that a socket took are kept until the server
 * is known to have them; of too many the oldest is forgotten, as if it had been received.
 */
export class Outbox {
  /** In order, and all before those that wait. */
  #given: ClientMessage[] = [];
  #waiting: (ClientMessage | Audio)[] = [];
  #received = 0;
  #audioMs = 0;

  add(message: ClientMessage): void {
    // Of one answer, only the latest report of what was played says something.
    if (message.type === "output.audio.played") {
      this.#waiting = this.#waiting.filter(
        (other) => isAudio(other) || other.type !== message.type || other.tts_id !== message.tts_id,
      );
    }
    this.#waiting.push(message);
  }

  addAudio(pcm: Audio): void {
    this.#waiting.push(pcm);
    this.#audioMs += durationMs(pcm.length);
    while (this.#audioMs > KEPT_AUDIO_MS) this.#takeOut(this.#waiting.findIndex(isAudio));
  }

  /** Whether no socket has taken the message yet. */
  isWaiting(message: ClientMessage): boolean {
    return this.#waiting.includes(message);
  }

  /** Gives all that waits, in order, to a socket, as far as it takes it. */
  give(send: (item: ClientMessage | Audio) => boolean): void {
    let next = this.#waiting[0];
    while (next && send(next)) {
      this.#takeOut(0);
      if (!isAudio(next)) this.#given.push(next);
      next = this.#waiting[0];
    }
    const forgotten = this.#given.length - MAX_GIVEN;
    if (forgotten > 0) this.noteReceived(this.#received + forgotten);
  }

  /** The server has received so many messages, or by now more: what it says may be old. */
  noteReceived(count: number): void {
    this.#received += this.#given.splice(0, Math.max(0, count - this.#received)).length;
  }

  /**
   * The session goes on at another socket. What the server has not received waits again, before
   * all else; nothing, where it does not say: better lost than done twice.
   */
  resume(received: number | undefined): void {
    this.noteReceived(received ?? Infinity);
    this.#received = received ?? this.#received;
    this.#waiting.unshift(...this.#given.splice(0));
  }

  /** Another session begins: of all that waits, only texts mean something to it. */
  restart(): void {
    this.#waiting = this.#waiting.filter((item) => !isAudio(item) && item.type === "input.text");
    this.#given = [];
    this.#received = this.#audioMs = 0;
  }

  #takeOut(at: number): void {
    const [item] = this.#waiting.splice(at, 1);
    if (item && isAudio(item)) this.#audioMs -= durationMs(item.length);
  }
}

const isAudio = (item: ClientMessage | Audio): item is Audio => item instanceof Uint8Array;
