// @ts-check
/**
 * One call: joins the connection with the microphone and the player, and keeps what a page shows.
 *
 * Dispatches "state" (detail: State), "entry" (detail: Entry, new or changed), "level" (detail: rms),
 * "problem" (detail: Problem: the call goes on) and, once, "ended" (detail: Closing).
 *
 * @typedef {"connecting" | "listening" | "hearing" | "thinking" | "speaking" | "choosing" | "ended"} State
 * @typedef {import("./protocol.js").ServerEvent} ServerEvent
 * @typedef {import("./protocol.js").Closing} Closing
 * @typedef {import("./audio.js").PlaybackReport} PlaybackReport
 * @typedef {{serverMs?: number, heardMs?: number}} Latency
 * @typedef {{index: number, document: string, page: number | null, text: string}} Source a passage
 *   that an answer may rest on; its text cites it as [index]
 * @typedef {import("./captions.js").Reply & {kind: "reply", id: string, turnId: string | undefined,
 *   ttsId: string | null, isFinal: boolean, isInterrupted: boolean, latency: Latency,
 *   sources: Source[]}} ReplyEntry
 * @typedef {{kind: "user", id: string, text: string, isFinal: boolean}} UserEntry
 * @typedef {{kind: "tool", id: string, name: string, status: "running" | "done" | "failed",
 *   note?: string}} ToolEntry `note`: what to say of it; "" where there is nothing to tell
 * @typedef {import("./tools.js").ToolCall} ToolCall
 * @typedef {{call: ToolCall, aborter: AbortController, note?: string}} Asked what the assistant
 *   asked of this device, until it is done
 * @typedef {ReplyEntry | UserEntry | ToolEntry} Entry
 * @typedef {{stage: string, message: string}} Problem `stage` also: "microphone_lost"
 */
import { Microphone, MicrophoneError, Player, hasSound, openContext, openStream, stopStream } from "./audio.js";
import { split } from "./captions.js";
import { VoiceConnection, durationMs } from "./protocol.js";
import { gainOf } from "./tools.js";

/** A microphone frame this many times louder than the room is a voice. */
const VOICE_OVER_ROOM = 3;
const QUIETEST_VOICE = 0.01;
const GOODBYE_MS = 1500;

export class Call extends EventTarget {
  /**
   * @param {{endpoint: string, assistantId: string, hasVoice: boolean, source: string,
   *   access: () => Promise<import("./protocol.js").Access>,
   *   device: import("./tools.js").Device}} target
   */
  constructor(target) {
    super();
    this.target = target;
    /** @type {Map<string, Entry>} */
    this.entries = new Map();
    /** @type {Set<Asked>} */
    this.asked = new Set();
    /** @type {Set<string>} of all calls, of whatever tools */
    this.callIds = new Set();
    /** @type {State} */
    this.state = "connecting";
    this.hasStarted = false;
    this.hasEnded = false;
    this.isUserSpeaking = false;
    this.isWaiting = false;
    this.isSounding = false;
    /** Whether answers are expected to be spoken, and whether one ever was. */
    this.hasVoice = target.hasVoice;
    this.hasSpoken = false;
    this.isMuted = false;
    this.room = 0.05;
    this.lastVoiceAt = 0;
    /** @type {number | null} when the user finished the turn that is being answered */
    this.turnEndedAt = null;
    /** @type {number | null} when silence was asked for */
    this.clearedAt = null;
    this.typed = 0;
    /** What tests and curious people read: `window.__talk`. */
    this.stats = { state: "connecting", playedMs: 0, peak: 0, lastPeak: 0, silenceMs: -1, framesSent: 0 };
  }

  /** Rings up. Raises what `access` raises, and is over then. @param {{withMicrophone: boolean}} options */
  async start({ withMicrophone }) {
    if (hasSound()) await this.openAudio(withMicrophone);
    else this.report("insecure");
    if (this.hasEnded) return;
    const access = await this.target.access().catch((error) => {
      this.release();
      throw error;
    });
    if (this.hasEnded) return;
    this.connection = new VoiceConnection(this.target.endpoint, this.target.assistantId, access);
    this.connection.addEventListener("event", (event) => this.receive(/** @type {CustomEvent} */ (event).detail));
    this.connection.addEventListener("audio", (event) => this.play(/** @type {CustomEvent} */ (event).detail));
    this.connection.addEventListener("close", (event) => this.finish(/** @type {CustomEvent} */ (event).detail));
    await this.connection.opened();
    this.connection.start({ hasAudio: this.player !== undefined, source: this.target.source });
  }

  /** @param {boolean} withMicrophone */
  async openAudio(withMicrophone) {
    this.context = await openContext();
    if (this.hasEnded) return this.context.close();
    this.player = new Player(this.context);
    this.amplify();
    this.player.addEventListener("report", (event) => this.hear(/** @type {CustomEvent} */ (event).detail));
    if (withMicrophone) await this.openMicrophone(this.context);
  }

