/** One call of a visitor: the conversation, as far as the panel shows it. */
import { UnsupportedError } from "../errors.js";
import { openMicrophone, stopStream } from "../voice/audio/microphone.js";
import { openConversation } from "../voice/connection.js";
import type { Conversation } from "../voice/conversation.js";
import { Emitter } from "../voice/emitter.js";
import { ConversationError, MicrophoneError } from "../voice/errors.js";
import type {
  Closing,
  ConversationState,
  Interruption,
  Reply,
  Source,
  Transcript,
} from "../voice/events.js";
import type { Access } from "../voice/protocol.js";
import { limit } from "../voice/timers.js";
import { endingOf, type Ending } from "./endings.js";
import type { Options } from "./options.js";
import type { Word } from "./words.js";

/** A line of the captions. Without text it is taken back. */
export interface Entry {
  id: string;
  who: "you" | "assistant";
  text: string;
  isFinal: boolean;
  isInterrupted: boolean;
  /** Whether it can be heard as well. */
  isAudible: boolean;
}

/** Whether the assistant hears the visitor; `off`: there is no microphone, or none is wanted. */
export type Microphone = "on" | "muted" | "off";
/** Gets a ticket for a visitor whom the site's server knows. */
export type TicketSource = () => Promise<string>;

export interface CallEvents {
  /** The state, or whether the microphone is on, has changed. */
  change: [];
  entry: [entry: Entry];
  sources: [id: string, sources: readonly Source[]];
  /** Something is missing, and the call goes on without it. */
  notice: [word: Word];
  level: [rms: number];
  /** Once; null for a call that ended in order. */
  end: [ending: Ending | null];
}

/** How long what is written waits for the opener. */
const OPENER_MS = 1000;
const STAGES: Record<string, Word> = { asr: "failed.asr", llm: "failed.llm", tts: "failed.tts" };

export class Call extends Emitter<CallEvents> {
  state: ConversationState = "connecting";
  microphone: Microphone = "off";
  /** Whether there was a conversation at all. */
  hasBegun = false;
  readonly #options: Options;
  readonly #ticket: TicketSource | undefined;
  #conversation: Conversation | undefined;
  readonly #aborter = new AbortController();
  #written = 0;
  /** What is to be written once the assistant has greeted; null from then on. */
  #unsent: string[] | null = [];
  #opener: Reply | undefined;
  #isSpoken = false;
  #isAsking = false;
  #isOver = false;

  constructor(options: Options, ticket: TicketSource | undefined) {
    super();
    this.#options = options;
    this.#ticket = ticket;
  }

  /** Rings up; call it from a click, or the browser allows no sound. Never rejects: see "end". */
  async start({ isSpoken }: { isSpoken: boolean }): Promise<void> {
    // First, so that nobody is greeted who is reading a question of the browser.
    const stream = isSpoken ? await this.#askForMicrophone() : null;
    try {
      if (!this.#isOver) this.#begin(await this.#connect());
    } catch (error) {
      this.#finish(endingOf(error, this.#options, false));
    }
    if (stream) await this.#listenTo(stream);
  }

  /** What was written and never said, if the call is over. */
  get unsent(): string {
    return this.#unsent?.join("\n") ?? "";
  }

  /** Says something in writing, behind the assistant's opener. */
  write(text: string): void {
    if (this.#unsent) this.#unsent.push(text);
    else this.#say(text);
  }

  #say(text: string): void {
    this.#written += 1;
    const id = `written-${this.#written}`;
    this.#show({ id, who: "you", text, isFinal: true });
    // What becomes of it is told by events.
    void this.#conversation?.sendText(text);
  }

  async toggleMicrophone(): Promise<void> {
    if (this.microphone !== "off") return this.#mute(this.microphone === "on");
    const stream = await this.#askForMicrophone();
    if (stream) await this.#listenTo(stream);
  }

  /** The visitor hangs up. */
  end(): void {
    this.#aborter.abort();
    void this.#conversation?.close();
    this.#finish(null);
  }

  /** With sound if the page may have any, else in writing. */
  async #connect(): Promise<Conversation> {
    const { output } = this.#options;
    try {
      return await this.#open(output);
    } catch (error) {
      if (!(error instanceof UnsupportedError) || output === "text") throw error;
      // A server that is away has no files for the sound either: that is not what is to be said.
      const conversation = await this.#open("text");
      this.#missSound(error);
      return conversation;
    }
  }

  #missSound({ code, message }: UnsupportedError): void {
    if (this.#isOver) return;
    if (code !== "audio.unsupported") warn(message);
    this.emit("notice", code === "audio.unsupported" ? "microphone.insecure" : "sound.failed");
  }

