// @ts-check
/**
 * The voice page: buttons in, captions out. Everything that happens in a call is in `call.js`.
 *
 * @typedef {{assistantId: string, access: "ticket" | "open" | "key", hasVoice: boolean,
 *   source: "talk" | "debug", socketUrl: string, ticketsUrl: string, csrfToken: string,
 *   worklets: import("./call.js").SoundOptions, words: Record<string, string>}} Settings
 * @typedef {import("./call.js").Entry} Entry
 * @typedef {import("./call.js").Ending} Ending
 * @typedef {import("./call.js").Source} Source
 */
import { AssistantError, ConnectionError, UnsupportedError, hasSound } from "../sdk/ai-video-assistant.js";
import { Call } from "./call.js";
import { Camera } from "./camera.js";
import { split } from "./captions.js";
import { Prompts } from "./prompts.js";
import { pieces, quoted, withoutMarks } from "./sources.js";
import { Device } from "./tools.js";

/** @param {string} id @returns {HTMLElement} */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
/** @param {string} id @returns {HTMLButtonElement} */
const button = (id) => /** @type {HTMLButtonElement} */ (byId(id));
/** @param {string} id @returns {HTMLInputElement} */
const input = (id) => /** @type {HTMLInputElement} */ (byId(id));

/** @type {Settings} */
const settings = JSON.parse(byId("settings").textContent ?? "");
const { words } = settings;

/** HTTP statuses of the tickets' endpoint, as the socket would have closed. @type {Record<number, number>} */
const CLOSE_CODES = { 401: 4401, 403: 4401, 404: 4404, 429: 4429, 503: 4503 };
/** Calls that ended so may simply be made again. */
const RETRYABLE = new Set([1001, 1006, 1011, 1012, 4408, 4410, 4503]);
/** The connection was lost, or came back too late. */
const LOST = new Set([1005, 1006, 1012, 4410]);

const TOOL_WORDS = { running: "toolRunning", done: "toolDone", failed: "toolFailed" };

/** @type {Call | null} */
let call = null;
const camera = new Camera(byId("camera"), /** @type {HTMLVideoElement} */ (byId("camera-picture")));
const prompts = new Prompts(words, hearing);
const device = new Device({ words, prompts, camera, hasSound });
/** Tools that look something up in the documents. */
const SEARCH_TOOL = /^(search_)?knowledge(_\d+)?$/;
const SEARCH_WORDS = { ...TOOL_WORDS, running: "searchRunning", done: "searchDone" };

let isPushToTalk = false;
let isFollowing = true;
let scrolledTo = 0;

/** @param {string} template @param {Record<string, string>} values */
const fill = (template, values) => template.replace(/\{(\w+)\}/g, (_, name) => values[name]);

/** @param {number} ms */
const seconds = (ms) => fill(words.seconds, { seconds: (ms / 1000).toFixed(2) });

// --- The call ------------------------------------------------------------------------------------

/** @returns {Promise<import("./call.js").Access>} */
async function access() {
  if (settings.access === "key") return { kind: "key", key: input("key").value.trim() };
  if (settings.access === "open") return { kind: "open" };
  const response = await fetch(settings.ticketsUrl, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRFToken": settings.csrfToken },
    body: JSON.stringify({ assistant_id: settings.assistantId }),
  });
  if (!response.ok) throw refusal(CLOSE_CODES[response.status] ?? 1011);
  return { kind: "ticket", ticket: (await response.json()).data.ticket };
}

/** No ticket was given; a call that reconnects asks again where that may help. @param {number} closeCode */
function refusal(closeCode) {
  const retryable = closeCode !== 4401 && closeCode !== 4404;
  return new AssistantError("ticket.refused", "No ticket was given.", { closeCode, retryable });
}