  /** Without one the call goes on in writing. @param {AudioContext} context */
  async openMicrophone(context) {
    try {
      const stream = await openStream();
      if (this.hasEnded) return stopStream(stream);
      this.microphone = new Microphone(context, stream);
    } catch (error) {
      if (!(error instanceof MicrophoneError)) throw error;
      return this.report(error.problem);
    }
    this.microphone.addEventListener("frame", (event) => this.sendFrame(/** @type {CustomEvent} */ (event).detail));
    this.microphone.addEventListener("lost", () => this.report("microphone_lost"));
  }

  /** @param {{pcm: ArrayBuffer, rms: number}} frame */
  sendFrame({ pcm, rms }) {
    this.dispatchEvent(new CustomEvent("level", { detail: this.isMuted ? 0 : rms }));
    // Muted is silence, not nothing: the server ends a turn by the silence it hears.
    if (this.isMuted) new Uint8Array(pcm).fill(0);
    else this.noteVoice(rms);
    this.stats.framesSent += 1;
    this.connection?.sendAudio(pcm);
  }

  /** @param {number} rms */
  noteVoice(rms) {
    this.room = Math.min(rms, this.room * 1.002 + 1e-6);
    if (rms > Math.max(QUIETEST_VOICE, VOICE_OVER_ROOM * this.room)) this.lastVoiceAt = performance.now();
  }

  /** @param {boolean} isMuted */
  mute(isMuted) {
    this.isMuted = isMuted;
  }

  /** Push-to-talk: the button was let go. */
  commit() {
    this.mute(true);
    this.connection?.commit();
  }

  /** @param {string} text */
  say(text) {
    this.typed += 1;
    this.show({ kind: "user", id: `typed-${this.typed}`, text, isFinal: true });
    this.await(performance.now());
    this.connection?.sendText(text);
    this.update();
  }

  /** Stops the running answer. */
  interrupt() {
    this.connection?.cancel();
  }

  /** The user ends the call. */
  hangUp() {
    const { connection, hasStarted } = this;
    this.finish({ code: 1000, error: null, hadStarted: hasStarted });
    connection?.stop();
    setTimeout(() => connection?.close(), GOODBYE_MS);
  }

  /** @param {Closing} closing */
  finish(closing) {
    if (this.hasEnded) return;
    this.release();
    this.update();
    this.dispatchEvent(new CustomEvent("ended", { detail: closing }));
  }

  /** Gives the devices back. */
  release() {
    this.hasEnded = true;
    for (const { aborter } of this.asked) aborter.abort();
    this.asked.clear();
    this.target.device.camera.turnOff();
    this.microphone?.close();
    void this.context?.close();
  }

  /** @param {string} stage @param {string} [message] */
  report(stage, message = "") {
    this.dispatchEvent(new CustomEvent("problem", { detail: { stage, message } }));
  }

  /** Takes back guesses at what was said that nothing came of. @param {string} utterance the current one */
  forgetUnfinished(utterance) {
    for (const entry of this.entries.values()) {
      if (entry.kind !== "user" || entry.isFinal || entry.id === utterance) continue;
      this.show({ ...entry, text: "", isFinal: true });
    }
  }

  /** @param {Entry} entry */
  show(entry) {
    this.entries.set(entry.id, entry);
    this.dispatchEvent(new CustomEvent("entry", { detail: entry }));
  }

  /** @param {number} turnEndedAt */
  await(turnEndedAt) {
    this.isWaiting = true;
    this.turnEndedAt = turnEndedAt;
  }

  update() {
    const state = this.currentState();
    this.stats.state = state;
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }

  /** @returns {State} */
  currentState() {
    if (this.hasEnded) return "ended";
    if (!this.hasStarted) return "connecting";
    if (this.isUserSpeaking) return "hearing";
    if ([...this.asked].some(({ call }) => call.isWaited && call.name.endsWith("_choice_prompt"))) return "choosing";
    if (this.isSounding) return "speaking";
    return this.isWaiting ? "thinking" : "listening";
  }

  // --- What this device is asked to do ---------------------------------------------------------

  /** Plays speech as loud as the device is set to. */
  amplify() {
    this.player?.amplify(gainOf(this.target.device.level));
  }

  /** @param {ToolCall} call */
  async perform(call) {
    const { device } = this.target;
    /** @type {Asked} */
    const asked = { call, aborter: new AbortController() };
    this.asked.add(asked);
    this.showTool(call, "running", device.describe(call));
    const outcome = await device.perform(call, asked.aborter.signal);
    if (asked.aborter.signal.aborted) return;
    const isDone = outcome.code < 400;
    // Of what nobody waits for, the assistant hears only when it could not be done.
    if (call.isWaited || !isDone) this.connection?.answerTool(call.id, call.name, outcome);
    asked.note = outcome.note;
    if (!call.isWaited) this.asked.delete(asked);
    this.showTool(call, call.isWaited ? "running" : isDone ? "done" : "failed", outcome.note);
    this.update();
  }

