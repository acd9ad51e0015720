// Built from sdks/javascript by scripts/build_sdks.sh; change it there.

// src/errors.ts
var AssistantError = class extends Error {
  name = "AssistantError";
  /** The server's word for it, such as "ASSISTANT_NOT_FOUND" or "auth.required", or one of ours. */
  code;
  status;
  param;
  requestId;
  retryable;
  retryAfterMs;
  closeCode;
  constructor(code, message, details = {}) {
    super(message, details.cause === void 0 ? void 0 : { cause: details.cause });
    this.code = code;
    this.status = details.status;
    this.param = details.param;
    this.requestId = details.requestId;
    this.retryable = details.retryable ?? false;
    this.retryAfterMs = details.retryAfterMs;
    this.closeCode = details.closeCode;
  }
};
var AuthenticationError = class extends AssistantError {
  name = "AuthenticationError";
};
var PermissionError = class extends AssistantError {
  name = "PermissionError";
};
var NotFoundError = class extends AssistantError {
  name = "NotFoundError";
};
var ValidationError = class extends AssistantError {
  name = "ValidationError";
};
var ConflictError = class extends AssistantError {
  name = "ConflictError";
};
var RateLimitError = class extends AssistantError {
  name = "RateLimitError";
};
var ServerError = class extends AssistantError {
  name = "ServerError";
};
var ConnectionError = class extends AssistantError {
  name = "ConnectionError";
};
var TimeoutError = class extends ConnectionError {
  name = "TimeoutError";
};
var ResumeExpiredError = class extends ConnectionError {
  name = "ResumeExpiredError";
};
var AbortedError = class extends AssistantError {
  name = "AbortedError";
};
var UnsupportedError = class extends AssistantError {
  name = "UnsupportedError";
};
var BY_CODE = [
  ["auth.forbidden", PermissionError],
  ["auth.", AuthenticationError],
  ["assistant.not_found", NotFoundError],
  ["rate_limit.", RateLimitError],
  ["session.resume_expired", ResumeExpiredError],
  ["connection.", ConnectionError],
  ["protocol.", ValidationError]
];
function errorOfCode(code, message, details = {}) {
  const kind = BY_CODE.find(([prefix]) => code.startsWith(prefix))?.[1] ?? AssistantError;
  return new kind(code, message, details);
}

// src/voice/errors.ts
var ConversationError = class extends AssistantError {
  name = "ConversationError";
  stage;
  turnId;
  toolCallId;
  constructor({ data }) {
    const { code, message, stage, retryable } = data;
    super(String(code), String(message), { retryable: retryable === true });
    this.stage = String(stage);
    this.turnId = data["turn_id"];
    this.toolCallId = data["tool_call_id"];
  }
};
var InterruptedError = class extends AssistantError {
  name = "InterruptedError";
  interruption;
  constructor(interruption) {
    super("response.interrupted", `The reply was interrupted (${interruption.reason}).`);
    this.interruption = interruption;
  }
};
var MICROPHONE_MESSAGES = {
  denied: "The user or the browser does not allow the microphone.",
  missing: "There is no microphone.",
  busy: "Another program is using the microphone.",
  insecure: "Browsers allow the microphone only over HTTPS and on localhost.",
  lost: "The microphone was unplugged."
};
var MicrophoneError = class extends AssistantError {
  name = "MicrophoneError";
  problem;
  constructor(problem, details = {}) {
    super(`microphone.${problem}`, MICROPHONE_MESSAGES[problem], details);
    this.problem = problem;
  }
};
var CLOSINGS = {
  1001: ["connection.going_away", "The server is going away."],
  1009: ["protocol.too_big", "The server refused a message that is too large."],
  1011: ["internal", "The server had an error of its own."],
  4400: ["protocol.invalid_message", "The server did not understand a message."],
  4401: ["auth.required", "The credential is missing, wrong or expired."],
  4403: ["auth.forbidden", "The caller may not talk to this assistant."],
  4404: ["assistant.not_found", "There is no such assistant, or it is somebody else's."],
  4408: ["session.inactive", "The conversation ended because nothing happened for a while."],
  4409: ["session.replaced", "The conversation goes on over a newer connection."],
  4410: ["session.resume_expired", "The conversation cannot be resumed any more."],
  4429: ["rate_limit.connections", "Too many conversations at once."],
  4503: ["server.overloaded", "The server is busy."]
};
var RETRYABLE = /* @__PURE__ */ new Set([1001, 1005, 1006, 1011, 1012, 1013, 4408, 4429, 4503]);
function closed() {
  return new ConnectionError("conversation.closed", "The conversation is over.");
}
function errorOfClosing(code, told) {
  if (code === 1e3) return null;
  const details = { closeCode: code, retryable: RETRYABLE.has(code) };
  const known = CLOSINGS[code];
  if (known && told) return errorOfCode(told.data["code"], told.data["message"], details);
  if (known) return errorOfCode(...known, details);
  const message = `The connection was lost (${code}).`;
  return new ConnectionError("connection.lost", message, { ...details, retryable: true });
}

// src/voice/audio/microphone.ts
var CONSTRAINTS = {
  echoCancellation: true,
  noiseSuppression: true,
  autoGainControl: true,
  channelCount: 1
};
var PROBLEMS = {
  NotAllowedError: "denied",
  SecurityError: "denied",
  NotFoundError: "missing",
  OverconstrainedError: "missing",
  NotReadableError: "busy",
  AbortError: "busy"
};
async function openMicrophone(constraints = {}) {
  if (typeof window === "undefined") {
    const message = "There is no browser to ask for a microphone: send speech with sendAudio.";
    throw new UnsupportedError("microphone.unsupported", message);
  }
  const devices = typeof navigator === "undefined" ? void 0 : navigator.mediaDevices;
  if (!devices) throw new MicrophoneError("insecure");
  try {
    return await devices.getUserMedia({ audio: { ...CONSTRAINTS, ...constraints } });
  } catch (error) {
    const problem = error instanceof DOMException ? PROBLEMS[error.name] : void 0;
    throw new MicrophoneError(problem ?? "missing", { cause: error });
  }
}
function stopStream(stream) {
  for (const track of stream.getTracks()) track.stop();
}
function sourceOf(context, stream) {
  try {
    return context.createMediaStreamSource(stream);
  } catch (error) {
    throw new MicrophoneError("missing", { cause: error });
  }
}
var Microphone = class {
  stream;
  #source;
  #node;
  #track;
  #onLost;
  /** `onLost` is called when the device goes away. Throws MicrophoneError. */
  constructor({ context }, stream, listeners) {
    this.stream = stream;
    this.#source = sourceOf(context, stream);
    this.#node = new AudioWorkletNode(context, "capture", {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit"
    });
    this.#node.port.onmessage = ({ data }) => listeners.onFrame(data);
    this.#source.connect(this.#node);
    this.#track = stream.getAudioTracks()[0];
    this.#onLost = listeners.onLost;
    this.#track?.addEventListener("ended", this.#onLost);
  }
  close() {
    this.#track?.removeEventListener("ended", this.#onLost);
    this.#node.port.onmessage = null;
    this.#node.port.postMessage("close");
    this.#source.disconnect();
    stopStream(this.stream);
  }
};