/** @param {boolean} withMicrophone */
async function start(withMicrophone) {
  if (settings.access === "key" && !input("key").reportValidity()) return;
  byId("notices").replaceChildren();
  if (byId("log").childElementCount) divide();
  const made = new Call({
    endpoint: settings.socketUrl, assistantId: settings.assistantId, hasVoice: settings.hasVoice,
    source: settings.source, worklets: settings.worklets, access, device,
  });
  call = made;
  Object.assign(window, { __talk: made.stats });
  made.addEventListener("state", () => showState());
  made.addEventListener("entry", (event) => showEntry(/** @type {CustomEvent} */ (event).detail));
  made.addEventListener("level", (event) => showLevel(/** @type {CustomEvent} */ (event).detail));
  made.addEventListener("problem", (event) => showProblem(/** @type {CustomEvent} */ (event).detail));
  made.addEventListener("ended", (event) => showEnd(/** @type {CustomEvent} */ (event).detail));
  made.mute(isPushToTalk);
  document.body.dataset.microphone = String(withMicrophone);
  showState();
  byId("conversation").focus(); // the button that was pressed is gone
  void keepAwake(made);
  try {
    await made.start({ withMicrophone });
  } catch (error) {
    if (!made.hasEnded) made.finish({ ...reasonOf(error), hadStarted: false });
  }
}

/** A phone that dims its screen would cut the call off. @param {Call} during */
async function keepAwake(during) {
  const lock = await navigator.wakeLock?.request("screen").catch(() => null); // low battery
  during.addEventListener("ended", () => void lock?.release());
}

/** What to tell of a call that could not even begin. @param {unknown} error @returns {{code: number, message?: string}} */
function reasonOf(error) {
  if (error instanceof TypeError) return { code: 1006 }; // fetch: no server answered
  if (error instanceof AssistantError && !(error instanceof UnsupportedError)) {
    return { code: error.closeCode ?? closeCodeOf(error), message: error.message };
  }
  console.error(error);
  return { code: 0 };
}

/** @param {AssistantError} error of a socket that the server did not close */
const closeCodeOf = (error) => (error instanceof ConnectionError ? 1006 : 4400);

// --- What it shows -------------------------------------------------------------------------------

function showState() {
  const state = call?.state ?? "idle";
  const isOn = state !== "idle" && state !== "ended";
  const isMuted = isOn && !isPushToTalk && call?.isMuted;
  document.body.dataset.state = state;
  document.body.dataset.muted = String(Boolean(isMuted));
  byId("status").textContent = state === "listening" && isMuted ? words.muted : words[state];
  byId("start-label").textContent = state === "ended" ? words.again : words.start;
  byId("welcome").hidden = isOn || byId("log").childElementCount > 0;
  byId("idle-controls").hidden = isOn;
  byId("call-controls").hidden = !isOn;
  byId("write").hidden = !isOn;
  const canType = isOn && state !== "connecting";
  input("text").disabled = button("send").disabled = !canType;
  button("stop-speaking").disabled = state !== "speaking" && state !== "thinking";
  button("mute").setAttribute("aria-pressed", String(Boolean(isMuted)));
  button("mute").title = isMuted ? words.unmute : words.mute;
  prompts.updateHint();
}

/** @param {number} rms */
function showLevel(rms) {
  // The ear hears ratios: 60 dB below full scale is the bottom of the meter.
  const level = rms > 0 ? Math.max(0, 1 + Math.log10(rms) / 3) : 0;
  document.body.style.setProperty("--level", level.toFixed(3));
}

/** The list item of an entry; made when it is new. @param {Entry} entry @returns {HTMLElement} */
function itemOf({ id, kind }) {
  /** @type {HTMLElement | null} */
  const known = byId("log").querySelector(`[data-call="current"][data-id="${CSS.escape(id)}"]`);
  if (known) return known;
  const item = document.createElement("li");
  item.className = kind;
  item.dataset.id = id;
  item.dataset.call = "current";
  byId("log").append(item);
  byId("welcome").hidden = true;
  return item;
}