  /** The server has an outcome, ours or its own. @param {Asked} asked @param {{output: string, status: {code: number}}} result */
  settle(asked, { output, status: { code } }) {
    const { call, aborter, note } = asked;
    aborter.abort();
    this.asked.delete(asked);
    this.showTool(call, code < 400 ? "done" : "failed", this.target.device.sumUp(call, { code, output }) ?? note);
  }

  /** @param {ToolCall} call @param {ToolEntry["status"]} status @param {string | undefined} note */
  showTool({ line, name }, status, note) {
    this.show({ kind: "tool", id: line, name, status, note });
  }

  // --- What the server says --------------------------------------------------------------------

  /** @param {ServerEvent} event */
  receive(event) {
    if (this.hasEnded) return;
    HANDLERS[event.type]?.(this, event.data, event);
    this.update();
  }

  /** The answer an event belongs to; made when it is new. @param {Record<string, any>} data @returns {ReplyEntry} */
  reply(data) {
    const id = data.response_id ?? data.tts_id ?? "reply";
    const known = this.entries.get(id);
    if (known?.kind === "reply") return known;
    return {
      kind: "reply", id, turnId: data.turn_id, text: "", segments: [], playedMs: 0, receivedMs: 0,
      isReceived: false, isSpoken: this.hasVoice && this.player !== undefined, isHeard: false, heard: null, ttsId: null,
      isFinal: false, isInterrupted: false, latency: {}, sources: [],
    };
  }

  /** @param {string | null} ttsId @returns {ReplyEntry | undefined} */
  spoken(ttsId) {
    for (const entry of [...this.entries.values()].reverse()) {
      if (entry.kind === "reply" && entry.ttsId === ttsId) return entry;
    }
    return undefined;
  }

  /** The voice failed: the text of the answer is all there is. @param {string | undefined} responseId */
  giveUpVoice(responseId) {
    for (const entry of this.entries.values()) {
      if (entry.kind !== "reply" || entry.id !== responseId) continue;
      entry.isSpoken = false;
      this.show(entry);
    }
  }

  /** @param {{ttsId: string, pcm: ArrayBuffer}} audio */
  play({ ttsId, pcm }) {
    const reply = this.spoken(ttsId);
    if (reply) reply.receivedMs += durationMs(pcm.byteLength);
    this.player?.push(pcm);
  }

  /** Silence at once; the audio thread confirms with "cleared". @param {string | null} ttsId */
  silence(ttsId) {
    if (ttsId === null) return;
    if (this.isSounding) this.clearedAt ??= performance.now();
    this.player?.clear(ttsId);
  }

  // --- What the loudspeaker says ---------------------------------------------------------------

  /** @param {PlaybackReport} report */
  hear({ type, track, playedMs, peak }) {
    this.stats.peak = Math.max(this.stats.peak, peak);
    this.stats.lastPeak = peak;
    const reply = this.spoken(track);
    if (!reply || this.hasEnded) return;
    this.stats.playedMs += playedMs - reply.playedMs;
    reply.playedMs = playedMs;
    if (type === "playing") this.isSounding = true;
    if (type === "playing") this.isWaiting = false;
    if (type === "audible") this.measure(reply);
    if (type === "finished") reply.isHeard = !reply.isInterrupted;
    if (type === "finished" || type === "cleared") this.fallSilent();
    if (type !== "playing") this.connection?.reportPlayed(track, reply.id, playedMs);
    this.show(reply);
    this.update();
  }

  fallSilent() {
    this.isSounding = false;
    if (this.clearedAt !== null) this.stats.silenceMs = Math.round(performance.now() - this.clearedAt);
    this.clearedAt = null;
  }

  /** What the user waited, as this browser heard it. @param {ReplyEntry} reply */
  measure(reply) {
    if (this.turnEndedAt !== null) reply.latency.heardMs = Math.round(performance.now() - this.turnEndedAt);
    this.turnEndedAt = null;
  }
}

/** Which line tells of a call: vendors number the calls of each turn anew. @param {Record<string, any>} data */
const lineOf = ({ turn_id: turnId, tool_call_id: id }) => `${turnId}/${id}`;

/** @param {Record<string, any>} tool as the server sends it @param {Record<string, any>} data @returns {ToolCall} */
function toolCall({ id, function: { name, arguments: given }, ...tool }, data) {
  return {
    id, name, arguments: JSON.parse(given), line: lineOf(data),
    isWaited: tool.wait_for_response, isSpoken: tool.spoken === true,
    endsAt: performance.now() + tool.timeout_ms,
  };
}