// src/voice/audio/worklet-sources.ts
var CAPTURE_WORKLET = 'var y=(r,t)=>t===0?r:y(t,r%t);function d(r,t){let s=Math.ceil(24*Math.max(1,t/r)),e=.92*Math.min(1,r/t);return Array.from({length:r},(o,l)=>{let h=Float32Array.from({length:2*s},(a,i)=>{let n=i-s+1-l/r,f=n===0?e:Math.sin(Math.PI*e*n)/(Math.PI*n),M=Math.PI*n/s;return f*(.42+.5*Math.cos(M)+.08*Math.cos(2*M))}),m=h.reduce((a,i)=>a+i,0);return h.map(a=>a/m)})}var c=class{#s;#r;#o;#t;#e;#n=0;constructor(t,s){let e=y(Math.round(t),Math.round(s));this.#s=Math.round(s)/e,this.#r=Math.round(t)/e,this.#o=this.#s===this.#r?[]:d(this.#s,this.#r),this.#t=this.#o[0]?.length??0,this.#e=this.#h()}reset(){this.#e=this.#h(),this.#n=0}process(t){if(!this.#t)return t;let s=new Float32Array(this.#e.length+t.length);s.set(this.#e),s.set(t,this.#e.length);let e=(s.length-this.#t+1)*this.#s-this.#n,o=new Float32Array(Math.max(0,Math.ceil(e/this.#r)));for(let h=0;h<o.length;h+=1){let m=Math.floor(this.#n/this.#s),a=this.#o[this.#n%this.#s],i=0;for(let n=0;n<this.#t;n+=1)i+=a[n]*s[m+n];o[h]=i,this.#n+=this.#r}let l=Math.min(Math.floor(this.#n/this.#s),s.length);return this.#e=s.slice(l),this.#n-=l*this.#s,o}flush(){let t=this.#t?this.process(new Float32Array(this.#t/2)):new Float32Array(0);return this.reset(),t}#h(){return new Float32Array(this.#t?this.#t/2-1:0)}};var p=16e3,u=320,F=new Float32Array(0),A=class extends AudioWorkletProcessor{#s=new c(sampleRate,p);#r=new Int16Array(u);#o=0;#t=0;#e=!1;constructor(){super(),this.port.onmessage=()=>this.#e=!0}process(t){if(this.#e)return!1;let s=t[0]?.[0]??F;for(let e of this.#s.process(s)){let o=Math.max(-1,Math.min(1,e));this.#r[this.#o]=Math.round(o*32767),this.#t+=o*o,this.#o+=1,this.#o===u&&this.#n()}return!0}#n(){let t=this.#r.buffer,s=Math.sqrt(this.#t/u);this.port.postMessage({pcm:t,rms:s},[t]),this.#r=new Int16Array(u),this.#o=0,this.#t=0}};registerProcessor("capture",A);';
var PLAYBACK_WORKLET = 'var y=(n,t)=>t===0?n:y(t,n%t);function A(n,t){let s=Math.ceil(24*Math.max(1,t/n)),e=.92*Math.min(1,n/t);return Array.from({length:n},(a,u)=>{let i=Float32Array.from({length:2*s},(h,l)=>{let o=l-s+1-u/n,m=o===0?e:Math.sin(Math.PI*e*o)/(Math.PI*o),f=Math.PI*o/s;return m*(.42+.5*Math.cos(f)+.08*Math.cos(2*f))}),r=i.reduce((h,l)=>h+l,0);return i.map(h=>h/r)})}var d=class{#s;#r;#n;#t;#e;#i=0;constructor(t,s){let e=y(Math.round(t),Math.round(s));this.#s=Math.round(s)/e,this.#r=Math.round(t)/e,this.#n=this.#s===this.#r?[]:A(this.#s,this.#r),this.#t=this.#n[0]?.length??0,this.#e=this.#h()}reset(){this.#e=this.#h(),this.#i=0}process(t){if(!this.#t)return t;let s=new Float32Array(this.#e.length+t.length);s.set(this.#e),s.set(t,this.#e.length);let e=(s.length-this.#t+1)*this.#s-this.#i,a=new Float32Array(Math.max(0,Math.ceil(e/this.#r)));for(let i=0;i<a.length;i+=1){let r=Math.floor(this.#i/this.#s),h=this.#n[this.#i%this.#s],l=0;for(let o=0;o<this.#t;o+=1)l+=h[o]*s[r+o];a[i]=l,this.#i+=this.#r}let u=Math.min(Math.floor(this.#i/this.#s),s.length);return this.#e=s.slice(u),this.#i-=u*this.#s,a}flush(){let t=this.#t?this.process(new Float32Array(this.#t/2)):new Float32Array(0);return this.reset(),t}#h(){return new Float32Array(this.#t?this.#t/2-1:0)}};var g=16e3,M=30,b=.2,F=.01,P=.005,c=.8,p=class extends AudioWorkletProcessor{#s=new d(g,sampleRate);#r=new Float32Array(Math.ceil(M*sampleRate));#n=0;#t=0;#e=!1;#i=!1;#h=!1;#l=1;#c=1;#a=[];constructor(){super(),this.port.onmessage=({data:t})=>this.#y(t)}process(t,s){let[e,...a]=s[0]??[];if(!e)return!this.#h;let i=this.#i&&!this.#e?0:Math.min(e.length,this.#n-this.#t);for(let r=0;r<i;r+=1){let h=this.#e?1-(r+1)/i:1;this.#l+=P*(this.#c-this.#l);let l=this.#r[(this.#t+r)%this.#r.length];e[r]=h*w(l,this.#l)}for(let r of a)r.set(e);return this.#A(e,i),this.#p(),!this.#h}#y(t){switch(t.type){case"begin":return this.#m(t.track);case"audio":return this.#u(this.#s.process(v(t.pcm)));case"flush":return this.#u(this.#s.flush());case"end":return this.#d();case"pause":this.#i=t.isPaused;return;case"gain":this.#c=t.gain;return;case"close":this.#h=!0;return;case"clear":this.#e||=this.#a.some(({id:s})=>s===t.track)}}#m(t){this.#d(),this.#p(),this.#i=!1,this.#a.push({id:t,endsAt:null,played:0,reported:0,peak:0,isPlaying:!1,isAudible:!1})}#d(){let t=this.#a.at(-1);!t||t.endsAt!==null||(this.#u(this.#s.flush()),t.endsAt=this.#n)}#u(t){if(!this.#e){for(let s of t)this.#r[this.#n%this.#r.length]=s,this.#n+=1;this.#t=Math.max(this.#t,this.#n-this.#r.length)}}#p(){if(this.#e){this.#e=!1,this.#i=!1,this.#t=this.#n,this.#s.reset();for(let t of this.#a.splice(0))this.#o("cleared",t)}}#A(t,s){let e=0;for(let i=this.#a[0];i;i=this.#a[0]){let r=i.endsAt??1/0,h=Math.min(s,r-this.#t);if(this.#g(i,t.subarray(e,Math.max(e,h))),e=Math.max(e,h),this.#t+e<r)break;this.#o("finished",i),this.#a.shift()}this.#t+=s;let a=this.#a[0],u=this.#t===this.#n||this.#i;a&&u&&a.played>a.reported&&this.#f(a)}#g(t,s){if(s.length){t.played+=s.length;for(let e of s)t.peak=Math.max(t.peak,Math.abs(e));t.isPlaying||this.#o("playing",t),t.isPlaying=!0,!t.isAudible&&t.peak>F&&(t.isAudible=!0,this.#o("audible",t)),t.played-t.reported>=b*sampleRate&&this.#f(t)}}#f(t){t.reported=t.played,this.#o("played",t)}#o(t,s){let e=Math.round(s.played/sampleRate*1e3);this.port.postMessage({type:t,track:s.id,playedMs:e,peak:s.peak})}};function w(n,t){let s=n*t;return t<=1||Math.abs(s)<=c?s:Math.sign(s)*(c+(1-c)*Math.tanh((Math.abs(s)-c)/(1-c)))}function v(n){return Float32Array.from(new Int16Array(n),t=>t/32768)}registerProcessor("playback",p);';

// src/voice/audio/sound.ts
function hasSound() {
  return typeof AudioWorkletNode !== "undefined" && isSecureContext;
}
var Sound = class {
  context;
  /** @internal Use `openSound`. */
  constructor(context) {
    this.context = context;
    for (const type of WAKING) addEventListener(type, this.resume);
    document.addEventListener("visibilitychange", this.resume);
  }
  /** Sounds again, where the browser or the phone has suspended it. */
  resume = () => {
    if (this.context.state === "suspended") void this.context.resume().catch(() => void 0);
  };
  close() {
    for (const type of WAKING) removeEventListener(type, this.resume);
    document.removeEventListener("visibilitychange", this.resume);
    this.context.close().catch(() => void 0);
  }
};
var WAKING = ["pointerdown", "keydown"];
async function openSound(options = {}) {
  if (!hasSound()) {
    const message = "Browsers allow sound only over HTTPS and on localhost.";
    throw new UnsupportedError("audio.unsupported", message);
  }
  const sound = new Sound(new AudioContext({ latencyHint: "interactive" }));
  sound.resume();
  try {
    await Promise.all([
      addWorklet(sound, options.captureWorkletUrl, CAPTURE_WORKLET),
      addWorklet(sound, options.playbackWorkletUrl, PLAYBACK_WORKLET)
    ]);
  } catch (error) {
    sound.close();
    const message = "The page could not load the audio worklets; its policy may forbid blob:.";
    throw new UnsupportedError("audio.worklet", message, { cause: error });
  }
  return sound;
}
async function addWorklet({ context }, url, source) {
  if (url !== void 0) return context.audioWorklet.addModule(url);
  const blob = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  try {
    await context.audioWorklet.addModule(blob);
  } finally {
    URL.revokeObjectURL(blob);
  }
}

