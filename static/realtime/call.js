// @ts-check
/**
 * One call: a conversation of the SDK, as far as a page shows it.
 *
 * Dispatches "state" (detail: State), "entry" (detail: Entry, new or changed), "level" (detail: rms),
 * "problem" (detail: Problem: the call goes on) and, once, "ended" (detail: Ending).
 *
 * @typedef {"connecting" | "listening" | "hearing" | "thinking" | "speaking" | "choosing" |
 *   "reconnecting" | "ended"} State
 * @typedef {import("../../sdks/javascript/src/voice/index.js").ServerEvent} ServerEvent
 * @typedef {import("../../sdks/javascript/src/voice/index.js").Access} Access
 * @typedef {import("../../sdks/javascript/src/voice/index.js").PlaybackReport} PlaybackReport
 * @typedef {import("../../sdks/javascript/src/voice/index.js").ToolCall} ToolCall
 * @typedef {import("../../sdks/javascript/src/voice/index.js").SoundOptions} SoundOptions
 * @typedef {{code: number, message?: string, hadStarted: boolean}} Ending `code` closed the socket
 * @typedef {{serverMs?: number, heardMs?: number}} Latency
 * @typedef {{index: number, document: string, page: number | null, text: string}} Source a passage
 *   that an answer may rest on; its text cites it as [index]
 * @typedef {import("./captions.js").Reply & {kind: "reply", id: string, turnId: string | undefined,
 *   ttsId: string | null, isFinal: boolean, isInterrupted: boolean, latency: Latency,
 *   sources: Source[]}} ReplyEntry
 * @typedef {{kind: "user", id: string, text: string, isFinal: boolean}} UserEntry
 * @typedef {{kind: "tool", id: string, name: string, status: "running" | "done" | "failed",
 *   note?: string}} ToolEntry `note`: what to say of it; "" where there is nothing to tell
 * @typedef {{call: ToolCall, note?: string}} Asked what the assistant asked of this device, until it
 *   is done
 * @typedef {ReplyEntry | UserEntry | ToolEntry} Entry
 * @typedef {{stage: string, message: string}} Problem `stage` also: "microphone_lost"
 */
import {
  MicrophoneError, ToolFailure, durationMs, hasSound, openConversation, openMicrophone, openSound,
} from "../sdk/ai-video-assistant.js";
import { split } from "./captions.js";
import { TOOLS, volumeOf } from "./tools.js";

/** A microphone frame this many times louder than the room is a voice. */
const VOICE_OVER_ROOM = 3;
const QUIETEST_VOICE = 0.01;

export class Call extends EventTarget {
  /**
   * @param {{endpoint: string, assistantId: string, hasVoice: boolean, source: string,
   *   access: () => Promise<Access>, device: import("./tools.js").Device, worklets: SoundOptions}} target
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
    this.hasEnded = false;
    this.aborter = new AbortController();
    /** Whether answers are expected to be spoken, and whether one ever was. */
    this.hasVoice = target.hasVoice;
    this.hasSpoken = false;
    this.isSounding = false;
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

  /** Whether somebody is heard, or could be. */
  get hasMicrophone() {
    return this.conversation?.hasMicrophone ?? false;
  }

  /** Rings up. Raises what `access` and the SDK raise; the caller finishes the call then. @param {{withMicrophone: boolean}} options */
  async start({ withMicrophone }) {
    // Before the call, so that its first words wait for nobody's permission.
    if (hasSound()) await this.openDevices(withMicrophone);
    else this.report("insecure");
    if (!this.hasEnded) await this.connect();
  }

  /** @param {boolean} withMicrophone */
  async openDevices(withMicrophone) {
    this.sound = await openSound(this.target.worklets);
    if (this.hasEnded) return this.sound.close();
    if (withMicrophone) this.stream = await this.openStream();
    if (this.hasEnded) this.stopStream();
  }

  /** Without a microphone the call goes on in writing. @returns {Promise<MediaStream | undefined>} */
  async openStream() {
    try {
      return await openMicrophone();
    } catch (error) {
      if (!(error instanceof MicrophoneError)) throw error;
      this.report(error.problem);
      return undefined;
    }
  }

  async connect() {
    const { endpoint, assistantId, source, access, device } = this.target;
    const { sound } = this;
    this.conversation = await openConversation({
      socketUrl: endpoint, assistantId, source, access,
      output: sound ? "audio" : "text",
      audio: { sound, volume: volumeOf(device.level) },
      tools: Object.fromEntries(TOOLS.map((name) => [name, this.performer()])),
      signal: this.aborter.signal,
    });
    this.listen(this.conversation);
    this.conversation.mute(this.isMuted);
    if (this.stream) await this.conversation.startMicrophone({ stream: this.stream });
  }