/** @param {Entry} entry */
function showEntry(entry) {
  const item = itemOf(entry);
  if (entry.kind === "reply") showReply(item, entry);
  else if (entry.kind === "user") showUser(item, entry);
  else showTool(item, entry);
  follow();
}

/** @param {HTMLElement} item @param {import("./call.js").ToolEntry} tool */
function showTool(item, tool) {
  const note = toolNote(tool);
  item.hidden = !note;
  item.dataset.status = tool.status;
  item.replaceChildren(span("note", note));
  if (tool.note && tool.status !== "running") announce(item, note);
}

/** @param {import("./call.js").ToolEntry} tool */
function toolNote({ name, status, note }) {
  if (note !== undefined) return note;
  const notes = SEARCH_TOOL.test(name) ? SEARCH_WORDS : TOOL_WORDS;
  return fill(words[notes[status]], { name });
}

/** @param {HTMLElement} item @param {import("./call.js").ReplyEntry} reply */
function showReply(item, reply) {
  const { heard, coming } = split(reply);
  item.dataset.interrupted = String(reply.isInterrupted);
  const caption = partOf(item, "caption");
  const lines = [marked("heard", heard, reply.sources), marked("coming", coming, reply.sources)];
  caption.replaceChildren(who(words.assistant), ...lines);
  if (reply.isInterrupted) caption.append(" ", span("tag", words.interrupted));
  const { serverMs, heardMs } = reply.latency;
  const figures = [
    serverMs === undefined ? "" : fill(words.serverLatency, { seconds: seconds(serverMs) }),
    heardMs === undefined ? "" : fill(words.heardLatency, { seconds: seconds(heardMs) }),
  ].filter(Boolean);
  if (figures.length) caption.append(span("latency", figures.join(" · ")));
  const isOver = reply.isHeard || reply.isInterrupted || (reply.isFinal && !reply.isSpoken);
  showSources(item, reply, isOver);
  if (isOver) announce(item, announcement(heard, reply.sources));
}

/** The captions, with the number of a source where the text cites it. @param {string} className @param {string} text @param {Source[]} sources */
function marked(className, text, sources) {
  const element = span(className, "");
  for (const { text: part, source } of pieces(text, sources)) {
    if (!source) element.append(part);
    else element.append(Object.assign(document.createElement("sup"), { textContent: part }));
  }
  return element;
}

/**
 * The sources under an answer: those that it cites as far as it was heard; at its end, where it
 * cites none, all that were found, folded up. What somebody has opened stays open.
 * @param {HTMLElement} item @param {import("./call.js").ReplyEntry} reply @param {boolean} isOver
 */
function showSources(item, reply, isOver) {
  if (!reply.sources.length) return;
  const cited = quoted(split(reply).heard, reply.sources);
  if (cited.length) list(partOf(item, "sources"), cited);
  else if (isOver) list(folded(item, fill(words.found, { count: String(reply.sources.length) })), reply.sources);
}

/** @param {HTMLElement} into @param {Source[]} sources */
function list(into, sources) {
  into.setAttribute("role", "group");
  into.setAttribute("aria-label", words.sources);
  for (const source of sources) {
    if (into.querySelector(`[data-source="${source.index}"]`)) continue;
    const element = document.createElement("details");
    element.dataset.source = String(source.index);
    const summary = document.createElement("summary");
    summary.title = source.text.slice(0, 400);
    summary.append(span("number", String(source.index)), span("document", source.document));
    if (source.page !== null) summary.append(span("page", fill(words.page, { page: String(source.page) })));
    const passage = document.createElement("blockquote");
    passage.textContent = source.text;
    element.append(summary, passage);
    into.append(element);
  }
}