/** @type {Record<string, (call: Call, data: Record<string, any>, event: ServerEvent) => void>} */
const HANDLERS = {
  "session.started": (call) => {
    call.hasStarted = true;
  },
  "config.resolved": (call, { config }) => {
    call.hasVoice = config.output.mode === "audio";
  },
  "input.speech_started": (call, { utterance_id: id }) => {
    call.isUserSpeaking = true;
    call.forgetUnfinished(id);
  },
  "input.speech_stopped": (call) => {
    call.isUserSpeaking = false;
  },
  "transcript.delta": (call, { utterance_id: id, text }) => {
    call.show({ kind: "user", id: id ?? "utterance", text, isFinal: false });
  },
  "transcript.final": (call, { utterance_id: id, text }) => {
    call.isUserSpeaking = false;
    call.show({ kind: "user", id: id ?? "utterance", text, isFinal: true });
    if (text) call.await(call.lastVoiceAt);
  },
  "assistant.response.delta": (call, data) => {
    const reply = call.reply(data);
    reply.text += data.text;
    call.show(reply);
  },
  "assistant.response.final": (call, data) => {
    const reply = call.reply(data);
    reply.text = data.text;
    reply.isFinal = true;
    // Without a voice the text is the answer; with one, the state waits for the sound.
    if (reply.ttsId === null && !call.hasSpoken) reply.isSpoken = false;
    if (!reply.isSpoken) call.isWaiting = false;
    call.show(reply);
  },
  "assistant.citations": (call, data) => {
    const reply = call.reply(data);
    reply.sources.push(...data.citations);
    call.show(reply);
  },
  "assistant.tool_call": (call, data, { tool_call: tool }) => {
    call.callIds.add(tool.id);
    if (tool.executor === "client") void call.perform(toolCall(tool, data));
    else call.show({ kind: "tool", id: lineOf(data), name: tool.function.name, status: "running" });
  },
  "assistant.tool_result": (call, data, { result }) => {
    const line = lineOf(data);
    const asked = [...call.asked].findLast((other) => other.call.line === line);
    if (asked?.call.isWaited) return call.settle(asked, result);
    const tool = call.entries.get(line);
    // Of a tool of this device that nobody waits for, "accepted" says nothing.
    if (asked || tool?.kind !== "tool" || tool.status !== "running") return;
    call.show({ ...tool, status: result.status.code < 400 ? "done" : "failed" });
  },
  "output.audio.start": (call, data) => {
    call.hasVoice = call.hasSpoken = true;
    const reply = call.reply(data);
    reply.ttsId = data.tts_id;
    reply.isSpoken = call.player !== undefined;
    call.player?.begin(data.tts_id);
    call.show(reply);
  },
  "output.audio.segment": (call, data) => {
    const reply = call.spoken(data.tts_id) ?? call.reply(data);
    reply.segments.push({ id: data.segment_id, text: data.text, atMs: data.audio_offset_ms });
    call.show(reply);
  },
  "output.audio.segment_end": (call, data) => {
    const reply = call.spoken(data.tts_id);
    const segment = reply?.segments.find(({ id }) => id === data.segment_id);
    if (!reply || !segment) return;
    segment.endMs = data.audio_end_ms;
    call.player?.flush();
    call.show(reply);
  },
  "output.audio.end": (call, data) => {
    const reply = call.spoken(data.tts_id);
    if (reply) reply.isReceived = true;
    call.player?.end();
  },
  "output.audio.clear": (call, data) => call.silence(data.tts_id),
  "response.interrupted": (call, data) => {
    if (data.reason === "client_cancel" || data.reason === "failed") call.isWaiting = false;
    const reply = call.entries.get(data.response_id);
    if (reply?.kind !== "reply") return;
    call.silence(reply.ttsId);
    reply.heard = data.heard_text ?? split(reply).heard;
    reply.isInterrupted = true;
    call.show(reply);
  },
  "metrics.turn": (call, data) => {
    const replies = [...call.entries.values()].filter((entry) => entry.kind === "reply");
    const reply = replies.findLast((entry) => entry.turnId === data.turn_id) ?? replies.at(-1);
    if (!reply) return;
    reply.latency.serverMs = data.v2v_ms ?? undefined;
    call.show(reply);
  },
  error: (call, data, { stage, message }) => {
    // The line of the call tells that it took too long, or was answered in two ways at once.
    if (stage === "tool" && call.callIds.has(data.tool_call_id)) return;
    if (stage !== "protocol" && stage !== "audio") call.isWaiting = false;
    if (stage === "tts") call.giveUpVoice(data.response_id);
    // Before the start it is a refusal, which the closing tells.
    if (call.hasStarted) call.report(stage, message);
  },
};