  /** @param {import("../../sdks/javascript/src/voice/index.js").Conversation} conversation */
  listen(conversation) {
    conversation.on("event", (event) => this.receive(event));
    conversation.on("audio", (pcm, { ttsId }) => this.count(ttsId, pcm));
    conversation.on("toolCall", (call) => this.noteCall(call));
    conversation.on("playback", (report) => this.hear(report));
    conversation.on("level", (rms) => this.noteLevel(rms));
    conversation.on("state", () => this.update());
    conversation.on("error", (error) => error instanceof MicrophoneError && this.report("microphone_lost"));
    conversation.on("close", ({ code, error }) => this.finish({ code, message: error?.message, hadStarted: true }));
    this.update();
  }

  /** @param {number} rms */
  noteLevel(rms) {
    this.dispatchEvent(new CustomEvent("level", { detail: rms }));
    this.stats.framesSent += 1;
    if (this.isMuted) return;
    this.room = Math.min(rms, this.room * 1.002 + 1e-6);
    if (rms > Math.max(QUIETEST_VOICE, VOICE_OVER_ROOM * this.room)) this.lastVoiceAt = performance.now();
  }

  /** @param {boolean} isMuted */
  mute(isMuted) {
    this.isMuted = isMuted;
    this.conversation?.mute(isMuted);
  }

  /** Push-to-talk: the button was let go. */
  commit() {
    this.mute(true);
    this.conversation?.commit();
  }

  /** @param {string} text */
  say(text) {
    this.typed += 1;
    this.show({ kind: "user", id: `typed-${this.typed}`, text, isFinal: true });
    this.turnEndedAt = performance.now();
    // What becomes of it is told by events.
    void this.conversation?.sendText(text);
  }

  /** Stops the running answer. */
  interrupt() {
    this.conversation?.cancel();
  }

  /** The user ends the call. */
  hangUp() {
    this.finish({ code: 1000, hadStarted: this.conversation !== undefined });
  }

  /** @param {Ending} ending */
  finish(ending) {
    if (this.hasEnded) return;
    this.release();
    this.update();
    this.dispatchEvent(new CustomEvent("ended", { detail: ending }));
  }

  /** Gives the devices back. */
  release() {
    this.hasEnded = true;
    this.asked.clear();
    this.aborter.abort();
    void this.conversation?.close();
    this.target.device.camera.turnOff();
    this.stopStream();
    this.sound?.close();
  }

  stopStream() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
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

  update() {
    const state = this.currentState();
    this.stats.state = state;
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }

  /** @returns {State} */
  currentState() {
    const state = this.conversation?.state ?? "connecting";
    if (this.hasEnded || state === "closed") return "ended";
    if (state === "reconnecting") return state;
    const isChoosing = [...this.asked].some(({ call }) => call.isWaited && call.name.endsWith("_choice_prompt"));
    return isChoosing && state !== "hearing" ? "choosing" : state;
  }

  // --- What this device is asked to do ---------------------------------------------------------

  /** Plays speech as loud as the device is set to. */
  amplify() {
    this.conversation?.setVolume(volumeOf(this.target.device.level));
  }

  /** @param {ToolCall} call */
  noteCall(call) {
    this.callIds.add(call.id);
    if (call.executor === "server") this.showTool(call, "running");
    else if (!TOOLS.includes(call.name)) this.showTool(call, "failed", this.target.device.unknown(call).note);
  }

  /** @returns {import("../../sdks/javascript/src/voice/index.js").ToolHandler} */
  performer() {
    return (_given, call) => this.perform(call);
  }

  /** Does what is asked; raises ToolFailure. @param {ToolCall} call */
  async perform(call) {
    const { device } = this.target;
    /** @type {Asked} */
    const asked = { call };
    this.asked.add(asked);
    this.showTool(call, "running", device.describe(call));
    this.update();
    const { code, message, output, note } = await device.perform(call);
    if (call.signal.aborted) return;
    const isDone = code < 400;
    asked.note = note;
    if (!call.isWaited) this.asked.delete(asked);
    this.showTool(call, call.isWaited ? "running" : isDone ? "done" : "failed", note);
    this.update();
    if (!isDone) throw new ToolFailure(message, code);
    return output;
  }

