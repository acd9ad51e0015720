// @ts-check
/**
 * The dialogs in which an assistant asks or tells something: one at a time, the others wait. None
 * is modal: during a question one may still mute, talk, write or hang up.
 *
 * @typedef {{id: string, label: string}} Option
 * @typedef {object} Prompt
 * @property {string} text the question, or the message
 * @property {Option[]} options none: a message, which is only acknowledged
 * @property {number} endsAt when the server stops waiting, by `performance.now()`; Infinity: never
 * @typedef {{prompt: Prompt, answer: (option: Option | null) => void}} Waiting
 */

/** @param {string} id @returns {HTMLElement} */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

const HINTS = { voice: "choiceHintVoice", hold: "choiceHintHold", silent: "choiceHint" };
/** When the time that is left is pointed out. */
const HURRY_S = 10;
/** Keys that come sooner were meant for what was there before. */
const GRACE_MS = 500;

export class Prompts {
  /**
   * @param {Record<string, string>} words
   * @param {() => keyof typeof HINTS} hearing how the page could hear an answer now
   */
  constructor(words, hearing) {
    this.words = words;
    this.hearing = hearing;
    /** @type {Waiting[]} the first is shown */
    this.waiting = [];
    this.dialog = /** @type {HTMLDialogElement} */ (byId("prompt"));
    this.options = byId("prompt-options");
    // From wherever the focus is: what was asked last is what Escape is about.
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.shown) return;
      event.preventDefault();
      this.answer(null);
    });
    this.dialog.addEventListener("keydown", (event) => this.onKey(event));
    byId("prompt-dismiss").addEventListener("click", () => this.answer(null));
    /** @type {Prompt | null} */
    this.shown = null;
    this.shownAt = 0;
  }

  /**
   * What the user chose; null where they chose nothing, or the signal took the prompt back.
   * @param {Prompt} prompt @param {AbortSignal} signal @returns {Promise<Option | null>}
   */
  ask(prompt, signal) {
    return new Promise((resolve) => {
      if (signal.aborted) return resolve(null);
      const waiting = { prompt, answer: resolve };
      signal.addEventListener("abort", () => this.remove(waiting, null), { once: true });
      this.waiting.push(waiting);
      this.update();
    });
  }

  /** @param {Option | null} option */
  answer(option) {
    if (this.waiting.length) this.remove(this.waiting[0], option);
  }

  /** @param {Waiting} waiting @param {Option | null} option */
  remove(waiting, option) {
    if (!this.waiting.includes(waiting)) return;
    this.waiting = this.waiting.filter((other) => other !== waiting);
    this.update();
    waiting.answer(option);
  }

  update() {
    const more = this.waiting.length - 1;
    byId("prompt-more").textContent = more > 0 ? this.words.promptMore.replace("{count}", String(more)) : "";
    const next = this.waiting.at(0)?.prompt ?? null;
    if (next === this.shown) return;
    this.shown = null;
    clearInterval(this.clock);
    if (this.dialog.open) this.dialog.close();
    if (next) this.show(next);
  }

  /** @param {Prompt} prompt */
  show(prompt) {
    const isChoice = prompt.options.length > 0;
    this.shown = prompt;
    this.dialog.dataset.kind = isChoice ? "choice" : "message";
    byId("prompt-text").textContent = prompt.text;
    this.updateHint();
    byId("prompt-dismiss").textContent = isChoice ? this.words.choiceCancel : this.words.messageOk;
    this.options.replaceChildren(...prompt.options.map((option, index) => this.button(option, index + 1)));
    this.tick(prompt);
    this.clock = setInterval(() => this.tick(prompt), 250);
    const before = document.activeElement;
    this.dialog.show();
    this.shownAt = performance.now();
    // Not an option: whoever is just typing must not choose with the next key. In the middle of a
    // message they go on with it; it may be the answer.
    const isWriting = before instanceof HTMLInputElement && before.type === "text" && before.value !== "";
    (isWriting ? before : byId("prompt-text")).focus();
  }

  /** Says how to answer, as the page could hear it now. */
  updateHint() {
    byId("prompt-hint").textContent = this.shown?.options.length ? this.words[HINTS[this.hearing()]] : "";
  }

  /** @param {Option} option @param {number} number @returns {HTMLElement} */
  button(option, number) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "option";
    button.dataset.option = option.id;
    const mark = Object.assign(document.createElement("span"), { className: "number", textContent: String(number) });
    button.append(mark, Object.assign(document.createElement("span"), { textContent: option.label }));
    button.addEventListener("click", () => this.answer(option));
    item.append(button);
    return item;
  }

  /** Shows how long the server still waits. @param {Prompt} prompt */
  tick({ endsAt }) {
    const left = Math.max(0, Math.ceil((endsAt - performance.now()) / 1000));
    const isLimited = Number.isFinite(endsAt);
    byId("prompt-time").hidden = !isLimited;
    if (!isLimited) return;
    byId("prompt-time").textContent = this.words.timeLeft.replace("{seconds}", String(left));
    byId("prompt-time").dataset.hurry = String(left <= HURRY_S);
  }

  /** Digits choose, arrows walk through the options. @param {KeyboardEvent} event */
  onKey(event) {
    const buttons = [...this.options.querySelectorAll("button")];
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const isMeant = !event.repeat && performance.now() - this.shownAt > GRACE_MS;
    if (isMeant && /^[1-9]$/.test(event.key)) buttons[Number(event.key) - 1]?.click();
    if (isMeant && event.key === "Enter" && !buttons.length && event.target === byId("prompt-text")) this.answer(null);
    if (!buttons.length) return;
    const at = buttons.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    const to = { ArrowDown: at + 1, ArrowUp: at < 0 ? -1 : at - 1, Home: 0, End: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    buttons.at(to % buttons.length)?.focus();
  }
}