// src/voice/audio/player.ts
var Player = class {
  #node;
  constructor({ context }, onReport) {
    this.#node = new AudioWorkletNode(context, "playback", {
      numberOfInputs: 0,
      outputChannelCount: [2]
    });
    this.#node.port.onmessage = ({ data: { track, ...report2 } }) => onReport({ ...report2, ttsId: track });
    this.#node.connect(context.destination);
  }
  /** The sound that follows belongs to this answer. */
  begin(ttsId) {
    this.#post({ type: "begin", track: ttsId });
  }
  /** 16 kHz s16le; the memory of it goes to the audio thread. */
  push(pcm) {
    this.#node.port.postMessage({ type: "audio", pcm }, [pcm]);
  }
  /** A sentence is complete: it is played to its last sample, whenever the next follows. */
  flush() {
    this.#post({ type: "flush" });
  }
  /** No more sound follows for this answer. */
  end() {
    this.#post({ type: "end" });
  }
  /** Freezes: what waits stays, and goes on with the same sample. */
  pause(isPaused) {
    this.#post({ type: "pause", isPaused });
  }
  /** How many times louder than it comes it is played. */
  amplify(gain) {
    this.#post({ type: "gain", gain });
  }
  /** Silence now, if this answer plays or waits; the rest of it is dropped. */
  clear(ttsId) {
    this.#post({ type: "clear", track: ttsId });
  }
  close() {
    this.#node.port.onmessage = null;
    this.#post({ type: "close" });
    this.#node.disconnect();
  }
  #post(message) {
    this.#node.port.postMessage(message);
  }
};