  /** The server has an outcome, ours or its own. @param {Asked} asked @param {{output: string, status: {code: number}}} result */
  settle(asked, { output, status: { code } }) {
    const { call, note } = asked;
    this.asked.delete(asked);
    this.showTool(call, code < 400 ? "done" : "failed", this.target.device.sumUp(call, { code, output }) ?? note);
  }

  /** @param {ToolCall} call @param {ToolEntry["status"]} status @param {string} [note] */
  showTool({ id, turnId, name }, status, note) {
    this.show({ kind: "tool", id: lineOf(turnId, id), name, status, note });
  }

  // --- What the server says --------------------------------------------------------------------

  /** @param {ServerEvent} event */
  receive(event) {
    if (this.hasEnded) return;
    HANDLERS[event.type]?.(this, event.data);
    this.update();
  }

  /** The answer an event belongs to; made when it is new. @param {Record<string, any>} data @returns {ReplyEntry} */
  reply(data) {
    const id = data.response_id ?? data.tts_id ?? "reply";
    const known = this.entries.get(id);
    if (known?.kind === "reply") return known;
    return {
      kind: "reply", id, turnId: data.turn_id, text: "", segments: [], playedMs: 0, receivedMs: 0,
      isReceived: false, isSpoken: this.hasVoice && this.sound !== undefined, isHeard: false, heard: null, ttsId: null,
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

  /** @param {string} ttsId @param {ArrayBuffer} pcm */
  count(ttsId, pcm) {
    const reply = this.spoken(ttsId);
    if (reply) reply.receivedMs += durationMs(pcm.byteLength);
  }

  /** Silence was asked for; the audio thread confirms with "cleared". */
  awaitSilence() {
    if (this.isSounding) this.clearedAt ??= performance.now();
  }

  // --- What the loudspeaker says ---------------------------------------------------------------

  /** @param {PlaybackReport} report */
  hear({ type, ttsId, playedMs, peak }) {
    this.stats.peak = Math.max(this.stats.peak, peak);
    this.stats.lastPeak = peak;
    const reply = this.spoken(ttsId);
    if (!reply || this.hasEnded) return;
    this.stats.playedMs += playedMs - reply.playedMs;
    reply.playedMs = playedMs;
    if (type === "playing") this.isSounding = true;
    if (type === "audible") this.measure(reply);
    if (type === "finished") reply.isHeard = !reply.isInterrupted;
    if (type === "finished" || type === "cleared") this.fallSilent();
    this.show(reply);
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

/** Which line tells of a call: vendors number the calls of each turn anew. @param {string} turnId @param {string} callId */
const lineOf = (turnId, callId) => `${turnId}/${callId}`;

/** @type {Record<string, (call: Call, data: ServerEvent["data"]) => void>} */
const HANDLERS = {
  "config.resolved": (call, { config }) => {
    call.hasVoice = config.output.mode === "audio";
  },
  "input.speech_started": (call, { utterance_id: id }) => call.forgetUnfinished(id),
  "transcript.delta": (call, { utterance_id: id, text }) => {
    call.show({ kind: "user", id: id ?? "utterance", text, isFinal: false });
  },
  "transcript.final": (call, { utterance_id: id, text }) => {
    call.show({ kind: "user", id: id ?? "utterance", text, isFinal: true });
    if (text) call.turnEndedAt = call.lastVoiceAt;
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
    // Without a voice the text is the answer.
    if (reply.ttsId === null && !call.hasSpoken) reply.isSpoken = false;
    call.show(reply);
  },
  "assistant.citations": (call, data) => {
    const reply = call.reply(data);
    reply.sources.push(...data.citations);
    call.show(reply);
  },
  "assistant.tool_result": (call, { turn_id: turnId, tool_call_id: id, result }) => {
    const line = lineOf(turnId, id);
    const asked = [...call.asked].findLast((other) => lineOf(other.call.turnId, other.call.id) === line);
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
    reply.isSpoken = call.sound !== undefined;
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
    call.show(reply);
  },
  "output.audio.end": (call, data) => {
    const reply = call.spoken(data.tts_id);
    if (reply) reply.isReceived = true;
  },
  "output.audio.clear": (call) => call.awaitSilence(),
  "response.interrupted": (call, data) => {
    const reply = call.entries.get(data.response_id);
    if (reply?.kind !== "reply") return;
    if (reply.ttsId !== null) call.awaitSilence();
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
  error: (call, { stage, message, tool_call_id: id, response_id: responseId }) => {
    // The line of the call tells that it took too long, or was answered in two ways at once.
    if (stage === "tool" && call.callIds.has(id)) return;
    if (stage === "tts") call.giveUpVoice(responseId);
    call.report(stage, message);
  },
};
