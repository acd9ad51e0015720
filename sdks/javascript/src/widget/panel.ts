/** What the visitor sees: the button, the panel, and in it the state, the captions and the controls. */
import type { ConversationState, Source } from "../voice/events.js";
import type { Entry, Microphone } from "./call.js";
import { element, icon } from "./elements.js";
import { Log } from "./log.js";
import type { Options } from "./options.js";
import { paint, styles } from "./styles.js";
import { wordsOf, type Word, type Words } from "./words.js";

export type PanelState = "idle" | Exclude<ConversationState, "closed"> | "ended";

/** What the visitor can do. */
export interface Actions {
  open(): void;
  /** Hides the panel; a call goes on. */
  hide(): void;
  talk(): void;
  write(text: string): void;
  toggleMicrophone(): void;
  end(): void;
}

export class Panel {
  readonly #words: Words;
  readonly #actions: Actions;
  readonly #host = element("ai-video-assistant" as "div");
  readonly #root: HTMLElement;
  readonly #launcher: HTMLButtonElement;
  readonly #launcherLabel = element("span", { class: "label" });
  readonly #panel: HTMLElement;
  readonly #status = element("p", { class: "status", role: "status" });
  readonly #close: HTMLButtonElement;
  readonly #welcome: HTMLElement;
  readonly #log: Log;
  readonly #notices = element("div", { class: "notices", role: "alert" });
  readonly #start: HTMLButtonElement;
  readonly #startLabel = element("span");
  readonly #microphone: HTMLButtonElement;
  readonly #text: HTMLInputElement;
  readonly #end: HTMLButtonElement;
  #state: PanelState = "idle";
  #hearing: Microphone = "off";

