/** A conversation with an assistant: what is said goes out, what happens comes in as events. */
import { AbortedError, TimeoutError, ValidationError } from "../errors.js";
import { Devices, type AudioOptions, type MicrophoneOptions } from "./audio/devices.js";
import type { PlaybackReport } from "./audio/player.js";
import { Emitter } from "./emitter.js";
import { ConversationError, InterruptedError, closed } from "./errors.js";
import type {
  Closing,
  ConversationEvents,
  ConversationState,
  Interruption,
  Reconnected,
  Reply,
  ServerEvent,
  Source,
} from "./events.js";
import { Framer } from "./framer.js";
import { Output, type SoundPosition } from "./output.js";
import { BYTES_PER_SAMPLE, MAX_TEXT_LENGTH, type ClientMessage } from "./protocol.js";
import { Replies, type Waiting } from "./replies.js";
import { Session, type SessionOptions } from "./session.js";
import { limit } from "./timers.js";
import {
  Toolbox,
  toolResult,
  type ToolCall,
  type ToolHandlers,
  type ToolOutcome,
} from "./tools.js";
import { Turns } from "./turns.js";

/** @internal */
export interface Parts {
  session: SessionOptions;
  tools: ToolHandlers;
  audio: AudioOptions;
  /** Whether replies are played here. */
  isPlayed: boolean;
  responseTimeoutMs: number;
}

export interface SendOptions {
  timeoutMs?: number;
  /** Gives up waiting for the reply; the text stays sent. */
  signal?: AbortSignal;
}

interface Asked extends Waiting {
  readonly message: ClientMessage;
}

type MutableReply = { -readonly [Key in keyof Reply]: Reply[Key] };

/** Made by `openConversation`, or `connect` of the client. A page that is left ends it. */
export class Conversation extends Emitter<ConversationEvents> {
  readonly assistantId: string;
  /** Resolves when the conversation is over; never rejects. */
  readonly closed: Promise<Closing>;
  readonly #parts: Parts;
  readonly #session: Session;
  readonly #devices: Devices;
  readonly #toolbox: Toolbox;
  readonly #turns = new Turns();
  readonly #replies = new Replies<Asked>();
  readonly #framer = new Framer();
  /** The responses that have begun and not ended, by their ids. */
  readonly #open = new Map<string, MutableReply>();
  readonly #output = new Output();
  #state: ConversationState = "connecting";
  #isReconnecting = false;
  #closing: Promise<void> | null = null;
  #settleClosed!: (closing: Closing) => void;