  #open(output: Options["output"]): Promise<Conversation> {
    const { assistantId, server, script } = this.#options;
    this.#isSpoken = output === "audio";
    return openConversation({
      socketUrl: socketUrlOf(server),
      assistantId,
      access: () => this.#access(),
      output,
      source: "widget",
      signal: this.#aborter.signal,
      // Beside this script: pages with a strict policy name its server, and forbid blob:.
      audio: {
        captureWorkletUrl: new URL("capture.worklet.js", script),
        playbackWorkletUrl: new URL("playback.worklet.js", script),
      },
    });
  }

  async #access(): Promise<Access> {
    return this.#ticket ? { kind: "ticket", ticket: await this.#ticket() } : { kind: "open" };
  }

  /** The microphone, or null where the visitor or the device has none for us, or is being asked. */
  async #askForMicrophone(): Promise<MediaStream | null> {
    if (this.#isAsking) return null;
    this.#isAsking = true;
    try {
      return await openMicrophone();
    } catch (error) {
      this.#missMicrophone(error);
      return null;
    } finally {
      this.#isAsking = false;
    }
  }

  async #listenTo(stream: MediaStream): Promise<void> {
    if (!this.#conversation || this.#isOver) return stopStream(stream);
    try {
      await this.#conversation.startMicrophone({ stream });
      this.#mute(false);
    } catch (error) {
      this.#missMicrophone(error);
    }
  }

  #missMicrophone(error: unknown): void {
    if (this.#isOver) return;
    if (error instanceof MicrophoneError) return this.emit("notice", `microphone.${error.problem}`);
    this.emit("notice", "microphone.failed");
    warn(String(error));
  }

  #mute(isMuted: boolean): void {
    this.#conversation?.mute(isMuted);
    this.#hear(isMuted ? "muted" : "on");
  }

  #begin(conversation: Conversation): void {
    // Hung up meanwhile.
    if (this.#isOver) return void conversation.close();
    this.#conversation = conversation;
    this.hasBegun = true;
    this.#listen(conversation);
    this.#enter(conversation.state);
    // The opener comes at once, where there is one.
    limit(OPENER_MS, () => this.#greeted());
  }

  /** The opener is there, or none comes. */
  #greeted(): void {
    if (this.#isOver) return;
    const unsent = this.#unsent ?? [];
    this.#unsent = null;
    for (const text of unsent) this.#say(text);
  }

  #listen(conversation: Conversation): void {
    conversation.on("state", (state) => this.#enter(state));
    conversation.on("transcript", (transcript) => this.#showSpoken(transcript));
    conversation.on("responseDelta", (_text, reply) => this.#showReply(reply, false));
    conversation.on("response", (_text, reply) => this.#showReply(reply, true));
    conversation.on("interrupted", (interruption) => this.#showCut(interruption));
    conversation.on("sources", (sources, reply) => this.emit("sources", reply.responseId, sources));
    conversation.on("level", (rms) => this.emit("level", rms));
    conversation.on("error", (error) => this.#complain(error));
    conversation.on("close", (closing) => this.#close(closing));
  }

  #showSpoken({ text, isFinal, utteranceId }: Transcript): void {
    this.#show({ id: utteranceId, who: "you", text, isFinal });
  }

  #showReply(reply: Reply, isFinal: boolean): void {
    const { responseId, text, isOpener } = reply;
    if (isOpener) this.#opener = reply;
    this.#show({ id: responseId, who: "assistant", text, isFinal, isAudible: this.#isSpoken });
    this.#greeted();
  }

  /** Of an answer that was cut off, what was heard is what was said. */
  #showCut({ responseId, heardText, reason }: Interruption): void {
    const how = { isFinal: true, isInterrupted: true, isAudible: this.#isSpoken };
    // Who writes has read it.
    const isRead = responseId === this.#opener?.responseId && reason === "input_text";
    const text = isRead ? this.#opener!.text : heardText.trim();
    this.#show({ id: responseId, who: "assistant", text, ...how });
  }

  #show(entry: Omit<Entry, "isInterrupted" | "isAudible"> & Partial<Entry>): void {
    this.emit("entry", { isInterrupted: false, isAudible: false, ...entry });
  }

  #complain(error: unknown): void {
    this.#greeted();
    if (error instanceof MicrophoneError) {
      this.#hear("off");
      return this.#missMicrophone(error);
    }
    const word = error instanceof ConversationError ? STAGES[error.stage] : undefined;
    if (word === "failed.tts") this.#isSpoken = false;
    if (word) this.emit("notice", word);
  }

  #enter(state: ConversationState): void {
    if (this.#isOver || state === "closed") return;
    this.state = state;
    this.emit("change");
  }

  #hear(microphone: Microphone): void {
    if (this.#isOver) return;
    this.microphone = microphone;
    this.emit("change");
  }

  #close({ error }: Closing): void {
    this.#finish(error && endingOf(error, this.#options, true));
  }

  #finish(ending: Ending | null): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.state = "closed";
    this.microphone = "off";
    if (ending?.advice) warn(ending.advice);
    this.emit("end", ending);
  }
}

function socketUrlOf(server: string): string {
  return `${server.replace(/^http/, "ws")}/ws`;
}

const warned = new Set<string>();

/** Tells the site's owner, once each. */
export function warn(text: string): void {
  if (warned.has(text)) return;
  warned.add(text);
  console.warn(`[AI Video Assistant] ${text}`);
}
