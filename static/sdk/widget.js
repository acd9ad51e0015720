// Built from sdks/javascript by scripts/build_sdks.sh; change it there.
"use strict";
(() => {
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
  var RateLimitError = class extends AssistantError {
    name = "RateLimitError";
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
      const { isOn: isOn2, fresh } = this.#options.reconnect;
      const isWanted = this.#state === "open" && isOn2 && (this.#token !== null || fresh);
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

  // src/widget/endings.ts
  var RULES = [
    ["auth.forbidden", "ended.origin", false, adviceOnOrigins],
    ["auth.", "ended.private", false, adviceOnAccess],
    ["assistant.not_found", "ended.private", false, adviceOnAccess],
    ["rate_limit.", "ended.busy", true, () => "Too many calls at once, or from one address."],
    ["assistant.config_unavailable", "ended.overloaded", true],
    ["server.overloaded", "ended.overloaded", true],
    ["session.inactive", "ended.inactive", true],
    ["session.replaced", "ended.replaced", false],
    ["session.resume_expired", "ended.lost", true],
    ["connection.going_away", "ended.lost", true]
  ];
  function adviceOnOrigins({ assistantId }) {
    const pages = `Pages of ${location.origin} may not talk to the assistant "${assistantId}"`;
    return `${pages}: add this origin to its allowed origins.`;
  }
  function adviceOnAccess({ assistantId, server }) {
    const none = `${server} has no public assistant "${assistantId}"`;
    return `${none}: the id is wrong, or it has to be made public.`;
  }
  function endingOf(error, options, hadStarted) {
    const code = error instanceof AssistantError ? error.code : "";
    const rule = RULES.find(([codes]) => code.startsWith(codes));
    if (rule) {
      const [, word, isRetryable, advice] = rule;
      return { word, isRetryable, advice: advice?.(options) ?? null };
    }
    if (error instanceof ConnectionError) return unconnected(options, hadStarted);
    return { word: "ended.failed", isRetryable: true, advice: error ? String(error) : null };
  }
  function unconnected({ server }, hadStarted) {
    if (hadStarted) return { word: "ended.lost", isRetryable: true, advice: null };
    const policy = "the page's Content-Security-Policy: connect-src must name it, as https: and as wss:";
    const advice = `${server} did not answer. If it runs, look at ${policy}.`;
    return { word: "ended.unreachable", isRetryable: true, advice };
  }

  // src/widget/call.ts
  var OPENER_MS = 1e3;
  var STAGES = { asr: "failed.asr", llm: "failed.llm", tts: "failed.tts" };
  var Call = class extends Emitter {
    state = "connecting";
    microphone = "off";
    /** Whether there was a conversation at all. */
    hasBegun = false;
    #options;
    #ticket;
    #conversation;
    #aborter = new AbortController();
    #written = 0;
    /** What is to be written once the assistant has greeted; null from then on. */
    #unsent = [];
    #opener;
    #isSpoken = false;
    #isAsking = false;
    #isOver = false;
    constructor(options, ticket) {
      super();
      this.#options = options;
      this.#ticket = ticket;
    }
    /** Rings up; call it from a click, or the browser allows no sound. Never rejects: see "end". */
    async start({ isSpoken }) {
      const stream = isSpoken ? await this.#askForMicrophone() : null;
      try {
        if (!this.#isOver) this.#begin(await this.#connect());
      } catch (error) {
        this.#finish(endingOf(error, this.#options, false));
      }
      if (stream) await this.#listenTo(stream);
    }
    /** What was written and never said, if the call is over. */
    get unsent() {
      return this.#unsent?.join("\n") ?? "";
    }
    /** Says something in writing, behind the assistant's opener. */
    write(text) {
      if (this.#unsent) this.#unsent.push(text);
      else this.#say(text);
    }
    #say(text) {
      this.#written += 1;
      const id = `written-${this.#written}`;
      this.#show({ id, who: "you", text, isFinal: true });
      void this.#conversation?.sendText(text);
    }
    async toggleMicrophone() {
      if (this.microphone !== "off") return this.#mute(this.microphone === "on");
      const stream = await this.#askForMicrophone();
      if (stream) await this.#listenTo(stream);
    }
    /** The visitor hangs up. */
    end() {
      this.#aborter.abort();
      void this.#conversation?.close();
      this.#finish(null);
    }
    /** With sound if the page may have any, else in writing. */
    async #connect() {
      const { output } = this.#options;
      try {
        return await this.#open(output);
      } catch (error) {
        if (!(error instanceof UnsupportedError) || output === "text") throw error;
        const conversation = await this.#open("text");
        this.#missSound(error);
        return conversation;
      }
    }
    #missSound({ code, message }) {
      if (this.#isOver) return;
      if (code !== "audio.unsupported") warn(message);
      this.emit("notice", code === "audio.unsupported" ? "microphone.insecure" : "sound.failed");
    }
    #open(output) {
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
          playbackWorkletUrl: new URL("playback.worklet.js", script)
        }
      });
    }
    async #access() {
      return this.#ticket ? { kind: "ticket", ticket: await this.#ticket() } : { kind: "open" };
    }
    /** The microphone, or null where the visitor or the device has none for us, or is being asked. */
    async #askForMicrophone() {
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
    async #listenTo(stream) {
      if (!this.#conversation || this.#isOver) return stopStream(stream);
      try {
        await this.#conversation.startMicrophone({ stream });
        this.#mute(false);
      } catch (error) {
        this.#missMicrophone(error);
      }
    }
    #missMicrophone(error) {
      if (this.#isOver) return;
      if (error instanceof MicrophoneError) return this.emit("notice", `microphone.${error.problem}`);
      this.emit("notice", "microphone.failed");
      warn(String(error));
    }
    #mute(isMuted) {
      this.#conversation?.mute(isMuted);
      this.#hear(isMuted ? "muted" : "on");
    }
    #begin(conversation) {
      if (this.#isOver) return void conversation.close();
      this.#conversation = conversation;
      this.hasBegun = true;
      this.#listen(conversation);
      this.#enter(conversation.state);
      limit(OPENER_MS, () => this.#greeted());
    }
    /** The opener is there, or none comes. */
    #greeted() {
      if (this.#isOver) return;
      const unsent = this.#unsent ?? [];
      this.#unsent = null;
      for (const text of unsent) this.#say(text);
    }
    #listen(conversation) {
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
    #showSpoken({ text, isFinal: isFinal2, utteranceId }) {
      this.#show({ id: utteranceId, who: "you", text, isFinal: isFinal2 });
    }
    #showReply(reply, isFinal2) {
      const { responseId, text, isOpener } = reply;
      if (isOpener) this.#opener = reply;
      this.#show({ id: responseId, who: "assistant", text, isFinal: isFinal2, isAudible: this.#isSpoken });
      this.#greeted();
    }
    /** Of an answer that was cut off, what was heard is what was said. */
    #showCut({ responseId, heardText, reason }) {
      const how = { isFinal: true, isInterrupted: true, isAudible: this.#isSpoken };
      const isRead = responseId === this.#opener?.responseId && reason === "input_text";
      const text = isRead ? this.#opener.text : heardText.trim();
      this.#show({ id: responseId, who: "assistant", text, ...how });
    }
    #show(entry) {
      this.emit("entry", { isInterrupted: false, isAudible: false, ...entry });
    }
    #complain(error) {
      this.#greeted();
      if (error instanceof MicrophoneError) {
        this.#hear("off");
        return this.#missMicrophone(error);
      }
      const word = error instanceof ConversationError ? STAGES[error.stage] : void 0;
      if (word === "failed.tts") this.#isSpoken = false;
      if (word) this.emit("notice", word);
    }
    #enter(state) {
      if (this.#isOver || state === "closed") return;
      this.state = state;
      this.emit("change");
    }
    #hear(microphone) {
      if (this.#isOver) return;
      this.microphone = microphone;
      this.emit("change");
    }
    #close({ error }) {
      this.#finish(error && endingOf(error, this.#options, true));
    }
    #finish(ending) {
      if (this.#isOver) return;
      this.#isOver = true;
      this.state = "closed";
      this.microphone = "off";
      if (ending?.advice) warn(ending.advice);
      this.emit("end", ending);
    }
  };
  function socketUrlOf(server) {
    return `${server.replace(/^http/, "ws")}/ws`;
  }
  var warned = /* @__PURE__ */ new Set();
  function warn(text) {
    if (warned.has(text)) return;
    warned.add(text);
    console.warn(`[AI Video Assistant] ${text}`);
  }

  // src/widget/options.ts
  var POSITIONS = ["bottom-right", "bottom-left", "top-right", "top-left"];
  var THEMES = ["auto", "light", "dark"];
  var OUTPUTS = ["audio", "text"];
  var LineError = class extends Error {
  };
  function readOptions(line2) {
    const { assistant, server, language, position, theme, output, color, title } = line2.dataset;
    if (!assistant) throw new LineError("data-assistant is missing: the id of a public assistant.");
    return {
      assistantId: assistant,
      server: originOf(server, line2.src),
      script: line2.src,
      language: languageOf(language || document.documentElement.lang || navigator.language),
      position: oneOf(POSITIONS, position),
      theme: oneOf(THEMES, theme),
      output: oneOf(OUTPUTS, output),
      color: color && CSS.supports("color", color) ? color : null,
      title: title || null
    };
  }
  function originOf(server, script) {
    try {
      return new URL(server || script, location.href).origin;
    } catch {
      throw new LineError(`data-server is no address: ${server}`);
    }
  }
  var languageOf = (tag) => /^zh\b/i.test(tag) ? "zh" : "en";
  function oneOf(values, value = "") {
    return values.find((known) => known === value) ?? values[0];
  }

  // src/widget/elements.ts
  var SVG = "http://www.w3.org/2000/svg";
  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }
  var ICONS = {
    microphone: "M12 15a3 3 0 0 0 3-3V6a3 3 0 0 0-6 0v6a3 3 0 0 0 3 3zm6-3a6 6 0 0 1-5 5.9V21h-2v-3.1A6 6 0 0 1 6 12h2a4 4 0 0 0 8 0z",
    send: "M4 12 20 4l-5 16-3.5-6.5z",
    end: "M12 9c-3 0-5.8.7-8.2 2A2 2 0 0 0 3 12.8v2.4a1 1 0 0 0 1.3.95l3-.9a1 1 0 0 0 .7-.95v-2a13 13 0 0 1 8 0v2a1 1 0 0 0 .7.95l3 .9A1 1 0 0 0 21 15.2v-2.4a2 2 0 0 0-.8-1.8A17 17 0 0 0 12 9z",
    close: "M5.6 7 7 5.6l5 5 5-5L18.4 7l-5 5 5 5-1.4 1.4-5-5-5 5L5.6 17l5-5z",
    minimize: "M12 16.2 4.8 9l1.4-1.4 5.8 5.8 5.8-5.8L19.2 9z"
  };
  function icon(name) {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", ICONS[name]);
    svg.append(path);
    if (name === "microphone") svg.append(slash());
    return svg;
  }
  function slash() {
    const line2 = document.createElementNS(SVG, "path");
    line2.setAttribute("class", "slash");
    line2.setAttribute("d", "M4 4 20 20");
    return line2;
  }
  function button(className, ...children) {
    return element("button", { type: "button", class: className }, ...children);
  }
  function labelled(made, label) {
    made.setAttribute("aria-label", label);
    made.title = label;
    return made;
  }

  // src/widget/states.ts
  var isOn = (state) => state !== "idle" && state !== "ended";

  // src/widget/controls.ts
  var Controls = class {
    element;
    start;
    text;
    #words;
    #notices = element("div", { class: "notices", role: "alert" });
    #startLabel = element("span");
    #microphone = button("icon microphone", icon("microphone"));
    #end;
    #state = "idle";
    constructor(words, actions) {
      this.#words = words;
      this.start = button("primary start", icon("microphone"), this.#startLabel);
      this.#end = labelled(button("icon end", icon("end")), words.end);
      this.text = element("input", {
        type: "text",
        maxlength: "4000",
        autocomplete: "off",
        enterkeyhint: "send",
        placeholder: words.placeholder,
        "aria-label": words.message
      });
      const send = labelled(button("icon send", icon("send")), words.send);
      send.type = "submit";
      const form = element("form", { class: "row" }, this.#microphone, this.text, send, this.#end);
      this.element = element("footer", {}, this.#notices, this.start, form);
      this.start.addEventListener("click", actions.talk);
      this.#microphone.addEventListener("click", actions.toggleMicrophone);
      this.#end.addEventListener("click", actions.end);
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        this.#submit(actions.write);
      });
    }
    show(state, hearing) {
      const words = this.#words;
      this.#state = state;
      this.start.hidden = isOn(state);
      this.#startLabel.textContent = state === "ended" ? words.again : words.start;
      this.#microphone.hidden = this.#end.hidden = !isOn(state);
      this.#microphone.disabled = !canWrite(state);
      labelled(this.#microphone, hearing === "on" ? words.mute : words.unmute);
      this.#microphone.setAttribute("aria-pressed", String(hearing !== "on"));
    }
    /** What could not be sent, to be sent again. */
    giveBack(text) {
      this.text.value ||= text;
    }
    /** A line that stays until it is dismissed, or the next call. */
    notify(word, retry) {
      if (this.#notices.querySelector(`[data-word="${word}"]`)) return;
      const close = labelled(button("icon small", icon("close")), this.#words.dismiss);
      const line2 = element("span", {}, this.#words[word]);
      const notice = element("div", { class: "notice", "data-word": word }, line2);
      if (retry) {
        const again = button("plain", this.#words.retry);
        again.addEventListener("click", retry);
        notice.append(again);
      }
      close.addEventListener("click", () => {
        notice.remove();
        (this.start.hidden ? this.text : this.start).focus({ preventScroll: true });
      });
      notice.append(close);
      this.#notices.append(notice);
    }
    dismissAll() {
      this.#notices.replaceChildren();
    }
    #submit(write) {
      const text = this.text.value.trim();
      if (!text || !canWrite(this.#state)) return;
      this.text.value = "";
      write(text);
    }
  };
  var canWrite = (state) => state !== "connecting" && state !== "reconnecting";

  // src/widget/log.ts
  var READING_PX = 40;
  var Log = class {
    element;
    /** Says each finished line once; what grows word by word would be read out over and over. */
    announcer = element("div", { class: "unseen", role: "log", "aria-live": "polite" });
    #words;
    #list = element("ol");
    /** The lines of the current call, by the entry's id. */
    #lines = /* @__PURE__ */ new Map();
    #announced = /* @__PURE__ */ new Set();
    #isFollowing = true;
    constructor(words) {
      this.#words = words;
      const name = { role: "region", "aria-label": words.conversation };
      this.element = element("div", { class: "log", tabindex: "0", ...name }, this.#list);
      this.element.addEventListener("scroll", () => {
        const { scrollTop, scrollHeight, clientHeight } = this.element;
        this.#isFollowing = scrollHeight - scrollTop - clientHeight < READING_PX;
      });
    }
    show(entry) {
      const { id, who, text, isFinal: isFinal2, isInterrupted, isAudible } = entry;
      if (isFinal2 && !text) return this.#remove(id);
      const line2 = this.#lineOf(entry);
      line2.dataset.final = String(isFinal2);
      const speaker = who === "you" ? this.#words.you : this.#words.assistant;
      const caption = element("span", { class: "text" }, text);
      const label = element("span", { class: "unseen" }, `${speaker}: `);
      line2.replaceChildren(label, caption, ...line2.querySelectorAll(".sources"));
      const tag = element("span", { class: "tag" }, this.#words.interrupted);
      if (isInterrupted) caption.after(" ", tag);
      if (isFinal2 && !isAudible) this.#announce(id, `${speaker}: ${text}`);
      this.follow();
    }
    /** Which documents an answer rests on. */
    showSources(id, sources) {
      const line2 = this.#lines.get(id);
      if (!line2 || sources.length === 0) return;
      line2.querySelector(".sources")?.remove();
      const names = new Set(sources.map((source) => this.#nameOf(source)));
      const items = [...names].map((name) => element("li", {}, name));
      line2.append(element("ul", { class: "sources", "aria-label": this.#words.sources }, ...items));
      this.follow();
    }
    /** The newest line stays in sight, unless somebody scrolled up to read. */
    follow() {
      if (this.#isFollowing) this.element.scrollTop = this.element.scrollHeight;
    }
    /** Takes back guesses that nothing came of; what was answered until now is all there is. */
    settle() {
      for (const [id, line2] of this.#lines) {
        if (line2.dataset.final === "false" && line2.className === "you") this.#remove(id);
        else line2.dataset.final = "true";
      }
    }
    /** Separates the calls of one visit. */
    divide() {
      this.#lines.clear();
      this.#announced.clear();
      this.#isFollowing = true;
      const last = this.#list.lastElementChild;
      if (!last || last.className === "divider") return;
      this.#list.append(element("li", { class: "divider" }, this.#words.newCall));
    }
    #nameOf({ document: name, page }) {
      return page === null ? name : `${name}, ${this.#words.page.replace("{page}", String(page))}`;
    }
    #lineOf({ id, who }) {
      const known = this.#lines.get(id);
      if (known) return known;
      const line2 = element("li", { class: who });
      this.#lines.set(id, line2);
      this.#list.append(line2);
      return line2;
    }
    #remove(id) {
      this.#lines.get(id)?.remove();
      this.#lines.delete(id);
    }
    #announce(id, text) {
      if (this.#announced.has(id)) return;
      this.#announced.add(id);
      this.announcer.append(element("p", {}, text));
    }
  };

  // src/widget/styles.ts
  var DARK = `
  --ground: #101417; --surface: #181d21; --line: #2f373d; --ink: #e8ebed; --soft: #9aa4ab;
  --accent: #4fc7b6; --on-accent: #06201d; --danger: #e0635b;
  --warning: #332813; --warning-ink: #f3d6a0;
  --shadow: 0 2px 6px rgb(0 0 0 / 40%), 0 12px 40px rgb(0 0 0 / 50%);
  color-scheme: dark;
`;
  var CSS_TEXT = `
:host {
  all: initial !important;
  position: fixed !important;
  inset: 0 !important;
  z-index: var(--ai-video-assistant-z-index, 10000) !important;
  pointer-events: none !important;
}
@media print { :host { display: none !important; } }

.root {
  --ground: #f4f3ef; --surface: #fff; --line: #dddbd4; --ink: #1e2328; --soft: #5f666d;
  --accent: #0f766e; --on-accent: #fff; --danger: #b3342d;
  --warning: #fdf1dc; --warning-ink: #6b4505;
  --shadow: 0 2px 6px rgb(30 35 40 / 12%), 0 12px 40px rgb(30 35 40 / 18%);
  --edge: 20px;
  --tint: color-mix(in srgb, var(--accent) 15%, var(--surface));
  color: var(--ink);
  color-scheme: light;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif;
  -webkit-text-size-adjust: 100%;
}
@media (prefers-color-scheme: dark) { .root[data-theme="auto"] { ${DARK} } }
.root[data-theme="dark"] { ${DARK} }

*, ::before, ::after { box-sizing: border-box; }
[hidden] { display: none !important; }
h2, p, ol, ul { margin: 0; padding: 0; list-style: none; }
button, input { margin: 0; font: inherit; color: inherit; }
svg { flex: none; width: 22px; height: 22px; fill: currentcolor; }
.slash {
  visibility: hidden; fill: none; stroke: currentcolor; stroke-width: 2; stroke-linecap: round;
}
:focus-visible { outline: 2px solid var(--ink); outline-offset: 2px; }
.unseen {
  position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden;
  clip-path: inset(50%); white-space: nowrap;
}

button {
  display: inline-flex;
  align-items: center;
  justify-content: center;
  gap: 8px;
  min-height: 44px;
  padding: 8px 20px;
  border: 1px solid var(--line);
  border-radius: 22px;
  background: var(--surface);
  cursor: pointer;
  touch-action: manipulation;
  -webkit-tap-highlight-color: transparent;
}
button:hover:not(:disabled) { border-color: var(--soft); }
button:disabled { opacity: .45; cursor: default; }
.icon { flex: none; width: 44px; padding: 0; border-radius: 50%; }
.icon.small { width: 32px; min-height: 32px; border-color: transparent; background: none; }
.icon.small svg { width: 18px; height: 18px; }
.primary, .launcher {
  border-color: transparent; background: var(--accent); color: var(--on-accent); font-weight: 600;
}
.primary:hover:not(:disabled), .launcher:hover:not(:disabled) {
  border-color: transparent; filter: brightness(1.08);
}

/* --- The button on the page ------------------------------------------------------------------- */

.launcher, .panel { position: absolute; pointer-events: auto; }
[data-position^="bottom"] > * { bottom: max(var(--edge), env(safe-area-inset-bottom)); }
[data-position^="top"] > * { top: max(var(--edge), env(safe-area-inset-top)); }
[data-position$="right"] > * { right: max(var(--edge), env(safe-area-inset-right)); }
[data-position$="left"] > * { left: max(var(--edge), env(safe-area-inset-left)); }
.launcher {
  min-height: 56px; padding: 8px 24px 8px 20px; border-radius: 28px; box-shadow: var(--shadow);
  white-space: nowrap;
}
.launcher::after {
  content: ""; position: absolute; inset: 0; border-radius: inherit;
  border: 2px solid var(--accent); opacity: 0; pointer-events: none;
}
.root:not([data-state="idle"], [data-state="ended"]) .launcher::after {
  animation: halo 1.8s ease-out infinite;
}

/* --- The panel -------------------------------------------------------------------------------- */

.panel {
  display: flex;
  flex-direction: column;
  width: 384px;
  max-width: calc(100% - 2 * var(--edge));
  height: 600px;
  max-height: calc(100% - 2 * var(--edge));
  overflow: hidden;
  border: 1px solid var(--line);
  border-radius: 20px;
  background: var(--surface);
  box-shadow: var(--shadow);
  animation: rise .18s ease-out;
}
header {
  display: flex; align-items: center; gap: 12px; padding: 12px 12px 12px 16px;
  border-bottom: 1px solid var(--line);
}
header .icon { border-color: transparent; }
.title { flex: 1; min-width: 0; line-height: 1.3; }
h2 {
  overflow: hidden; font-size: 16px; font-weight: 600; white-space: nowrap;
  text-overflow: ellipsis;
}
.status { min-height: 1.3em; color: var(--soft); font-size: 14px; }

.orb {
  position: relative; flex: none; width: 36px; height: 36px; border-radius: 50%;
  background: radial-gradient(circle at 32% 28%, color-mix(in srgb, var(--accent), white 45%), var(--accent) 75%);
  opacity: .45; transition: opacity .3s;
}
.orb.large { width: 88px; height: 88px; margin-bottom: 8px; opacity: 1; }
.orb::after {
  content: ""; position: absolute; inset: 0; border-radius: 50%; border: 2px solid var(--accent);
  opacity: 0;
}
.root:not([data-state="idle"], [data-state="ended"]) .orb { opacity: 1; }
:is([data-state="listening"], [data-state="hearing"])[data-microphone="on"] header .orb::after {
  opacity: .55; transform: scale(calc(1 + .45 * var(--level, 0)));
}
:is([data-state="connecting"], [data-state="thinking"], [data-state="reconnecting"]) header .orb {
  animation: breathe 1.4s ease-in-out infinite;
}
[data-state="speaking"] header .orb::after { animation: ring 1.5s ease-out infinite; }
@keyframes breathe { 50% { transform: scale(.82); opacity: .6; } }
@keyframes ring { from { opacity: .8; transform: none; } to { opacity: 0; transform: scale(1.35); } }
@keyframes rise { from { opacity: 0; transform: translateY(12px); } }
@keyframes halo { from { opacity: .8; transform: none; } to { opacity: 0; transform: scale(1.14, 1.3); } }

.log {
  display: flex; flex: 1; flex-direction: column; min-height: 0; padding: 16px; overflow-y: auto;
  overscroll-behavior: contain;
}
.log:focus-visible { outline-offset: -2px; }
.welcome {
  display: flex; flex-direction: column; align-items: center; gap: 8px; max-width: 280px;
  margin: auto; text-align: center; text-wrap: balance;
}
.welcome:lang(zh) { word-break: keep-all; }
.soft { color: var(--soft); font-size: 14px; }
ol { display: flex; flex-direction: column; gap: 12px; }
ol:empty { display: none; }
ol > li { position: relative; max-width: 88%; overflow-wrap: anywhere; white-space: pre-line; }
.you {
  align-self: flex-end; padding: 8px 14px; border-radius: 18px 18px 5px; background: var(--tint);
}
.you[data-final="false"] {
  background: none; box-shadow: inset 0 0 0 1px var(--line); color: var(--soft);
}
.assistant { align-self: flex-start; }
.divider { align-self: center; padding-top: 8px; color: var(--soft); font-size: 13px; }
.tag {
  padding: 1px 8px; border-radius: 16px; box-shadow: inset 0 0 0 1px var(--line);
  color: var(--soft); font-size: 12px; white-space: nowrap;
}
.sources { display: flex; flex-wrap: wrap; gap: 4px; margin-top: 4px; }
.sources li {
  max-width: 100%; padding: 1px 8px; overflow: hidden; border-radius: 16px;
  background: var(--ground); color: var(--soft); font-size: 12px; white-space: nowrap;
  text-overflow: ellipsis;
}

footer {
  display: flex; flex-direction: column; gap: 10px;
  padding: 12px 16px max(14px, env(safe-area-inset-bottom)); border-top: 1px solid var(--line);
}
.row { display: flex; align-items: center; gap: 8px; }
input {
  flex: 1; min-width: 0; min-height: 44px; padding: 8px 16px; border: 1px solid var(--line);
  border-radius: 22px; background: var(--ground);
}
input:focus-visible { outline-offset: -1px; }
input::placeholder { color: var(--soft); opacity: 1; }
.end { border-color: transparent; background: var(--danger); color: #fff; }
.microphone { box-shadow: 0 0 0 calc(7px * var(--level, 0)) var(--tint); }
.microphone[aria-pressed="true"] { background: var(--ink); color: var(--surface); }
.microphone[aria-pressed="true"] .slash { visibility: visible; }
.notices { display: flex; flex-direction: column; gap: 8px; max-height: 40vh; overflow-y: auto; }
.notices:empty { display: none; }
.notice {
  display: flex; align-items: center; gap: 8px; padding: 6px 6px 6px 14px; border-radius: 14px;
  background: var(--warning); color: var(--warning-ink); font-size: 14px; line-height: 1.4;
}
.notice > span { flex: 1; min-width: 0; padding-block: 4px; }
.plain {
  flex: none; min-height: 36px; padding: 4px 14px; border-color: currentcolor; background: none;
  font-weight: 600;
}

@media (max-width: 480px) {
  .root { --edge: 16px; }
  .root > .panel {
    inset: auto 0 var(--covered, 0px);
    width: 100%;
    max-width: none;
    height: 560px;
    max-height: calc(100% - var(--covered, 0px) - 24px);
    border-width: 1px 0 0;
    border-radius: 20px 20px 0 0;
  }
}
@media (max-height: 480px) {
  .root > .panel { --edge: 8px; }
  .orb.large { display: none; }
}
@media (prefers-reduced-motion: reduce) {
  *, ::before, ::after { animation: none !important; transition: none !important; }
  .root:not([data-state="idle"], [data-state="ended"]) .launcher::after {
    opacity: .8; transform: scale(1.05, 1.12);
  }
  [data-state="speaking"] header .orb::after { opacity: .8; transform: scale(1.15); }
}
@media (forced-colors: active) {
  button, .panel, .you, .notice { border: 1px solid; }
}
`;
  function styles() {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(CSS_TEXT);
    return sheet;
  }
  function paint(root, color) {
    root.style.setProperty("--accent", color);
    const probe = root.ownerDocument.createElement("span");
    probe.style.color = `color-mix(in srgb, ${color}, ${color})`;
    root.append(probe);
    const [red = 0, green = 0, blue = 0] = componentsOf(getComputedStyle(probe).color);
    probe.remove();
    const luminance = 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
    root.style.setProperty("--on-accent", luminance > 0.18 ? "#000" : "#fff");
  }
  function componentsOf(computed) {
    const numbers = computed.match(/[\d.]+(?:e-?\d+)?/g)?.map(Number) ?? [];
    return computed.startsWith("rgb") ? numbers.map((part) => part / 255) : numbers;
  }
  var linear = (part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;

  // src/widget/words.ts
  var EN = {
    talk: "Talk",
    title: "Voice assistant",
    onCall: "Call is on",
    idle: "Ready",
    connecting: "Connecting…",
    listening: "Listening",
    muted: "Microphone off",
    writing: "In writing",
    thinking: "Thinking…",
    speaking: "Speaking",
    reconnecting: "Reconnecting…",
    ended: "Call ended",
    welcome: "Speak as you would on the phone: you may interrupt at any time.",
    consent: "The microphone is used only during the call.",
    start: "Start talking",
    again: "Talk again",
    retry: "Try again",
    close: "Close",
    minimize: "Hide; the call goes on",
    end: "End call",
    mute: "Turn microphone off",
    unmute: "Turn microphone on",
    placeholder: "Or type a message",
    message: "Message",
    send: "Send",
    conversation: "Conversation",
    you: "You",
    assistant: "Assistant",
    interrupted: "interrupted",
    sources: "Sources",
    page: "p. {page}",
    newCall: "New call",
    dismiss: "Dismiss",
    "microphone.denied": "The browser may not use the microphone. Allow it in the address bar, then turn it on here; until then you can type.",
    "microphone.missing": "No microphone was found. You can type instead.",
    "microphone.busy": "Another program is using the microphone. You can type instead.",
    "microphone.insecure": "Browsers allow the microphone only over HTTPS. You can type instead.",
    "microphone.lost": "The microphone was unplugged. You can type instead.",
    "microphone.failed": "The microphone could not be started. You can type instead.",
    "sound.failed": "The browser could not start its sound. This call is in writing.",
    "failed.asr": "What you said could not be recognised.",
    "failed.llm": "The assistant could not answer.",
    "failed.tts": "The answer could not be spoken.",
    "ended.private": "This assistant is not available here.",
    "ended.origin": "This assistant may not be used on this page.",
    "ended.busy": "Too many people are calling just now. Try again in a moment.",
    "ended.overloaded": "The server is busy. Try again in a moment.",
    "ended.inactive": "The call ended because nothing happened for a while.",
    "ended.lost": "The connection to the server was lost.",
    "ended.unreachable": "The server could not be reached.",
    "ended.replaced": "The call goes on in another window.",
    "ended.failed": "The call could not go on."
  };
  var ZH = {
    talk: "语音对话",
    title: "语音助手",
    onCall: "通话中",
    idle: "就绪",
    connecting: "正在连接…",
    listening: "正在听",
    muted: "麦克风已关闭",
    writing: "文字对话",
    thinking: "正在思考…",
    speaking: "正在说话",
    reconnecting: "正在重新连接…",
    ended: "通话已结束",
    welcome: "像打电话一样说话即可，可以随时打断。",
    consent: "只在通话期间使用麦克风。",
    start: "开始说话",
    again: "再次通话",
    retry: "重试",
    close: "关闭",
    minimize: "隐藏窗口，通话继续",
    end: "结束通话",
    mute: "关闭麦克风",
    unmute: "打开麦克风",
    placeholder: "也可以输入文字",
    message: "消息",
    send: "发送",
    conversation: "对话内容",
    you: "你",
    assistant: "助手",
    interrupted: "被打断",
    sources: "来源",
    page: "第 {page} 页",
    newCall: "新的通话",
    dismiss: "关闭提示",
    "microphone.denied": "浏览器不允许使用麦克风。请在地址栏中允许，然后在这里打开麦克风；在此之前可以输入文字。",
    "microphone.missing": "没有找到麦克风，可以输入文字。",
    "microphone.busy": "麦克风正被其他程序使用，可以输入文字。",
    "microphone.insecure": "浏览器只允许在 HTTPS 页面上使用麦克风，可以输入文字。",
    "microphone.lost": "麦克风已断开，可以输入文字。",
    "microphone.failed": "麦克风无法启动，可以输入文字。",
    "sound.failed": "浏览器无法播放声音，本次通话以文字进行。",
    "failed.asr": "没能识别你说的话。",
    "failed.llm": "助手没能回答。",
    "failed.tts": "回答没能读出来。",
    "ended.private": "这里无法使用该助手。",
    "ended.origin": "该助手不能在这个网页上使用。",
    "ended.busy": "现在通话的人太多，请稍后再试。",
    "ended.overloaded": "服务器繁忙，请稍后再试。",
    "ended.inactive": "长时间没有动静，通话已结束。",
    "ended.lost": "与服务器的连接已断开。",
    "ended.unreachable": "无法连接到服务器。",
    "ended.replaced": "通话已转到另一个窗口。",
    "ended.failed": "通话无法继续。"
  };
  var WORDS = { en: EN, zh: ZH };
  var wordsOf2 = (language) => WORDS[language];

  // src/widget/panel.ts
  var Panel = class {
    #words;
    // No element of HTML, so that no style of a page means it by its name.
    #host = document.createElement("ai-video-assistant");
    #root = element("div", { class: "root" });
    #launcherLabel = element("span");
    #launcher = button("launcher", icon("microphone"), this.#launcherLabel);
    #panel;
    #status = element("p", { class: "status", role: "status" });
    #close = button("icon");
    #welcome;
    #log;
    #controls;
    #state = "idle";
    constructor(options, actions) {
      this.#words = wordsOf2(options.language);
      this.#log = new Log(this.#words);
      this.#controls = new Controls(this.#words, actions);
      this.#welcome = welcomeOf(this.#words);
      this.#log.element.prepend(this.#welcome);
      const name = options.title ?? this.#words.title;
      this.#panel = element(
        "section",
        { class: "panel", role: "dialog", "aria-label": name },
        this.#head(name),
        this.#log.element,
        this.#log.announcer,
        this.#controls.element
      );
      this.#root.append(this.#launcher, this.#panel);
      this.#listen(actions);
      this.#mount(options);
      this.show("idle", "off");
      this.hide({ takeFocus: false });
    }
    get isOpen() {
      return !this.#panel.hidden;
    }
    open() {
      this.#panel.hidden = false;
      this.#launcher.hidden = true;
      this.#keepFocus();
      this.#log.follow();
    }
    /** `takeFocus`: back to the button, for those who go on with the keyboard. */
    hide({ takeFocus }) {
      this.#panel.hidden = true;
      this.#launcher.hidden = false;
      if (takeFocus) this.#launcher.focus({ preventScroll: true });
    }
    /** What goes on, and whether the microphone hears it. */
    show(state, hearing) {
      const words = this.#words;
      const isCalling = isOn(state);
      const hasTurned = isCalling !== isOn(this.#state);
      this.#state = state;
      Object.assign(this.#root.dataset, { state, microphone: hearing });
      this.#status.textContent = words[statusOf(state, hearing)];
      this.#launcherLabel.textContent = isCalling ? words.onCall : words.talk;
      this.#close.replaceChildren(icon(isCalling ? "minimize" : "close"));
      labelled(this.#close, isCalling ? words.minimize : words.close);
      this.#controls.show(state, hearing);
      if (hearing !== "on") this.showLevel(0);
      if (this.isOpen && hasTurned) this.#keepFocus();
    }
    showEntry(entry) {
      this.#log.show(entry);
      this.#welcome.hidden = true;
    }
    showSources(id, sources) {
      this.#log.showSources(id, sources);
    }
    /** The loudness of the microphone, 0 to 1. */
    showLevel(rms) {
      const level = rms > 0 ? Math.max(0, 1 + Math.log10(rms) / 3) : 0;
      this.#root.style.setProperty("--level", level.toFixed(2));
    }
    /** A line that stays until it is dismissed, or the next call. */
    notify(word, retry) {
      this.#controls.notify(word, retry);
    }
    /** A new call: what was said before stays above it. */
    begin() {
      this.#controls.dismissAll();
      this.#log.divide();
    }
    /** What could not be sent, to be sent again. */
    giveBack(text) {
      this.#controls.giveBack(text);
    }
    /** The call is over: what was not finished will not be. */
    settle() {
      this.#log.settle();
    }
    #head(name) {
      return element(
        "header",
        {},
        element("span", { class: "orb", "aria-hidden": "true" }),
        element("div", { class: "title" }, element("h2", {}, name), this.#status),
        this.#close
      );
    }
    /** The button that was pressed is gone; the text field would call a phone's keyboard. */
    #keepFocus() {
      const { start, text } = this.#controls;
      if (this.#host.shadowRoot?.activeElement === text) return;
      (isOn(this.#state) ? this.#log.element : start).focus({ preventScroll: true });
    }
    #listen({ open: open2, hide }) {
      this.#launcher.addEventListener("click", open2);
      this.#close.addEventListener("click", hide);
      this.#panel.addEventListener("keydown", (event) => {
        if (event.isComposing) return;
        event.stopPropagation();
        if (event.key === "Escape") hide();
      });
    }
    /** Out of reach of the page's styles, as its styles are of ours. */
    #mount({ language, position, theme, color }) {
      this.#root.lang = LANGUAGE_TAGS[language];
      Object.assign(this.#root.dataset, { position, theme });
      const shadow = this.#host.attachShadow({ mode: "open" });
      shadow.adoptedStyleSheets = [styles()];
      shadow.append(this.#root);
      document.documentElement.append(this.#host);
      if (color) paint(this.#root, color);
      const view = window.visualViewport;
      view?.addEventListener("resize", () => {
        const covered = Math.max(0, window.innerHeight - view.height - view.offsetTop);
        this.#root.style.setProperty("--covered", `${Math.round(covered)}px`);
      });
    }
  };
  var LANGUAGE_TAGS = { en: "en", zh: "zh-Hans" };
  function welcomeOf(words) {
    return element(
      "div",
      { class: "welcome" },
      element("div", { class: "orb large", "aria-hidden": "true" }),
      element("p", {}, words.welcome),
      element("p", { class: "soft" }, words.consent)
    );
  }
  function statusOf(state, hearing) {
    if (state === "hearing") return "listening";
    if (state !== "listening" || hearing === "on") return state;
    return hearing === "muted" ? "muted" : "writing";
  }

  // src/widget/widget.ts
  var Widget = class extends Emitter {
    #options;
    #panel;
    #call = null;
    #state = "idle";
    #ticket;
    /** How the last call was begun, for trying again. */
    #isSpoken = true;
    constructor(options) {
      super();
      this.#options = options;
      this.#panel = new Panel(options, {
        open: () => this.open(),
        hide: () => this.#hide(true),
        talk: () => this.#start({ isSpoken: true }),
        write: (text) => this.#write(text),
        toggleMicrophone: () => void this.#call?.toggleMicrophone(),
        end: () => this.#call?.end()
      });
      addEventListener("pagehide", () => this.#call?.end());
    }
    get state() {
      return this.#state;
    }
    /** Shows the panel. */
    open() {
      if (this.#panel.isOpen) return;
      this.#panel.open();
      this.emit("open");
    }
    /** Ends the call, if there is one, and hides the panel. */
    close() {
      this.#call?.end();
      this.#hide(false);
    }
    /** From now on visitors talk with tickets of theirs, also to a private assistant. */
    useTickets(ticket) {
      this.#ticket = ticket;
    }
    #hide(takeFocus) {
      if (!this.#panel.isOpen) return;
      this.#panel.hide({ takeFocus });
      this.emit("close");
    }
    #write(text) {
      const call = this.#call ?? this.#start({ isSpoken: false });
      call.write(text);
    }
    #start({ isSpoken }) {
      const call = new Call(this.#options, this.#ticket);
      this.#call = call;
      this.#isSpoken = isSpoken;
      this.#panel.begin();
      call.on("change", () => this.#show(call.state === "closed" ? "ended" : call.state));
      call.on("entry", (entry) => {
        this.#panel.showEntry(entry);
        const { who, text, isFinal: isFinal2, isInterrupted } = entry;
        if (isFinal2 && text) this.emit("message", { who, text, isInterrupted });
      });
      call.on("sources", (id, sources) => this.#panel.showSources(id, sources));
      call.on("notice", (word) => this.#panel.notify(word));
      call.on("level", (rms) => this.#panel.showLevel(rms));
      call.on("end", (ending) => {
        this.#call = null;
        this.#panel.settle();
        if (call.unsent) this.#panel.giveBack(call.unsent);
        this.#show(call.hasBegun ? "ended" : "idle");
        if (!ending) return;
        const retry = () => this.#start({ isSpoken: this.#isSpoken });
        this.#panel.notify(ending.word, ending.isRetryable ? retry : void 0);
      });
      this.#show("connecting");
      void call.start({ isSpoken });
      return call;
    }
    #show(state) {
      const hasChanged = state !== this.#state;
      this.#state = state;
      this.#panel.show(state, this.#call?.microphone ?? "off");
      if (hasChanged) this.emit("state", state);
    }
  };

  // src/widget/index.ts
  var READY = "ai-video-assistant-widget";
  function ownLine() {
    const current = document.currentScript;
    if (current instanceof HTMLScriptElement) return current;
    return document.querySelector("script[data-assistant][src*='/widget.js']");
  }
  function begin(line2) {
    if (window.AIVideoAssistantWidget) {
      return warn("The widget is on this page already; the second line does nothing.");
    }
    try {
      const widget = new Widget(readOptions(line2));
      window.AIVideoAssistantWidget = widget;
      window.dispatchEvent(new CustomEvent(READY, { detail: widget }));
    } catch (error) {
      if (!(error instanceof LineError)) throw error;
      warn(error.message);
    }
  }
  var line = ownLine();
  if (!line) warn("The script does not find its own line; it needs data-assistant.");
  else if (document.body) begin(line);
  else document.addEventListener("DOMContentLoaded", () => begin(line), { once: true });
})();