  /** @internal Use `openConversation`. */
  constructor(parts: Parts) {
    super();
    this.#parts = parts;
    this.assistantId = parts.session.assistantId;
    this.closed = new Promise((resolve) => (this.#settleClosed = resolve));
    this.#toolbox = new Toolbox(parts.tools, {
      answer: (call, outcome) => this.#answerTool(call, outcome),
      failed: (error) => this.emit("error", error),
    });
    this.#devices = new Devices(parts.audio, {
      frame: ({ pcm, rms }) => {
        this.#session.sendAudio(new Uint8Array(pcm));
        this.emit("level", rms);
      },
      report: (report) => this.#played(report),
      lost: (error) => this.emit("error", error),
    });
    this.#session = new Session(parts.session, {
      event: (event) => this.#receive(event),
      audio: (pcm) => this.#receiveAudio(pcm),
      reconnecting: (attempt) => {
        this.#isReconnecting = true;
        this.#update();
        this.emit("reconnecting", attempt);
      },
      reconnected: (how, sound) => this.#reconnected(how, sound),
      closed: (closing) => this.#finish(closing),
    });
  }

  /** @internal */
  async open(): Promise<void> {
    // Only the page could resume it; the server would keep it for a minute.
    if (typeof window !== "undefined") addEventListener("pagehide", this.#leave);
    try {
      // First, while the browser still counts this as the user's click.
      if (this.#parts.isPlayed) await this.#devices.openPlayer();
      await this.#session.open();
    } catch (error) {
      this.#release();
      throw error;
    }
    this.#update();
  }

  get sessionId(): string {
    return this.#session.sessionId;
  }

  get state(): ConversationState {
    return this.#state;
  }

  get isMuted(): boolean {
    return this.#devices.isMuted;
  }

  get volume(): number {
    return this.#devices.volume;
  }

  get hasMicrophone(): boolean {
    return this.#devices.hasMicrophone;
  }

  // --- Out -------------------------------------------------------------------------------------

  /**
   * Says something in writing; it interrupts a running reply. Resolves with the text of the reply
   * to it. Rejects with InterruptedError where that is cut off, ConversationError where it fails,
   * TimeoutError, ConnectionError where the conversation ends first, and ValidationError for a
   * text that is empty or too long.
   */
  sendText(text: string, options: SendOptions = {}): Promise<string> {
    return quiet(this.#ask(text, options));
  }

  /**
   * Speech: pcm_s16le, 16 kHz, mono, in pieces of as many samples as you like. Throws
   * ValidationError for half a sample, after which all would be noise.
   */
  sendAudio(pcm: ArrayBuffer | ArrayBufferView): void {
    if (pcm.byteLength % BYTES_PER_SAMPLE !== 0) {
      throw new ValidationError("audio.odd", "Samples have two bytes: this number of bytes is odd.");
    }
    for (const piece of this.#framer.add(pcm)) this.#session.sendAudio(piece);
  }

  /** Stops the running reply: at once or, gracefully, with the end of its sentence. */
  cancel({ graceful = false }: { graceful?: boolean } = {}): void {
    this.#session.send({ type: "response.cancel", graceful });
  }

  /** Push-to-talk: what was said until now is the whole turn. */
  commit(): void {
    this.#session.send({ type: "input.commit" });
  }

  /** Push-to-talk: what was said since the last turn is forgotten. */
  clear(): void {
    this.#session.send({ type: "input.clear" });
  }

  /** Ends the conversation in order and gives the devices back. */
  close(): Promise<void> {
    this.#devices.close();
    this.#closing ??= this.#session.close();
    return this.#closing;
  }

  // --- Sound -----------------------------------------------------------------------------------

  /**
   * Lets the assistant hear. Rejects with MicrophoneError or UnsupportedError, and writing goes on;
   * with ConnectionError where the conversation is over.
   */
  startMicrophone(options: MicrophoneOptions = {}): Promise<void> {
    return quiet(this.#devices.openMicrophone(options));
  }

  stopMicrophone(): void {
    this.#devices.closeMicrophone();
  }

  mute(isMuted = true): void {
    this.#devices.mute(isMuted);
  }

  /** 0 is silence, 1 as loud as speech was made; up to 2, it is made louder. */
  setVolume(volume: number): void {
    this.#devices.setVolume(volume);
  }

  #ask(text: string, { timeoutMs, signal }: SendOptions): Promise<string> {
    return new Promise((resolve, reject) => {
      const refusal = this.#refusal(text, signal);
      if (refusal) return reject(refusal);
      const fail = (error: Error): void => {
        stop();
        signal?.removeEventListener("abort", abort);
        reject(error);
      };
      const abort = (): void => fail(aborted());
      const stop = limit(timeoutMs ?? this.#parts.responseTimeoutMs, () => fail(late()));
      signal?.addEventListener("abort", abort);
      const succeed = (reply: string): void => {
        stop();
        signal?.removeEventListener("abort", abort);
        resolve(reply);
      };
      const message: ClientMessage = { type: "input.text", text };
      this.#replies.add({ message, turn: null, resolve: succeed, reject: fail });
      this.#turns.wrote();
      this.#session.send(message);
      this.#update();
    });
  }

  // --- In --------------------------------------------------------------------------------------

  #receive(event: ServerEvent): void {
    this.#replies.note(event);
    this.#act(event);
    this.emit("event", event);
    this.#tell(event);
    this.#turns.note(event, this.#replies.areAwaited);
    this.#update();
  }

  /** What the devices do, before anybody is told: silence comes at once. */
  #act({ type, data }: ServerEvent): void {
    const { player } = this.#devices;
    switch (type) {
      case "output.audio.start":
        this.#output.begin(data["tts_id"], data["response_id"]);
        player?.begin(data["tts_id"]);
        if (!player) this.#turns.sound(true);
        return;
      case "output.audio.segment_end":
        return player?.flush();
      case "output.audio.end":
        player?.end();
        if (!player) this.#turns.sound(false);
        return;
      case "output.audio.pause":
      case "output.audio.resume":
        return player?.pause(type === "output.audio.pause");
      case "output.audio.clear":
        return this.#silence(data["tts_id"]);
      case "response.interrupted":
        for (const ttsId of this.#output.idsOf(data["response_id"])) this.#silence(ttsId);
    }
  }

  #silence(ttsId: string): void {
    this.#devices.player?.clear(ttsId);
    const isCurrent = this.#output.drop(ttsId);
    if (isCurrent && !this.#devices.player) this.#turns.sound(false);
  }

  #tell(event: ServerEvent): void {
    const { type, data } = event;
    switch (type) {
      case "input.speech_started":
      case "input.speech_stopped": {
        const name = type === "input.speech_started" ? "speechStarted" : "speechStopped";
        const { utterance_id: utteranceId, probability } = data;
        return this.emit(name, { utteranceId, probability });
      }
      case "transcript.delta":
      case "transcript.final": {
        const { text, utterance_id: utteranceId, turn_id: turnId } = data;
        const isFinal = type === "transcript.final";
        return this.emit("transcript", { text, isFinal, utteranceId, turnId });
      }
      case "assistant.response.delta": {
        const reply = this.#reply(event);
        reply.text += data["text"];
        return this.emit("responseDelta", data["text"], { ...reply });
      }
      case "assistant.response.final":
        return this.#end(event);
      case "assistant.citations": {
        const sources: Source[] = data["citations"].map(sourceOf);
        const reply = this.#reply(event);
        reply.sources = [...reply.sources, ...sources];
        return this.emit("sources", sources, { ...reply });
      }
      case "assistant.tool_call": {
        const { call, run } = this.#toolbox.read(event);
        this.emit("toolCall", call);
        return run();
      }
      case "assistant.tool_result": {
        const result = toolResult(event);
        this.#toolbox.settle(result);
        return this.emit("toolResult", result);
      }
      case "response.interrupted":
        return this.#interrupt(event);
      case "heartbeat":
        return this.emit("heartbeat");
      case "error":
        return this.#fail(event);
    }
  }

  /** The response that an event belongs to, as far as it has come. */
  #reply({ data }: ServerEvent): MutableReply {
    const { response_id: responseId, turn_id: turnId, turn } = data;
    let reply = this.#open.get(responseId);
    if (!reply) {
      reply = { responseId, turnId, text: "", sources: [], isOpener: turn === 0 };
      this.#open.set(responseId, reply);
    }
    return reply;
  }

  #end(event: ServerEvent): void {
    const reply = this.#reply(event);
    reply.text = event.data["text"];
    this.#open.delete(reply.responseId);
    for (const waiting of this.#replies.take(event)) waiting.resolve(reply.text);
    this.emit("response", reply.text, reply);
  }

  #interrupt(event: ServerEvent): void {
    const { data } = event;
    const interruption: Interruption = {
      reason: data["reason"],
      responseId: data["response_id"],
      turnId: data["turn_id"],
      heardText: data["heard_text"] ?? "",
      heardMs: data["heard_ms"] ?? 0,
      generatedText: data["generated_text"] ?? "",
    };
    this.#open.delete(interruption.responseId);
    const error = new InterruptedError(interruption);
    for (const waiting of this.#replies.take(event)) waiting.reject(error);
    this.emit("interrupted", interruption);
  }

  #fail(event: ServerEvent): void {
    const error = new ConversationError(event);
    // A reply without its voice or a tool goes on; without its model it is over.
    const failed = error.stage === "llm" ? this.#replies.take(event) : [];
    const refused = error.code === "rate_limit.turns" ? this.#replies.takeRefused() : [];
    for (const waiting of [...failed, ...refused]) waiting.reject(error);
    this.emit("error", error);
  }

  #receiveAudio(all: ArrayBuffer): void {
    const { ttsId } = this.#output;
    const pcm = this.#output.receive(all);
    if (ttsId === null || pcm === null) return;
    this.emit("audio", pcm, { ttsId });
    // A copy: the memory of what is played goes to the audio thread.
    this.#devices.player?.push(pcm.slice(0));
  }

  #played(report: PlaybackReport): void {
    const { type, ttsId, playedMs } = report;
    const responseId = this.#output.responseOf(ttsId);
    if (responseId === undefined) return;
    if (type === "playing") this.#turns.sound(true);
    else {
      this.#session.send({
        type: "output.audio.played",
        tts_id: ttsId,
        response_id: responseId,
        played_at_ms: Date.now(),
        played_ms: playedMs,
      });
    }
    if (type === "finished" || type === "cleared") this.#turns.sound(false);
    this.emit("playback", report);
    this.#update();
  }

  #answerTool(call: ToolCall, { code, message, output = "" }: ToolOutcome): void {
    const status = { code, message };
    const results = [{ tool_call_id: call.id, name: call.name, output, status }];
    this.#session.send({ type: "tool_call.results", results });
  }

  // --- The connection --------------------------------------------------------------------------

  #reconnected(how: Reconnected, sound: SoundPosition | null): void {
    this.#isReconnecting = false;
    if (how.isFresh) this.#restart();
    if (sound) this.#output.goOn(sound);
    this.#update();
    this.emit("reconnected", how);
  }

  /** Of the session before, only what it never heard of is left. */
  #restart(): void {
    this.#toolbox.abort();
    this.#open.clear();
    for (const ttsId of this.#output.idsOf()) this.#silence(ttsId);
    this.#output.reset();
    this.#turns.reset();
    const lost = this.#replies.restart(({ message }) => this.#session.isWaiting(message));
    for (const waiting of lost) waiting.reject(closed());
    if (this.#replies.areAwaited) this.#turns.wrote();
  }

  #finish(closing: Closing): void {
    this.#toolbox.abort();
    this.#release();
    const error = closing.error ?? closed();
    for (const waiting of this.#replies.restart(() => false)) waiting.reject(error);
    this.#update("closed");
    this.emit("close", closing);
    this.#settleClosed(closing);
  }

  readonly #leave = (): void => void this.close();

  /** Gives back what the page has lent. */
  #release(): void {
    if (typeof window !== "undefined") removeEventListener("pagehide", this.#leave);
    this.#devices.close();
  }

  #refusal(text: string, signal: AbortSignal | undefined): Error | null {
    if (this.#state === "closed" || this.#closing) return closed();
    if (signal?.aborted) return aborted();
    if (!text.trim()) return new ValidationError("text.empty", "The text is empty.");
    if ([...text].length > MAX_TEXT_LENGTH) {
      return new ValidationError("text.too_long", `A text may have ${MAX_TEXT_LENGTH} characters.`);
    }
    return null;
  }

  #update(
    now: ConversationState = this.#isReconnecting ? "reconnecting" : this.#turns.turn,
  ): void {
    if (this.#state === now || this.#state === "closed") return;
    this.#state = now;
    this.emit("state", now);
  }
}

function sourceOf(citation: ServerEvent["data"]): Source {
  return {
    index: citation["index"],
    document: citation["document"],
    page: citation["page"],
    text: citation["text"],
    score: citation["score"],
    knowledgeBaseId: citation["knowledge_base_id"],
    documentId: citation["document_id"],
    chunkId: citation["chunk_id"],
  };
}

const late = (): TimeoutError =>
  new TimeoutError("response.timeout", "The assistant did not reply in time.");
const aborted = (): AbortedError => new AbortedError("aborted", "The reply is not waited for.");

/** Whoever awaits it is told of a failure; who does not care is not punished for it. */
function quiet<Value>(promise: Promise<Value>): Promise<Value> {
  promise.catch(() => undefined);
  return promise;
}
