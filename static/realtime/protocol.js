// @ts-check
/**
 * The voice protocol (`/ws`, v1) over a WebSocket: JSON events and PCM, no sound and no page.
 *
 * @typedef {{type: string, timestamp: number, sessionId: string, seq: number, source: string,
 *   trackId: string, data: Record<string, any>, [field: string]: any}} ServerEvent
 * @typedef {{code: number, error: ServerEvent | null, hadStarted: boolean}} Closing
 *   `error`: the last error event, which says why a refused connection was closed.
 * @typedef {{kind: "open"} | {kind: "ticket", ticket: string} | {kind: "key", key: string}} Access
 */

/** Both ways: pcm_s16le, mono, 20 ms a frame. */
export const AUDIO = { encoding: "pcm_s16le", sample_rate_hz: 16000, channels: 1 };

/** @param {number} bytes @returns {number} milliseconds of speech */
export const durationMs = (bytes) => bytes / 32;

/**
 * Dispatches "event" (detail: ServerEvent), "audio" (detail: {ttsId, pcm}) and, once, "close"
 * (detail: Closing).
 */
export class VoiceConnection extends EventTarget {
  /** @param {string} endpoint path of the socket @param {string} assistantId @param {Access} access */
  constructor(endpoint, assistantId, access) {
    super();
    const url = new URL(endpoint, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    url.searchParams.set("assistant_id", assistantId);
    if (access.kind === "ticket") url.searchParams.set("ticket", access.ticket);
    // A key never goes into a URL, which servers log; headers are not a browser's to set.
    const protocols = access.kind === "key" ? ["bearer", access.key] : [];
    this.lastSeq = 0;
    this.hadStarted = false;
    /** @type {ServerEvent | null} */
    this.lastError = null;
    /** @type {string | null} the answer that arriving audio belongs to */
    this.ttsId = null;
    this.socket = new WebSocket(url, protocols);
    this.socket.binaryType = "arraybuffer";
    this.socket.addEventListener("message", ({ data }) => this.receive(data));
    this.socket.addEventListener("close", ({ code }) => this.finish(code));
  }

  /** The socket is open. Rejects with nothing: "close" tells why. @returns {Promise<void>} */
  opened() {
    return new Promise((resolve) => this.socket.addEventListener("open", () => resolve(), { once: true }));
  }

  /** @param {string | ArrayBuffer} message */
  receive(message) {
    if (typeof message !== "string") return this.receiveAudio(message);
    /** @type {ServerEvent} */
    const event = JSON.parse(message);
    if (event.seq !== this.lastSeq + 1) console.warn(`voice: seq ${event.seq} after ${this.lastSeq}`);
    this.lastSeq = event.seq;
    this.note(event);
    this.dispatchEvent(new CustomEvent("event", { detail: event }));
  }

  /** @param {ServerEvent} event */
  note({ type, data, ...event }) {
    if (type === "session.started") this.hadStarted = true;
    else if (type === "error") this.lastError = { type, data, ...event };
    else if (type === "output.audio.start") this.ttsId = data.tts_id;
    else if (type === "output.audio.clear") this.ttsId = null;
  }

  /** @param {ArrayBuffer} pcm */
  receiveAudio(pcm) {
    if (this.ttsId === null) return;
    this.dispatchEvent(new CustomEvent("audio", { detail: { ttsId: this.ttsId, pcm } }));
  }

  /** @param {number} code */
  finish(code) {
    const detail = { code, error: this.lastError, hadStarted: this.hadStarted };
    this.dispatchEvent(new CustomEvent("close", { detail }));
  }

  /** @param {string} type @param {object} [fields] */
  send(type, fields = {}) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type, ...fields }));
  }

  /**
   * @param {{hasAudio: boolean, source: string}} options without audio the answers come as text
   *   only; `source` is what the call is recorded as
   */
  start({ hasAudio, source }) {
    const overrides = hasAudio ? {} : { overrides: { output: { mode: "text" } } };
    const capabilities = ["playback_ack", "spoken_prompts"];
    const metadata = { channel: "web", source, capabilities, ...overrides };
    this.send("session.start", { audio: AUDIO, metadata });
  }

  /** @param {ArrayBuffer} pcm whole frames of 640 bytes */
  sendAudio(pcm) {
    if (this.hadStarted && this.socket.readyState === WebSocket.OPEN) this.socket.send(pcm);
  }

  /** @param {string} text */
  sendText(text) {
    this.send("input.text", { text });
  }

  /** Push-to-talk: what was said until now is the whole turn. */
  commit() {
    this.send("input.commit");
  }

  /** Stops the running answer at once. */
  cancel() {
    this.send("response.cancel", { graceful: false });
  }

  /** @param {string} ttsId @param {string | undefined} responseId @param {number} playedMs */
  reportPlayed(ttsId, responseId, playedMs) {
    this.send("output.audio.played", {
      tts_id: ttsId, response_id: responseId, played_at_ms: Date.now(), played_ms: playedMs,
    });
  }

  /**
   * What this device did of what it was asked; `code` as in HTTP.
   * @param {string} callId @param {string} name
   * @param {{code: number, message: string, output?: unknown}} outcome
   */
  answerTool(callId, name, { code, message, output = "" }) {
    const results = [{ tool_call_id: callId, name, output, status: { code, message } }];
    this.send("tool_call.results", { results });
  }

  /** Ends the session in order; the server answers session.stopped and closes. */
  stop() {
    this.send("session.stop", { reason: "client" });
  }

  close() {
    this.socket.close(1000);
  }
}