  constructor(options: Options, actions: Actions) {
    this.#words = wordsOf(options.language);
    this.#actions = actions;
    const { title, start, message, send, end, conversation } = this.#words;
    const name = options.title ?? title;
    this.#launcher = button("launcher", icon("microphone"), this.#launcherLabel);
    this.#close = button("icon");
    this.#start = button("primary start", icon("microphone"), this.#startLabel);
    this.#startLabel.textContent = start;
    this.#microphone = button("icon microphone", icon("microphone"));
    this.#end = labelled(button("icon end", icon("end")), end);
    const hint = this.#words.placeholder;
    this.#text = element("input", {
      type: "text",
      maxlength: "4000",
      autocomplete: "off",
      enterkeyhint: "send",
      placeholder: hint,
      "aria-label": message,
    });
    this.#welcome = element(
      "div",
      { class: "welcome" },
      element("div", { class: "orb large", "aria-hidden": "true" }),
      element("p", {}, this.#words.welcome),
      element("p", { class: "soft" }, this.#words.consent),
    );
    this.#log = new Log(this.#words, conversation);
    this.#log.element.prepend(this.#welcome);
    const form = element(
      "form",
      { class: "row" },
      this.#microphone,
      this.#text,
      labelled(button("icon send", icon("send")), send),
      this.#end,
    );
    form.querySelector<HTMLButtonElement>(".send")?.setAttribute("type", "submit");
    this.#panel = element(
      "section",
      { class: "panel", role: "dialog", "aria-label": name },
      element(
        "header",
        {},
        element("span", { class: "orb", "aria-hidden": "true" }),
        element("div", { class: "title" }, element("h2", {}, name), this.#status),
        this.#close,
      ),
      this.#log.element,
      this.#log.announcer,
      element("footer", {}, this.#notices, this.#start, form),
    );
    this.#root = element("div", { class: "root", lang: LANGUAGE_TAGS[options.language] });
    Object.assign(this.#root.dataset, { position: options.position, theme: options.theme });
    this.#root.append(this.#launcher, this.#panel);
    this.#listen(form);
    this.#mount(options);
    this.#show();
    this.hide({ takeFocus: false });
  }

  get isOpen(): boolean {
    return !this.#panel.hidden;
  }

  open(): void {
    if (this.isOpen) return;
    this.#panel.hidden = false;
    this.#launcher.hidden = true;
    this.#keepFocus();
    this.#log.follow();
  }

  /** `takeFocus`: back to the button, for those who go on with the keyboard. */
  hide({ takeFocus }: { takeFocus: boolean }): void {
    this.#panel.hidden = true;
    this.#launcher.hidden = false;
    if (takeFocus) this.#launcher.focus({ preventScroll: true });
  }

  /** What goes on, and whether the microphone hears it. */
  show(state: PanelState, hearing: Microphone): void {
    const wasOn = isOn(this.#state);
    this.#state = state;
    this.#hearing = hearing;
    this.#show();
    if (this.isOpen && wasOn !== isOn(state)) this.#keepFocus();
  }

  showEntry(entry: Entry): void {
    this.#log.show(entry);
    this.#welcome.hidden = true;
  }

  showSources(id: string, sources: readonly Source[]): void {
    this.#log.showSources(id, sources);
  }

  /** The loudness of the microphone, 0 to 1. */
  showLevel(rms: number): void {
    // The ear hears ratios: 60 dB below full scale is the bottom of the meter.
    const level = rms > 0 ? Math.max(0, 1 + Math.log10(rms) / 3) : 0;
    this.#root.style.setProperty("--level", level.toFixed(2));
  }

  /** What could not be sent, to be sent again. */
  giveBack(text: string): void {
    this.#text.value ||= text;
  }

  /** The call is over: what was not finished will not be. */
  settle(): void {
    this.#log.settle();
  }

  /** A line that stays until it is dismissed, or the next call. */
  notify(word: Word, retry?: () => void): void {
    if (this.#notices.querySelector(`[data-word="${word}"]`)) return;
    const close = labelled(button("icon small", icon("close")), this.#words.dismiss);
    const notice = element("div", { class: "notice", "data-word": word }, element("span", {}, this.#words[word]));
    if (retry) {
      const again = button("plain", this.#words.retry);
      again.addEventListener("click", retry);
      notice.append(again);
    }
    close.addEventListener("click", () => {
      notice.remove();
      this.#text.focus({ preventScroll: true });
    });
    notice.append(close);
    this.#notices.append(notice);
  }

  /** A new call: what was said before stays above it. */
  begin(): void {
    this.#notices.replaceChildren();
    this.#log.divide();
  }

  /** The button that was pressed is gone; a text field would call a phone's keyboard. */
  #keepFocus(): void {
    if (this.#host.shadowRoot?.activeElement === this.#text) return;
    (isOn(this.#state) ? this.#log.element : this.#start).focus({ preventScroll: true });
  }

  #listen(form: HTMLFormElement): void {
    const { open, hide, talk, write, toggleMicrophone, end } = this.#actions;
    this.#launcher.addEventListener("click", open);
    this.#close.addEventListener("click", hide);
    this.#start.addEventListener("click", talk);
    this.#microphone.addEventListener("click", toggleMicrophone);
    this.#end.addEventListener("click", end);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = this.#text.value.trim();
      if (!text || !canWrite(this.#state)) return;
      this.#text.value = "";
      write(text);
    });
    this.#panel.addEventListener("keydown", (event) => {
      // Enter that only ends the writing of a Chinese word, or Escape that leaves it, is not ours.
      if (event.isComposing) return;
      // Pages have keys of their own, which are not meant for what is typed here.
      event.stopPropagation();
      if (event.key === "Escape") hide();
    });
  }

  /** Out of reach of the page's styles, as its styles are of ours. */
  #mount({ color }: Options): void {
    const shadow = this.#host.attachShadow({ mode: "open" });
    // A sheet made by script is no inline style, which strict pages refuse.
    shadow.adoptedStyleSheets = [styles()];
    shadow.append(this.#root);
    document.body.append(this.#host);
    if (color) paint(this.#root, color);
    // The keyboard of a phone covers the bottom of the page without making it smaller.
    const view = window.visualViewport;
    view?.addEventListener("resize", () => {
      const covered = Math.max(0, window.innerHeight - view.height - view.offsetTop);
      this.#root.style.setProperty("--covered", `${Math.round(covered)}px`);
    });
  }

  #show(): void {
    const words = this.#words;
    const isCalling = isOn(this.#state);
    Object.assign(this.#root.dataset, { state: this.#state, microphone: this.#hearing });
    this.#status.textContent = words[this.#statusWord()];
    this.#launcherLabel.textContent = isCalling ? words.onCall : words.talk;
    this.#close.replaceChildren(icon(isCalling ? "minimize" : "close"));
    labelled(this.#close, isCalling ? words.minimize : words.close);
    this.#start.hidden = isCalling;
    this.#startLabel.textContent = this.#state === "ended" ? words.again : words.start;
    this.#microphone.hidden = this.#end.hidden = !isCalling;
    this.#microphone.disabled = this.#state === "connecting" || this.#state === "reconnecting";
    labelled(this.#microphone, this.#hearing === "on" ? words.mute : words.unmute);
    this.#microphone.setAttribute("aria-pressed", String(this.#hearing !== "on"));
    if (this.#hearing !== "on") this.showLevel(0);
  }

  #statusWord(): Word {
    if (this.#state === "hearing") return "listening";
    if (this.#state !== "listening" || this.#hearing === "on") return this.#state;
    return this.#hearing === "muted" ? "muted" : "writing";
  }
}

const LANGUAGE_TAGS = { en: "en", zh: "zh-Hans" } as const;

const isOn = (state: PanelState): boolean => state !== "idle" && state !== "ended";
/** A message of somebody who is not connected yet would wait unseen. */
const canWrite = (state: PanelState): boolean => state !== "connecting" && state !== "reconnecting";

function button(className: string, ...children: (Node | string)[]): HTMLButtonElement {
  return element("button", { type: "button", class: className }, ...children);
}

function labelled(made: HTMLButtonElement, label: string): HTMLButtonElement {
  made.setAttribute("aria-label", label);
  made.title = label;
  return made;
}