/** @param {HTMLElement} item @param {string} title @returns {HTMLElement} */
function folded(item, title) {
  /** @type {HTMLElement | null} */
  const known = item.querySelector(".found .sources");
  if (known) return known;
  const element = document.createElement("details");
  element.className = "found";
  element.append(Object.assign(document.createElement("summary"), { textContent: title }));
  item.append(element);
  return partOf(element, "sources");
}

/** A part of an entry, made when it is new. @param {HTMLElement} item @param {string} className @returns {HTMLElement} */
function partOf(item, className) {
  /** @type {HTMLElement | null} */
  const known = item.querySelector(`:scope > .${className}`);
  if (known) return known;
  const element = document.createElement("div");
  element.className = className;
  item.append(element);
  return element;
}

/** @param {string} heard @param {Source[]} sources */
function announcement(heard, sources) {
  const names = quoted(heard, sources).map(({ document: name }) => name);
  const cited = names.length ? ` ${words.sources}: ${[...new Set(names)].join(", ")}` : "";
  return `${words.assistant}: ${withoutMarks(heard, sources)}${cited}`;
}

/** @param {HTMLElement} item @param {import("./call.js").UserEntry} entry */
function showUser(item, { text, isFinal }) {
  if (isFinal && !text) return item.remove();
  item.dataset.final = String(isFinal);
  item.replaceChildren(who(words.you), span("heard", text));
  if (isFinal) announce(item, `${words.you}: ${text}`);
}

/** Says each finished line once to a screen reader. @param {HTMLElement} item @param {string} line */
function announce(item, line) {
  if (item.dataset.announced) return;
  item.dataset.announced = "true";
  const paragraph = document.createElement("p");
  paragraph.textContent = line;
  byId("announcer").append(paragraph);
}

/** @param {string} className @param {string} text */
function span(className, text) {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = text;
  return element;
}

/** @param {string} name */
const who = (name) => span("visually-hidden", `${name}: `);

function isAtBottom() {
  const { scrollTop, scrollHeight, clientHeight } = byId("conversation");
  return scrollHeight - scrollTop - clientHeight < 40;
}

/** Keeps the newest line in view, unless somebody scrolled up to read. */
function follow() {
  if (isFollowing) byId("conversation").scrollTop = byId("conversation").scrollHeight;
}

/** Separates the calls of one visit. */
function divide() {
  for (const item of byId("log").querySelectorAll("[data-call]")) item.removeAttribute("data-call");
  const item = document.createElement("li");
  item.className = "divider";
  item.textContent = words.newCall;
  byId("log").append(item);
}

/** @param {import("./call.js").Problem} problem */
function showProblem({ stage, message }) {
  const text = words[`problem.${stage}`] ?? message;
  notify([text, text === message ? "" : message].filter(Boolean).join(" "));
}

/** @param {Ending} ending */
function showEnd({ code, message, hadStarted }) {
  showState();
  showLevel(0);
  button("start").focus();
  if (code === 1000) return;
  const reason = code === 0 ? "sound" : LOST.has(code) ? (hadStarted ? "lost" : "unreachable") : String(code);
  const text = words[`closed.${reason}`] ?? message ?? words["closed.lost"];
  notify(text, RETRYABLE.has(code) ? reconnectButton() : undefined);
}

/** @returns {HTMLButtonElement} */
function reconnectButton() {
  const element = document.createElement("button");
  element.type = "button";
  element.className = "small";
  element.textContent = words.reconnect;
  element.addEventListener("click", () => void start(document.body.dataset.microphone === "true"));
  return element;
}

/** @param {string} text @param {HTMLButtonElement} [action] */
function notify(text, action) {
  if ([...byId("notices").querySelectorAll(".text")].some((shown) => shown.textContent === text)) return;
  const notice = document.createElement("div");
  notice.className = "notice";
  const close = document.createElement("button");
  close.type = "button";
  close.className = "close";
  close.setAttribute("aria-label", words.dismiss);
  close.textContent = "×";
  close.addEventListener("click", () => notice.remove());
  notice.append(span("text", text), ...(action ? [action] : []), close);
  byId("notices").append(notice);
}

