/** What the visitor sees: the button, and the panel with the state, the captions and the controls. */
import type { Source } from "../voice/events.js";
import type { Entry, Microphone } from "./call.js";
import { Controls, type ControlActions } from "./controls.js";
import { button, element, icon, labelled } from "./elements.js";
import { Log } from "./log.js";
import type { Options } from "./options.js";
import { isOn, type PanelState } from "./states.js";
import { paint, styles } from "./styles.js";
import { wordsOf, type Word, type Words } from "./words.js";

/** What the visitor can do. */
export interface Actions extends ControlActions {
  open(): void;
  /** Hides the panel; a call goes on. */
  hide(): void;
}

export class Panel {
  readonly #words: Words;
  // No element of HTML, so that no style of a page means it by its name.
  readonly #host = document.createElement("ai-video-assistant");
  readonly #root = element("div", { class: "root" });
  readonly #launcherLabel = element("span");
  readonly #launcher = button("launcher", icon("microphone"), this.#launcherLabel);
  readonly #panel: HTMLElement;
  readonly #status = element("p", { class: "status", role: "status" });
  readonly #close = button("icon");
  readonly #welcome: HTMLElement;
  readonly #log: Log;
  readonly #controls: Controls;
  #state: PanelState = "idle";

  constructor(options: Options, actions: Actions) {
    this.#words = wordsOf(options.language);
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
      this.#controls.element,
    );
    this.#root.append(this.#launcher, this.#panel);
    this.#listen(actions);
    this.#mount(options);
    this.show("idle", "off");
    this.hide({ takeFocus: false });
  }

  get isOpen(): boolean {
    return !this.#panel.hidden;
  }

  open(): void {
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

  /** A line that stays until it is dismissed, or the next call. */
  notify(word: Word, retry?: () => void): void {
    this.#controls.notify(word, retry);
  }

  /** A new call: what was said before stays above it. */
  begin(): void {
    this.#controls.dismissAll();
    this.#log.divide();
  }

  /** What could not be sent, to be sent again. */
  giveBack(text: string): void {
    this.#controls.giveBack(text);
  }

  /** The call is over: what was not finished will not be. */
  settle(): void {
    this.#log.settle();
  }

  #head(name: string): HTMLElement {
    return element(
      "header",
      {},
      element("span", { class: "orb", "aria-hidden": "true" }),
      element("div", { class: "title" }, element("h2", {}, name), this.#status),
      this.#close,
    );
  }

  /** The button that was pressed is gone; the text field would call a phone's keyboard. */
  #keepFocus(): void {
    const { start, text } = this.#controls;
    if (this.#host.shadowRoot?.activeElement === text) return;
    (isOn(this.#state) ? this.#log.element : start).focus({ preventScroll: true });
  }

  #listen({ open, hide }: Actions): void {
    this.#launcher.addEventListener("click", open);
    this.#close.addEventListener("click", hide);
    this.#panel.addEventListener("keydown", (event) => {
      // Escape that leaves the writing of a Chinese word is not meant for us.
      if (event.isComposing) return;
      // Pages have keys of their own, which are not meant by what is typed here.
      event.stopPropagation();
      if (event.key === "Escape") hide();
    });
  }

  /** Out of reach of the page's styles, as its styles are of ours. */
  #mount({ language, position, theme, color }: Options): void {
    this.#root.lang = LANGUAGE_TAGS[language];
    Object.assign(this.#root.dataset, { position, theme });
    const shadow = this.#host.attachShadow({ mode: "open" });
    // A sheet made by script is no inline style, which strict pages refuse.
    shadow.adoptedStyleSheets = [styles()];
    shadow.append(this.#root);
    // Sites that go from page to page by replacing the body end no call so.
    document.documentElement.append(this.#host);
    if (color) paint(this.#root, color);
    // The keyboard of a phone covers the bottom of the page without making it smaller.
    const view = window.visualViewport;
    view?.addEventListener("resize", () => {
      const covered = Math.max(0, window.innerHeight - view.height - view.offsetTop);
      this.#root.style.setProperty("--covered", `${Math.round(covered)}px`);
    });
  }
}

const LANGUAGE_TAGS = { en: "en", zh: "zh-Hans" } as const;

function welcomeOf(words: Words): HTMLElement {
  return element(
    "div",
    { class: "welcome" },
    element("div", { class: "orb large", "aria-hidden": "true" }),
    element("p", {}, words.welcome),
    element("p", { class: "soft" }, words.consent),
  );
}

/** What stands under the title. */
function statusOf(state: PanelState, hearing: Microphone): Word {
  if (state === "hearing") return "listening";
  if (state !== "listening" || hearing === "on") return state;
  return hearing === "muted" ? "muted" : "writing";
}