// src/voice/audio/devices.ts
var LOUDEST = 2;
var Devices = class {
  #options;
  #listener;
  #sound;
  #player = null;
  #microphone = null;
  #opening = null;
  /** Raised with each wish to have no microphone: one that is being opened is not wanted then. */
  #stops = 0;
  #isClosed = false;
  #isMuted = false;
  #volume = 1;
  constructor(options, listener) {
    this.#options = options;
    this.#listener = listener;
    this.#sound = options.sound ? Promise.resolve(options.sound) : null;
    this.setVolume(options.volume ?? 1);
  }
  get isMuted() {
    return this.#isMuted;
  }
  get volume() {
    return this.#volume;
  }
  get hasMicrophone() {
    return this.#microphone !== null;
  }
  get player() {
    return this.#player;
  }
  /** Rejects with UnsupportedError. */
  async openPlayer() {
    this.#player = new Player(await this.#openSound(), (report2) => this.#listener.report(report2));
    this.setVolume(this.#volume);
  }
  /**
   * Rejects with MicrophoneError or UnsupportedError, and with ConnectionError after the end; does
   * nothing where it is on already.
   */
  openMicrophone(options) {
    if (this.#isClosed || this.#microphone) {
      if (options.stream && options.stream !== this.#microphone?.stream) stopStream(options.stream);
      return this.#isClosed ? Promise.reject(closed()) : Promise.resolve();
    }
    const opening = this.#opening ??= this.#listen(options, this.#stops);
    const done = () => {
      if (this.#opening === opening) this.#opening = null;
    };
    opening.then(done, done);
    return opening;
  }
  closeMicrophone() {
    this.#stops += 1;
    this.#opening = null;
    this.#microphone?.close();
    this.#microphone = null;
  }
  /** Muted is silence, not nothing: the server ends a turn by the silence it hears. */
  mute(isMuted) {
    this.#isMuted = isMuted;
  }
  setVolume(volume) {
    this.#volume = Math.min(LOUDEST, Math.max(0, volume));
    this.#player?.amplify(this.#volume ** 2);
  }
  close() {
    this.#isClosed = true;
    this.closeMicrophone();
    this.#player?.close();
    this.#player = null;
    const close = (sound) => sound.close();
    if (!this.#options.sound) this.#sound?.then(close, () => void 0);
    this.#sound = null;
  }
  /** One audio thread, also for those who ask while it opens. */
  async #openSound() {
    const opening = this.#sound ??= openSound(this.#options);
    try {
      return await opening;
    } catch (error) {
      this.#sound = null;
      throw error;
    }
  }
  async #listen({ stream, constraints }, stops) {
    const opened = stream ?? await openMicrophone(constraints);
    if (stops !== this.#stops) return stopStream(opened);
    try {
      const sound = await this.#openSound();
      if (stops !== this.#stops) return stopStream(opened);
      this.#microphone = new Microphone(sound, opened, {
        onFrame: (frame) => this.#hear(frame),
        onLost: () => this.#lose()
      });
    } catch (error) {
      stopStream(opened);
      throw error;
    }
  }
  #hear({ pcm, rms }) {
    if (this.#isMuted) new Uint8Array(pcm).fill(0);
    this.#listener.frame({ pcm, rms: this.#isMuted ? 0 : rms });
  }
  #lose() {
    this.closeMicrophone();
    this.#listener.lost(new MicrophoneError("lost"));
  }
};

// src/voice/emitter.ts
var Emitter = class {
  #listeners = /* @__PURE__ */ new Map();
  /** Calls the listener for every such event; the function that comes back ends that. */
  on(name, listener) {
    const listeners = this.#listeners.get(name) ?? /* @__PURE__ */ new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => this.off(name, listener);
  }
  /** Calls the listener for the next such event only. */
  once(name, listener) {
    const stop = this.on(name, (...given) => {
      stop();
      listener(...given);
    });
    return stop;
  }
  off(name, listener) {
    this.#listeners.get(name)?.delete(listener);
  }
  /** Tells the listeners; what one of them throws reaches neither the others nor the caller. */
  emit(name, ...given) {
    for (const listener of [...this.#listeners.get(name) ?? []]) {
      try {
        listener(...given);
      } catch (error) {
        report(error);
      }
    }
  }
};
function report(error) {
  if (typeof reportError === "function") reportError(error);
  else console.error("A listener failed:", error);
}

// src/voice/protocol.ts
var AUDIO = { encoding: "pcm_s16le", sample_rate_hz: 16e3, channels: 1 };
var FRAME_BYTES = 640;
var BYTES_PER_SAMPLE = 2;
var BYTES_PER_MS = 32;
var MAX_TEXT_LENGTH = 8e3;
var MAX_AUDIO_BYTES = 100 * FRAME_BYTES;
var durationMs = (bytes) => bytes / BYTES_PER_MS;
var bytesOf = (ms) => 2 * Math.round(ms * BYTES_PER_MS / 2);
function addressOf(socketUrl, assistantId, access) {
  const base = typeof location === "undefined" ? void 0 : location.href;
  const url = new URL(socketUrl, base);
  url.protocol = url.protocol.replace(/^http/, "ws");
  url.searchParams.set("assistant_id", assistantId);
  if (access.kind === "ticket") url.searchParams.set("ticket", access.ticket);
  return { url: url.href, protocols: access.kind === "key" ? ["bearer", access.key] : [] };
}
function isObject(value) {
  return typeof value === "object" && value !== null;
}
function decode(text) {
  try {
    const event = JSON.parse(text);
    if (!isObject(event) || typeof event["type"] !== "string") return null;
    return { ...event, data: isObject(event["data"]) ? event["data"] : {} };
  } catch {
    return null;
  }
}

// src/voice/framer.ts
var Framer = class {
  #rest = new Uint8Array(0);
  /** The frames that these bytes complete, in pieces that the server takes. */
  add(pcm) {
    const bytes = ArrayBuffer.isView(pcm) ? new Uint8Array(pcm.buffer, pcm.byteOffset, pcm.byteLength) : new Uint8Array(pcm);
    const all = new Uint8Array(this.#rest.length + bytes.length);
    all.set(this.#rest);
    all.set(bytes, this.#rest.length);
    const whole = all.length - all.length % FRAME_BYTES;
    this.#rest = all.slice(whole);
    const pieces = [];
    for (let at = 0; at < whole; at += MAX_AUDIO_BYTES) {
      pieces.push(all.slice(at, Math.min(whole, at + MAX_AUDIO_BYTES)));
    }
    return pieces;
  }
};

// src/voice/output.ts
var Output = class {
  /** The responses of the spoken outputs, by the outputs' ids. */
  #responses = /* @__PURE__ */ new Map();
  #ttsId = null;
  #receivedMs = 0;
  /** How much of what comes next came before the connection was lost. */
  #knownMs = 0;
  /** The output that sound belongs to now; null: it is not wanted. */
  get ttsId() {
    return this.#ttsId;
  }
  /** The sound that follows belongs to this output. */
  begin(ttsId, responseId) {
    this.#ttsId = ttsId;
    this.#receivedMs = this.#knownMs = 0;
    this.#responses.set(ttsId, responseId);
  }
  responseOf(ttsId) {
    return this.#responses.get(ttsId);
  }
  /** The outputs of one response, or of all. */
  idsOf(responseId) {
    const all = [...this.#responses];
    return all.filter(([, of]) => of === (responseId ?? of)).map(([ttsId]) => ttsId);
  }
  /** What is new of sound that has come; null where nothing is. */
  receive(all) {
    if (this.#ttsId === null) return null;
    const known = Math.min(all.byteLength, bytesOf(this.#knownMs));
    this.#knownMs -= durationMs(known);
    if (known === all.byteLength) return null;
    this.#receivedMs += durationMs(all.byteLength - known);
    return known ? all.slice(known) : all;
  }
  /** The same session goes on over another connection. */
  goOn({ ttsId, offsetMs }) {
    if (ttsId === this.#ttsId) this.#knownMs = Math.max(0, this.#receivedMs - offsetMs);
  }
  /** Its sound is not wanted any more; whether it was the one of now. */
  drop(ttsId) {
    const isCurrent = ttsId === this.#ttsId;
    if (isCurrent) this.#ttsId = null;
    return isCurrent;
  }
  /** Another session begins. */
  reset() {
    this.#responses.clear();
    this.#ttsId = null;
  }
};

// src/voice/replies.ts
var CHOICE_TOOL = /_choice_prompt$/;
var OF_RESPONSE = /^(assistant\.|output\.audio\.|response\.|metrics\.|error$)/;
var Replies = class {
  #waiting = [];
  /** The highest number of a turn whose response was seen. */
  #lastTurn = 0;
  #spoken = /* @__PURE__ */ new Set();
  /** Prompts of the set-up that the assistant says, each as a response of its own. */
  #prompts = 0;
  /** Whether something spoken earlier is answered by a turn of its own after the live one. */
  #hasLeftover = false;
  #choices = /* @__PURE__ */ new Map();
  get areAwaited() {
    return this.#waiting.length > 0;
  }
  /** Waits for the response to a text that is sent now. */
  add(waiting) {
    this.#waiting.push(waiting);
  }
  /** Learns from an event; every event of the session goes through here, in order. */
  note(event) {
    const { turn } = event.data;
    if (typeof turn !== "number") return;
    if (event.type === "transcript.final") this.#noteSpeech(turn);
    else if (OF_RESPONSE.test(event.type)) this.#noteResponse(event, turn);
  }
  /** Takes out whoever waits for the response that ends with this event. */
  take({ data }) {
    return this.#takeOut((waiting) => waiting.turn !== null && waiting.turn === data["turn"]);
  }
  /** Takes out the text that was refused: the latest of those that were not answered yet. */
  takeRefused() {
    const refused = this.#waiting.filter(({ turn }) => turn === null).at(-1);
    return this.#takeOut((waiting) => waiting === refused);
  }
  /** Begins another session, to which only those texts are sent that `isKept` says. */
  restart(isKept) {
    const lost = this.#takeOut((waiting) => !isKept(waiting));
    this.#lastTurn = 0;
    this.#prompts = 0;
    this.#hasLeftover = false;
    this.#spoken.clear();
    this.#choices.clear();
    return lost;
  }
  #takeOut(isMeant) {
    const taken = this.#waiting.filter(isMeant);
    this.#waiting = this.#waiting.filter((waiting) => !taken.includes(waiting));
    return taken;
  }
  #noteSpeech(turn) {
    const choices = [...this.#choices.values()].filter((choice) => choice.turn === turn);
    for (const choice of choices) choice.isSpoken = true;
    if (turn > this.#lastTurn) this.#spoken.add(turn);
    else if (!choices.length && turn < this.#lastTurn) this.#hasLeftover = true;
  }
  #noteResponse(event, turn) {
    if (turn > this.#lastTurn) this.#begin(turn);
    const { type, data } = event;
    if (type === "assistant.tool_call") this.#noteCall(event, turn);
    else if (type === "assistant.tool_result") this.#noteResult(event, turn);
    else if (type === "response.interrupted" && data["reason"] === "input_text") {
      this.#hasLeftover = false;
    }
  }
  #begin(turn) {
    this.#lastTurn = turn;
    if (this.#spoken.delete(turn)) return;
    if (this.#prompts > 0) this.#prompts -= 1;
    else if (this.#hasLeftover) this.#hasLeftover = false;
    else this.#assign(turn);
  }
  #assign(turn) {
    const next = this.#waiting.find((waiting) => waiting.turn === null);
    if (next) next.turn = turn;
  }
  #noteCall({ data }, turn) {
    const call = data["tool_call"];
    if (turn === 0 && call.spoken === true) this.#prompts += 1;
    if (CHOICE_TOOL.test(call.function.name)) this.#choices.set(call.id, { turn, isSpoken: false });
  }
  #noteResult({ data }, turn) {
    const choice = this.#choices.get(data["tool_call_id"]);
    this.#choices.delete(data["tool_call_id"]);
    if (choice?.turn !== turn || choice.isSpoken || data["result"].status.code >= 400) return;
    if (turn === this.#lastTurn) this.#assign(turn);
  }
};

// src/unreachable.ts
function placeOf(url) {
  return String(url).replace(/[?#].*$/s, "");
}
function reasonOf(failure2) {
  let reason = "";
  for (let at = failure2; at instanceof Error; at = at.cause) {
    const { code } = at;
    if (typeof code === "string" && code) return code;
    reason = at.message || reason;
  }
  return reason;
}
function unreachable(url, failure2) {
  const reason = reasonOf(failure2);
  return `The server at ${placeOf(url)} cannot be reached${reason && `: ${reason}`}.`;
}

// src/voice/timers.ts
function limit(ms, exceeded) {
  const timer = setTimeout(exceeded, ms);
  if (typeof timer === "object") timer.unref();
  return () => clearTimeout(timer);
}

// src/voice/link.ts
var OPEN = 1;
var DEAD_AFTER_MS = 75e3;
var LOST = 1006;
var GIVEN_UP = 4e3;
var Link = class {
  #socket;
  #listener;
  #isOpened = false;
  #cause;
  #stopWatch = () => void 0;
  /** Throws UnsupportedError without a WebSocket, ConnectionError for an impossible address. */
  constructor(address, socketClass, listener) {
    this.#listener = listener;
    this.#socket = open(address, socketClass ?? globalThis.WebSocket);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.addEventListener("open", () => {
      this.#isOpened = true;
      this.#listener?.opened();
    });
    this.#socket.addEventListener("message", ({ data }) => this.#receive(data));
    this.#socket.addEventListener("error", ({ error }) => this.#cause = error);
    this.#socket.addEventListener("close", ({ code, reason }) => this.#end(code, String(reason)));
    this.#listen();
  }
  /** Whether the socket took it. */
  send(message) {
    if (this.#socket.readyState !== OPEN) return false;
    this.#socket.send(message instanceof Uint8Array ? message : JSON.stringify(message));
    return true;
  }
  /** Closes the socket and tells nobody; 1000 also ends the session. */
  drop(code = GIVEN_UP) {
    this.#listener = null;
    this.#stopWatch();
    this.#socket.close(code);
  }
  #receive(data) {
    this.#listen();
    if (typeof data !== "string") return this.#listener?.audio(data);
    const event = decode(data);
    if (event) this.#listener?.event(event);
  }
  #listen() {
    this.#stopWatch();
    this.#stopWatch = limit(DEAD_AFTER_MS, () => this.#end(LOST, ""));
  }
  #end(code, reason) {
    const listener = this.#listener;
    this.drop();
    if (!this.#isOpened && code === LOST) listener?.refused(this.#cause);
    else listener?.closed(code, reason);
  }
};
function open({ url, protocols }, socketClass) {
  if (!socketClass) {
    const message = "There is no WebSocket here: pass a class for it as the option WebSocket.";
    throw new UnsupportedError("websocket.unsupported", message);
  }
  try {
    return new socketClass(url, protocols);
  } catch (error) {
    const message = "The address cannot be opened.";
    throw new ConnectionError("connection.refused", message, { cause: error });
  }
}

// src/voice/outbox.ts
var KEPT_AUDIO_MS = 2e3;
var MAX_GIVEN = 1e3;
var Outbox = class {
  /** In order, and all before those that wait. */
  #given = [];
  #waiting = [];
  #received = 0;
  #audioMs = 0;
  add(message) {
    if (message.type === "output.audio.played") {
      this.#waiting = this.#waiting.filter(
        (other) => isAudio(other) || other.type !== message.type || other.tts_id !== message.tts_id
      );
    }
    this.#waiting.push(message);
  }
  addAudio(pcm) {
    this.#waiting.push(pcm);
    this.#audioMs += durationMs(pcm.length);
    while (this.#audioMs > KEPT_AUDIO_MS) this.#takeOut(this.#waiting.findIndex(isAudio));
  }
  /** Whether no socket has taken the message yet. */
  isWaiting(message) {
    return this.#waiting.includes(message);
  }
  /** Gives all that waits, in order, to a socket, as far as it takes it. */
  give(send) {
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
  noteReceived(count) {
    this.#received += this.#given.splice(0, Math.max(0, count - this.#received)).length;
  }
  /**
   * The session goes on at another socket. What the server has not received waits again, before
   * all else; nothing, where it does not say: better lost than done twice.
   */
  resume(received) {
    this.noteReceived(received ?? Infinity);
    this.#received = received ?? this.#received;
    this.#waiting.unshift(...this.#given.splice(0));
  }
  /** Another session begins: of all that waits, only texts mean something to it. */
  restart() {
    this.#waiting = this.#waiting.filter((item) => !isAudio(item) && item.type === "input.text");
    this.#given = [];
    this.#received = this.#audioMs = 0;
  }
  #takeOut(at) {
    const [item] = this.#waiting.splice(at, 1);
    if (item && isAudio(item)) this.#audioMs -= durationMs(item.length);
  }
};
var isAudio = (item) => item instanceof Uint8Array;

// src/voice/reconnect.ts
var FIRST_DELAY_MS = 250;
var LONGEST_DELAY_MS = 5e3;
var GIVE_UP_AFTER_MS = 6e4;
var LOST2 = /* @__PURE__ */ new Set([1001, 1005, 1006, 1011, 1012, 1013, 4503]);
var isLost = (code) => LOST2.has(code);
function reconnectPolicy(asked = true) {
  const options = typeof asked === "object" ? asked : {};
  const { fresh = false, giveUpAfterMs = GIVE_UP_AFTER_MS } = options;
  return { isOn: asked !== false, fresh, giveUpAfterMs };
}
function backoffMs(attempt, random = Math.random) {
  const longest = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** (attempt - 1));
  return Math.round(longest * (0.5 + random() / 2));
}

// src/voice/session.ts
var FAREWELL = /^(session\.stopped|response\.interrupted|output\.audio\.clear|assistant\.tool_result|metrics\.)/;
var REFUSED_MESSAGE = /^(protocol\.(?!assistant_id)|audio\.|session\.resume)/;
var GOODBYE_MS = 1500;
var RESUME_EXPIRED = 4410;
var LOST3 = 1006;
var BROKEN = 1011;
var Session = class {
  #options;
  #listener;
  #outbox = new Outbox();
  /** The socket of now; events of any other are late. */
  #link = null;
  #attempt = null;
  #state = "connecting";
  #token = null;
  #sessionId = "";
  #lastSeq = 0;
  /** The last error event, while it may be why the socket is closed next. */
  #told = null;
  /** Why the session was stopped; null while it goes on. */
  #stopReason = null;
  /** What happened before anybody could listen. */
  #held = [];
  #wake = null;
  constructor(options, listener) {
    this.#options = options;
    this.#listener = listener;
  }
  get sessionId() {
    return this.#sessionId;
  }
  /** Begins the session. Rejects with what the server or the network has against it. */
  async open() {
    const { signal } = this.#options;
    const aborted2 = new AbortedError("aborted", "The connection was given up.");
    const abort = () => this.#fail(aborted2);
    signal?.addEventListener("abort", abort);
    try {
      if (signal?.aborted) throw aborted2;
      await this.#connect(this.#start((answer) => this.#begin(answer)));
    } catch (error) {
      this.#state = "closed";
      throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
    soon(() => this.#release());
  }
  /** Sends, now or when there is a connection again; what is lost with one, by the next. */
  send(message) {
    if (!this.#isGoingOn) return;
    this.#outbox.add(message);
    this.#flush();
  }
  /** Whole frames. What is lost with a connection is lost. */
  sendAudio(pcm) {
    if (!this.#isGoingOn) return;
    this.#outbox.addAudio(pcm);
    this.#flush();
  }
  /** Whether the message still waits for a connection. */
  isWaiting(message) {
    return this.#outbox.isWaiting(message);
  }
  /** Ends the session in order. */
  async close() {
    if (this.#state === "closed") return;
    if (this.#state === "open") await this.#sayGoodbye();
    this.#finishInOrder();
  }
  // --- One connection --------------------------------------------------------------------------
  #start(answered) {
    const { metadata } = this.#options;
    const first = { type: "session.start", audio: AUDIO, metadata };
    return { first, expects: "session.started", answered };
  }
  /** Opens a socket; its first message was answered as expected, or this rejects. */
  async #connect(beginning) {
    this.#told = null;
    const timer = setTimeout(() => this.#fail(this.#late()), this.#options.timeoutMs);
    try {
      await new Promise((resolve, reject) => {
        const attempt = { ...beginning, resolve, reject };
        this.#attempt = attempt;
        this.#dial(attempt).catch(reject);
      });
    } catch (error) {
      this.#link?.drop();
      this.#link = null;
      throw error;
    } finally {
      this.#attempt = null;
      clearTimeout(timer);
    }
  }
  async #dial(attempt) {
    const { socketUrl, assistantId, access, socketClass } = this.#options;
    const address = addressOf(socketUrl, assistantId, await access());
    if (this.#attempt !== attempt) return;
    const link = new Link(address, socketClass, {
      opened: () => link.send(attempt.first),
      event: (event) => this.#link === link && this.#receive(event),
      audio: (pcm) => this.#link === link && this.#receiveAudio(pcm),
      refused: (cause) => this.#link === link && this.#refused(cause),
      closed: (code, reason) => this.#link === link && this.#disconnected(code, reason)
    });
    this.#link = link;
  }
  #refused(cause) {
    const message = unreachable(this.#options.socketUrl, cause);
    const details = { retryable: true, closeCode: LOST3, cause };
    this.#fail(new ConnectionError("connection.unreachable", message, details));
  }
  #fail(error) {
    this.#attempt?.reject(error);
  }
  #late() {
    if (this.#told) return errorOfEvent(this.#told);
    return new TimeoutError("connection.timeout", "The server did not answer in time.");
  }
  #receive(event) {
    if (this.#attempt) return this.#receiveAnswer(this.#attempt, event);
    if (event.seq <= this.#lastSeq) return;
    this.#lastSeq = event.seq;
    if (event.type === "error") this.#told = event;
    else if (!FAREWELL.test(event.type)) this.#told = null;
    if (event.type === "session.stopped") this.#stopReason = event.data["reason"] ?? "";
    if (event.type === "heartbeat") this.#outbox.noteReceived(event.data["received"] ?? 0);
    this.#deliver(() => this.#listener.event(event));
    if (event.type === "session.stopped") this.#awaitClose();
  }
  #receiveAnswer(attempt, event) {
    if (event.type === "error") {
      this.#told = event;
      if (REFUSED_MESSAGE.test(event.data["code"])) attempt.reject(errorOfEvent(event));
    }
    if (event.type !== attempt.expects) return;
    this.#attempt = null;
    this.#told = null;
    this.#state = "open";
    attempt.answered(event);
    attempt.resolve();
  }
  #begin(event) {
    this.#sessionId = event.sessionId;
    this.#lastSeq = event.seq;
    this.#keepToken(event);
    this.#deliver(() => this.#listener.event(event));
  }
  #keepToken({ data }) {
    const { resume_token: token, resume_within_s: withinS } = data;
    const isOffered = typeof token === "string" && typeof withinS === "number";
    this.#token = isOffered ? { token, withinMs: withinS * 1e3 } : null;
  }
  #receiveAudio(pcm) {
    this.#deliver(() => this.#listener.audio(pcm));
  }
  #deliver(what) {
    if (this.#held) this.#held.push(what);
    else what();
  }
  #release() {
    const held = this.#held ?? [];
    this.#held = null;
    for (const what of held) what();
  }
  // --- The end of a connection -----------------------------------------------------------------
  #disconnected(code, reason) {
    if (this.#state === "closing") return this.#finishInOrder();
    const error = errorOfClosing(code, this.#told);
    if (this.#attempt) return this.#attempt.reject(error ?? closed());
    this.#link = null;
    if (this.#mayGoOn(code)) {
      this.#state = "lost";
      this.#deliver(() => void this.#reconnect(code, error));
    } else {
      this.#finish({ code, reason: this.#stopReason || reason, error });
    }
  }
  /** A session that the server has stopped is over, whatever its socket is closed with. */
  #mayGoOn(code) {
    const { isOn, fresh } = this.#options.reconnect;
    const isWanted = this.#state === "open" && isOn && (this.#token !== null || fresh);
    return isWanted && this.#stopReason === null && isLost(code);
  }
  /** Closes the socket of a stopped session where the server or the network does not. */
  #awaitClose() {
    if (this.#state !== "open") return;
    const link = this.#link;
    limit(GOODBYE_MS, () => this.#link === link && this.#disconnected(LOST3, ""));
  }
  #finishInOrder() {
    this.#finish({ code: 1e3, reason: this.#stopReason || "client", error: null });
  }
  #finish(closing) {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#link?.drop(1e3);
    this.#link = null;
    this.#fail(closed());
    this.#wake?.();
    this.#deliver(() => this.#listener.closed(closing));
  }
  async #sayGoodbye() {
    this.#link?.send({ type: "session.stop", reason: "client" });
    this.#state = "closing";
    const timer = setTimeout(() => this.#wake?.(), GOODBYE_MS);
    await new Promise((resolve) => this.#wake = resolve);
    clearTimeout(timer);
  }
  // --- Another connection ----------------------------------------------------------------------
  /** Tries until the session goes on, another begins, or it is hopeless. */
  async #reconnect(code, cause) {
    const lostAt = performance.now();
    const lostForMs = () => performance.now() - lostAt;
    let last = cause;
    for (let attempt = 1; lostForMs() < this.#options.reconnect.giveUpAfterMs; attempt += 1) {
      const delayMs = backoffMs(attempt);
      this.#listener.reconnecting({ attempt, delayMs });
      if (this.#state === "lost") await this.#pause(delayMs);
      if (this.#state !== "lost") return;
      const failure2 = await this.#goOn(lostForMs()).then(() => null, (error) => error);
      if (failure2 === null || this.#state !== "lost") return;
      if (isFinal(failure2)) return this.#giveUp(failure2, { code, cause });
      last = failure2;
    }
    this.#finish({ code, reason: "", error: this.#unreached(last) });
  }
  /** Why nothing came of reconnecting: what the server said last, or that nobody was there. */
  #unreached(last) {
    if (last instanceof AssistantError && !(last instanceof ConnectionError)) return last;
    const { socketUrl, reconnect } = this.#options;
    const forHowLong = `for ${reconnect.giveUpAfterMs / 1e3} s`;
    const message = `The server at ${placeOf(socketUrl)} was not reachable ${forHowLong}.`;
    return new ConnectionError("connection.unreachable", message, { retryable: true, cause: last });
  }
  /** Resumes the session or, where that is too late and allowed, begins another. */
  async #goOn(lostForMs) {
    const { fresh } = this.#options.reconnect;
    if (this.#token !== null && (!fresh || lostForMs < this.#token.withinMs)) {
      try {
        return await this.#connect(this.#resume(this.#token));
      } catch (error) {
        if (!isExpired(error)) throw error;
        if (!fresh) throw errorOfClosing(RESUME_EXPIRED, null);
      }
    }
    this.#token = null;
    await this.#connect(this.#start((answer) => this.#beginAgain(answer)));
  }
  #resume({ token }) {
    const first = {
      type: "session.resume",
      session_id: this.#sessionId,
      resume_token: token,
      last_seq: this.#lastSeq
    };
    return { first, expects: "session.resumed", answered: (answer) => this.#takeUp(answer) };
  }
  #takeUp(answer) {
    this.#keepToken(answer);
    const { missed, received, audio } = answer.data;
    const sound = audio ? { ttsId: audio.tts_id, offsetMs: audio.offset_ms } : null;
    this.#outbox.resume(received);
    this.#flush();
    this.#listener.reconnected({ isFresh: false, missed }, sound);
  }
  #beginAgain(answer) {
    this.#outbox.restart();
    this.#listener.reconnected({ isFresh: true, missed: 0 }, null);
    this.#begin(answer);
    this.#flush();
  }
  /** Whether there is a connection, or another may come. */
  get #isGoingOn() {
    return this.#state === "open" || this.#state === "lost";
  }
  /** Sends what waits, as far as it goes: a socket may close before it says so. */
  #flush() {
    if (this.#state === "open") this.#outbox.give((item) => this.#link?.send(item) ?? false);
  }
  #giveUp(error, lost) {
    if (lost.code === BROKEN && isExpired(error)) {
      return this.#finish({ code: lost.code, reason: "", error: lost.cause });
    }
    this.#finish({ code: error.closeCode ?? LOST3, reason: "", error });
  }
  #pause(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
};
function soon(task) {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    port1.close();
    task();
  };
  port2.postMessage(null);
}
function errorOfEvent({ data }) {
  return errorOfCode(data["code"], data["message"], { retryable: data["retryable"] === true });
}
function isExpired(error) {
  const isRefused = error instanceof AssistantError && REFUSED_MESSAGE.test(error.code);
  return isRefused || error instanceof AssistantError && error.closeCode === RESUME_EXPIRED;
}
function isFinal(failure2) {
  if (failure2 instanceof ResumeExpiredError) return true;
  if (!(failure2 instanceof AssistantError)) return false;
  return !failure2.retryable && !(failure2 instanceof ConnectionError);
}

// src/voice/tools.ts
var ToolFailure = class extends Error {
  name = "ToolFailure";
  code;
  output;
  /** `code` as in HTTP, 400 or more. */
  constructor(message, code = 500, output = "") {
    super(message);
    this.code = code;
    this.output = output;
  }
};
var ToolError = class extends AssistantError {
  name = "ToolError";
  toolName;
  toolCallId;
  constructor(code, { id, name }, cause) {
    const message = code === "tool.missing" ? `This program has no tool "${name}".` : `The tool "${name}" of this program failed: ${wordsOf(cause)}`;
    super(code, message, { cause });
    this.toolName = name;
    this.toolCallId = id;
  }
};
var Toolbox = class {
  #handlers;
  #listener;
  #running = /* @__PURE__ */ new Set();
  constructor(handlers, listener) {
    this.#handlers = handlers;
    this.#listener = listener;
  }
  /** The call that an event tells of; `run` starts it, once its listeners have heard of it. */
  read(event) {
    const { id, function: asked, ...tool } = event.data["tool_call"];
    const args = parsed(asked.arguments);
    const aborter = new AbortController();
    const call = {
      id,
      name: asked.name,
      arguments: args ?? {},
      executor: tool.executor,
      isWaited: tool.wait_for_response === true,
      isSpoken: tool.spoken === true,
      timeoutMs: tool.timeout_ms,
      turnId: event.data["turn_id"],
      responseId: event.data["response_id"],
      signal: aborter.signal
    };
    const isOurs = call.executor === "client" && args !== null;
    return { call, run: () => void (isOurs && this.#perform({ call, aborter })) };
  }
  /** The server says how a call ended: nobody waits for our answer. */
  settle({ id, turnId }) {
    for (const running of this.#running) {
      const { call, aborter } = running;
      if (call.id !== id || call.turnId !== turnId || !call.isWaited) continue;
      this.#running.delete(running);
      aborter.abort();
    }
  }
  /** Nothing is wanted any more. */
  abort() {
    for (const { aborter } of this.#running) aborter.abort();
    this.#running.clear();
  }
  async #perform(running) {
    this.#running.add(running);
    const { call } = running;
    const outcome = await this.#outcome(call);
    if (!this.#running.delete(running)) return;
    if (call.isWaited || outcome.code >= 400) this.#listener.answer(call, outcome);
  }
  async #outcome(call) {
    const handler = this.#handlers[call.name];
    if (!handler || !Object.hasOwn(this.#handlers, call.name)) {
      this.#listener.failed(new ToolError("tool.missing", call));
      return { code: 501, message: "This client has no such tool." };
    }
    try {
      const output = await handler(call.arguments, call);
      return { code: 200, message: "ok", output: sendable(output) };
    } catch (error) {
      if (!(error instanceof ToolFailure)) {
        this.#listener.failed(new ToolError("tool.failed", call, error));
      }
      return failure(error);
    }
  }
};
var MAX_MESSAGE_LENGTH = 1e3;
function sendable(output) {
  return JSON.parse(JSON.stringify(output ?? ""));
}
function failure(error) {
  const message = wordsOf(error).slice(0, MAX_MESSAGE_LENGTH);
  return error instanceof ToolFailure ? { code: error.code, message, output: error.output } : { code: 500, message };
}
function wordsOf(error) {
  return error instanceof Error ? error.message : String(error);
}
function parsed(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : null;
  } catch {
    return null;
  }
}
function toolResult({ data }) {
  const { status, output, name } = data["result"];
  return {
    id: data["tool_call_id"],
    name: name ?? "",
    executor: data["source"],
    code: status.code,
    message: status.message,
    output,
    turnId: data["turn_id"]
  };
}

// src/voice/turns.ts
var Turns = class {
  #isUserSpeaking = false;
  /** The assistant is to answer, and nothing of it was heard yet. */
  #isWaiting = false;
  #isSounding = false;
  get turn() {
    if (this.#isUserSpeaking) return "hearing";
    if (this.#isSounding) return "speaking";
    return this.#isWaiting ? "thinking" : "listening";
  }
  /** The user has written something. */
  wrote() {
    this.#isWaiting = true;
  }
  /** A reply is heard now, or not any more. */
  sound(isSounding) {
    this.#isSounding = isSounding;
    if (isSounding) this.#isWaiting = false;
  }
  /** `isAwaited`: somebody waits for another response than that of the event. */
  note({ type, data }, isAwaited) {
    switch (type) {
      case "input.speech_started":
        this.#isUserSpeaking = true;
        return;
      case "input.speech_stopped":
        this.#isUserSpeaking = false;
        return;
      case "transcript.final":
        this.#isUserSpeaking = false;
        this.#isWaiting ||= data["text"] !== "";
        return;
      case "assistant.response.final":
        this.#isWaiting = isAwaited;
        return;
      case "response.interrupted":
        if (data["reason"] === "client_cancel" || data["reason"] === "failed") {
          this.#isWaiting = isAwaited;
        }
        return;
      case "error":
        if (data["stage"] !== "protocol" && data["stage"] !== "audio") this.#isWaiting = isAwaited;
    }
  }
  /** Another session: nobody is in the middle of anything. */
  reset() {
    this.#isUserSpeaking = this.#isWaiting = this.#isSounding = false;
  }
};

// src/voice/conversation.ts
var Conversation = class extends Emitter {
  assistantId;
  /** Resolves when the conversation is over; never rejects. */
  closed;
  #parts;
  #session;
  #devices;
  #toolbox;
  #turns = new Turns();
  #replies = new Replies();
  #framer = new Framer();
  /** The responses that have begun and not ended, by their ids. */
  #open = /* @__PURE__ */ new Map();
  #output = new Output();
  #state = "connecting";
  #isReconnecting = false;
  #closing = null;
  #settleClosed;
  /** @internal Use `openConversation`. */
  constructor(parts) {
    super();
    this.#parts = parts;
    this.assistantId = parts.session.assistantId;
    this.closed = new Promise((resolve) => this.#settleClosed = resolve);
    this.#toolbox = new Toolbox(parts.tools, {
      answer: (call, outcome) => this.#answerTool(call, outcome),
      failed: (error) => this.emit("error", error)
    });
    this.#devices = new Devices(parts.audio, {
      frame: ({ pcm, rms }) => {
        this.#session.sendAudio(new Uint8Array(pcm));
        this.emit("level", rms);
      },
      report: (report2) => this.#played(report2),
      lost: (error) => this.emit("error", error)
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
      closed: (closing) => this.#finish(closing)
    });
  }
  /** @internal */
  async open() {
    if (typeof window !== "undefined") addEventListener("pagehide", this.#leave);
    try {
      if (this.#parts.isPlayed) await this.#devices.openPlayer();
      await this.#session.open();
    } catch (error) {
      this.#release();
      throw error;
    }
    this.#update();
  }
  get sessionId() {
    return this.#session.sessionId;
  }
  get state() {
    return this.#state;
  }
  get isMuted() {
    return this.#devices.isMuted;
  }
  get volume() {
    return this.#devices.volume;
  }
  get hasMicrophone() {
    return this.#devices.hasMicrophone;
  }
  // --- Out -------------------------------------------------------------------------------------
  /**
   * Says something in writing; it interrupts a running reply. Resolves with the text of the reply
   * to it. Rejects with InterruptedError where that is cut off, ConversationError where it fails,
   * TimeoutError, ConnectionError where the conversation ends first, and ValidationError for a
   * text that is empty or too long.
   */
  sendText(text, options = {}) {
    return quiet(this.#ask(text, options));
  }
  /**
   * Speech: pcm_s16le, 16 kHz, mono, in pieces of as many samples as you like. Throws
   * ValidationError for half a sample, after which all would be noise.
   */
  sendAudio(pcm) {
    if (pcm.byteLength % BYTES_PER_SAMPLE !== 0) {
      throw new ValidationError("audio.odd", "Samples have two bytes: this number of bytes is odd.");
    }
    for (const piece of this.#framer.add(pcm)) this.#session.sendAudio(piece);
  }
  /** Stops the running reply: at once or, gracefully, with the end of its sentence. */
  cancel({ graceful = false } = {}) {
    this.#session.send({ type: "response.cancel", graceful });
  }
  /** Push-to-talk: what was said until now is the whole turn. */
  commit() {
    this.#session.send({ type: "input.commit" });
  }
  /** Push-to-talk: what was said since the last turn is forgotten. */
  clear() {
    this.#session.send({ type: "input.clear" });
  }
  /** Ends the conversation in order and gives the devices back. */
  close() {
    this.#devices.close();
    this.#closing ??= this.#session.close();
    return this.#closing;
  }
  // --- Sound -----------------------------------------------------------------------------------
  /**
   * Lets the assistant hear. Rejects with MicrophoneError or UnsupportedError, and writing goes on;
   * with ConnectionError where the conversation is over.
   */
  startMicrophone(options = {}) {
    return quiet(this.#devices.openMicrophone(options));
  }
  stopMicrophone() {
    this.#devices.closeMicrophone();
  }
  mute(isMuted = true) {
    this.#devices.mute(isMuted);
  }
  /** 0 is silence, 1 as loud as speech was made; up to 2, it is made louder. */
  setVolume(volume) {
    this.#devices.setVolume(volume);
  }
  #ask(text, { timeoutMs, signal }) {
    return new Promise((resolve, reject) => {
      const refusal = this.#refusal(text, signal);
      if (refusal) return reject(refusal);
      const fail = (error) => {
        stop();
        signal?.removeEventListener("abort", abort);
        reject(error);
      };
      const abort = () => fail(aborted());
      const stop = limit(timeoutMs ?? this.#parts.responseTimeoutMs, () => fail(late()));
      signal?.addEventListener("abort", abort);
      const succeed = (reply) => {
        stop();
        signal?.removeEventListener("abort", abort);
        resolve(reply);
      };
      const message = { type: "input.text", text };
      this.#replies.add({ message, turn: null, resolve: succeed, reject: fail });
      this.#turns.wrote();
      this.#session.send(message);
      this.#update();
    });
  }
  // --- In --------------------------------------------------------------------------------------
  #receive(event) {
    this.#replies.note(event);
    this.#act(event);
    this.emit("event", event);
    this.#tell(event);
    this.#turns.note(event, this.#replies.areAwaited);
    this.#update();
  }
  /** What the devices do, before anybody is told: silence comes at once. */
  #act({ type, data }) {
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
  #silence(ttsId) {
    this.#devices.player?.clear(ttsId);
    const isCurrent = this.#output.drop(ttsId);
    if (isCurrent && !this.#devices.player) this.#turns.sound(false);
  }
  #tell(event) {
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
        const isFinal2 = type === "transcript.final";
        return this.emit("transcript", { text, isFinal: isFinal2, utteranceId, turnId });
      }
      case "assistant.response.delta": {
        const reply = this.#reply(event);
        reply.text += data["text"];
        return this.emit("responseDelta", data["text"], { ...reply });
      }
      case "assistant.response.final":
        return this.#end(event);
      case "assistant.citations": {
        const sources = data["citations"].map(sourceOf2);
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
  #reply({ data }) {
    const { response_id: responseId, turn_id: turnId, turn } = data;
    let reply = this.#open.get(responseId);
    if (!reply) {
      reply = { responseId, turnId, text: "", sources: [], isOpener: turn === 0 };
      this.#open.set(responseId, reply);
    }
    return reply;
  }
  #end(event) {
    const reply = this.#reply(event);
    reply.text = event.data["text"];
    this.#open.delete(reply.responseId);
    for (const waiting of this.#replies.take(event)) waiting.resolve(reply.text);
    this.emit("response", reply.text, reply);
  }
  #interrupt(event) {
    const { data } = event;
    const interruption = {
      reason: data["reason"],
      responseId: data["response_id"],
      turnId: data["turn_id"],
      heardText: data["heard_text"] ?? "",
      heardMs: data["heard_ms"] ?? 0,
      generatedText: data["generated_text"] ?? ""
    };
    this.#open.delete(interruption.responseId);
    const error = new InterruptedError(interruption);
    for (const waiting of this.#replies.take(event)) waiting.reject(error);
    this.emit("interrupted", interruption);
  }
  #fail(event) {
    const error = new ConversationError(event);
    const failed = error.stage === "llm" ? this.#replies.take(event) : [];
    const refused = error.code === "rate_limit.turns" ? this.#replies.takeRefused() : [];
    for (const waiting of [...failed, ...refused]) waiting.reject(error);
    this.emit("error", error);
  }
  #receiveAudio(all) {
    const { ttsId } = this.#output;
    const pcm = this.#output.receive(all);
    if (ttsId === null || pcm === null) return;
    this.emit("audio", pcm, { ttsId });
    this.#devices.player?.push(pcm.slice(0));
  }
  #played(report2) {
    const { type, ttsId, playedMs } = report2;
    const responseId = this.#output.responseOf(ttsId);
    if (responseId === void 0) return;
    if (type === "playing") this.#turns.sound(true);
    else {
      this.#session.send({
        type: "output.audio.played",
        tts_id: ttsId,
        response_id: responseId,
        played_at_ms: Date.now(),
        played_ms: playedMs
      });
    }
    if (type === "finished" || type === "cleared") this.#turns.sound(false);
    this.emit("playback", report2);
    this.#update();
  }
  #answerTool(call, { code, message, output = "" }) {
    const status = { code, message };
    const results = [{ tool_call_id: call.id, name: call.name, output, status }];
    this.#session.send({ type: "tool_call.results", results });
  }
  // --- The connection --------------------------------------------------------------------------
  #reconnected(how, sound) {
    this.#isReconnecting = false;
    if (how.isFresh) this.#restart();
    if (sound) this.#output.goOn(sound);
    this.#update();
    this.emit("reconnected", how);
  }
  /** Of the session before, only what it never heard of is left. */
  #restart() {
    this.#toolbox.abort();
    this.#open.clear();
    for (const ttsId of this.#output.idsOf()) this.#silence(ttsId);
    this.#output.reset();
    this.#turns.reset();
    const lost = this.#replies.restart(({ message }) => this.#session.isWaiting(message));
    for (const waiting of lost) waiting.reject(closed());
    if (this.#replies.areAwaited) this.#turns.wrote();
  }
  #finish(closing) {
    this.#toolbox.abort();
    this.#release();
    const error = closing.error ?? closed();
    for (const waiting of this.#replies.restart(() => false)) waiting.reject(error);
    this.#update("closed");
    this.emit("close", closing);
    this.#settleClosed(closing);
  }
  #leave = () => void this.close();
  /** Gives back what the page has lent. */
  #release() {
    if (typeof window !== "undefined") removeEventListener("pagehide", this.#leave);
    this.#devices.close();
  }
  #refusal(text, signal) {
    if (this.#state === "closed" || this.#closing) return closed();
    if (signal?.aborted) return aborted();
    if (!text.trim()) return new ValidationError("text.empty", "The text is empty.");
    if ([...text].length > MAX_TEXT_LENGTH) {
      return new ValidationError("text.too_long", `A text may have ${MAX_TEXT_LENGTH} characters.`);
    }
    return null;
  }
  #update(now = this.#isReconnecting ? "reconnecting" : this.#turns.turn) {
    if (this.#state === now || this.#state === "closed") return;
    this.#state = now;
    this.emit("state", now);
  }
};
function sourceOf2(citation) {
  return {
    index: citation["index"],
    document: citation["document"],
    page: citation["page"],
    text: citation["text"],
    score: citation["score"],
    knowledgeBaseId: citation["knowledge_base_id"],
    documentId: citation["document_id"],
    chunkId: citation["chunk_id"]
  };
}
var late = () => new TimeoutError("response.timeout", "The assistant did not reply in time.");
var aborted = () => new AbortedError("aborted", "The reply is not waited for.");
function quiet(promise) {
  promise.catch(() => void 0);
  return promise;
}

// src/voice/connection.ts
var TIMEOUT_MS = 15e3;
var RESPONSE_TIMEOUT_MS = 12e4;
async function openConversation(options) {
  const output = options.output ?? (hasSound() ? "audio" : "text");
  const audio = options.audio ?? {};
  const isPlayed = output === "audio" && (audio.playback ?? typeof window !== "undefined");
  const conversation = new Conversation({
    session: {
      socketUrl: options.socketUrl,
      assistantId: options.assistantId,
      access: options.access,
      metadata: metadataOf(options, output, isPlayed),
      reconnect: reconnectPolicy(options.reconnect),
      timeoutMs: options.timeoutMs ?? TIMEOUT_MS,
      signal: options.signal,
      socketClass: options.WebSocket
    },
    tools: options.tools ?? {},
    audio,
    isPlayed,
    responseTimeoutMs: options.responseTimeoutMs ?? RESPONSE_TIMEOUT_MS
  });
  await conversation.open();
  return conversation;
}
function metadataOf(options, output, isPlayed) {
  const { metadata = {}, overrides, variables, source } = options;
  const capabilities = ["spoken_prompts", ...options.capabilities ?? []];
  if (isPlayed) capabilities.push("playback_ack", "pause");
  if (reconnectPolicy(options.reconnect).isOn) capabilities.push("resume");
  const ofOutput = output === "text" ? { output: { mode: output } } : {};
  return {
    channel: typeof window === "undefined" ? "api" : "web",
    ...metadata,
    ...source === void 0 ? {} : { source },
    dynamicVariables: { ...metadata.dynamicVariables, ...variables },
    overrides: { ...ofOutput, ...metadata.overrides, ...overrides },
    capabilities: [.../* @__PURE__ */ new Set([...capabilities, ...metadata.capabilities ?? []])]
  };
}
export {
  AbortedError,
  AssistantError,
  AuthenticationError,
  ConflictError,
  ConnectionError,
  Conversation,
  ConversationError,
  InterruptedError,
  MicrophoneError,
  NotFoundError,
  PermissionError,
  RateLimitError,
  ResumeExpiredError,
  ServerError,
  TimeoutError,
  ToolError,
  ToolFailure,
  UnsupportedError,
  ValidationError,
  durationMs,
  hasSound,
  openConversation,
  openMicrophone,
  openSound
};