// --- What people do ------------------------------------------------------------------------------

/** @param {boolean} isHeld */
function hold(isHeld) {
  if (!call || !isPushToTalk || isHeld !== call.isMuted) return;
  document.body.dataset.held = String(isHeld);
  if (isHeld) call.mute(false);
  else call.commit();
}

/** How an answer to a question on the screen could be heard now. */
function hearing() {
  if (document.body.dataset.microphone !== "true" || !call?.hasMicrophone) return "silent";
  if (isPushToTalk) return "hold";
  return call.isMuted ? "silent" : "voice";
}

/** @param {number} level @param {boolean} isAsked */
function showVolume(level, isAsked) {
  input("volume").value = String(level);
  byId("volume-level").textContent = fill(words.percent, { level: String(level) });
  call?.amplify();
  if (!isAsked) return;
  // Anew each time: a class that stays starts no animation.
  byId("volume-control").classList.remove("changed");
  void byId("volume-control").offsetWidth;
  byId("volume-control").classList.add("changed");
}

/** @param {boolean} isOn */
function setPushToTalk(isOn) {
  isPushToTalk = isOn;
  document.body.dataset.pushToTalk = String(isOn);
  call?.mute(isOn);
  showState();
}

/** Space talks, wherever the focus is, unless it is where Space already means something. @param {KeyboardEvent} event */
function onSpace(event) {
  const isElsewhere = event.target instanceof Element && event.target.closest("input, button:not(#hold), a, summary");
  if (event.code !== "Space" || !isPushToTalk || isElsewhere) return;
  event.preventDefault();
  if (!event.repeat) hold(event.type === "keydown");
}

byId("idle-controls").addEventListener("submit", (event) => {
  event.preventDefault();
  void start(true);
});
button("start-silent").addEventListener("click", () => void start(false));
button("hang-up").addEventListener("click", () => call?.hangUp());
button("stop-speaking").addEventListener("click", () => call?.interrupt());
button("mute").addEventListener("click", () => {
  call?.mute(!call.isMuted);
  showState();
});
input("push-to-talk").addEventListener("change", () => setPushToTalk(input("push-to-talk").checked));
button("hold").addEventListener("pointerdown", () => hold(true));
// A screen reader or the Enter key clicks without a pointer: once to talk, once more to be done.
button("hold").addEventListener("click", ({ detail }) => detail === 0 && hold(Boolean(call?.isMuted)));
button("hold").addEventListener("contextmenu", (event) => event.preventDefault());
for (const type of ["pointerup", "pointercancel", "blur"]) window.addEventListener(type, () => hold(false));
document.addEventListener("keydown", onSpace);
document.addEventListener("keyup", onSpace);
document.addEventListener("keydown", ({ key, defaultPrevented: isDone }) => key === "Escape" && !isDone && call?.interrupt());
byId("write").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = input("text").value.trim();
  if (!text || input("text").disabled) return;
  call?.say(text);
  input("text").value = "";
});
byId("conversation").addEventListener("scroll", () => {
  const { scrollTop } = byId("conversation");
  // What leaves the bottom without going up made room for something, and nobody scrolled.
  if (isAtBottom()) isFollowing = true;
  else if (scrollTop < scrolledTo) isFollowing = false;
  scrolledTo = scrollTop;
});
new ResizeObserver(follow).observe(byId("conversation"));
button("camera-off").addEventListener("click", () => camera.turnOff());
camera.addEventListener("change", follow);
input("volume").addEventListener("input", () => device.setLevel(input("volume").valueAsNumber, false));
device.addEventListener("volume", (event) => {
  const { level, isAsked } = /** @type {CustomEvent} */ (event).detail;
  showVolume(level, isAsked);
});
byId("volume-control").hidden = !hasSound();
showVolume(device.level, false);
setPushToTalk(input("push-to-talk").checked);
