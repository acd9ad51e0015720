/** The foot of the panel: what is missing, and what the visitor can do. */
import type { Microphone } from "./call.js";
import { button, element, icon, labelled } from "./elements.js";
import { isOn, type PanelState } from "./states.js";
import type { Word, Words } from "./words.js";

export interface ControlActions {
  talk(): void;
  write(text: string): void;
  toggleMicrophone(): void;
  end(): void;
}

export class Controls {
  readonly element: HTMLElement;
  readonly start: HTMLButtonElement;
  readonly text: HTMLInputElement;
  readonly #words: Words;
  readonly #notices = element("div", { class: "notices", role: "alert" });
  readonly #startLabel = element("span");
  readonly #microphone = button("icon microphone", icon("microphone"));
  readonly #end: HTMLButtonElement;
  #state: PanelState = "idle";

  constructor(words: Words, actions: ControlActions) {
    this.#words = words;
    this.start = button("primary start", icon("microphone"), this.#startLabel);
    this.#end = labelled(button("icon end", icon("end")), words.end);
    this.text = element("input", {
      type: "text",
      maxlength: "4000",
      autocomplete: "off",
      enterkeyhint: "send",
      placeholder: words.placeholder,
      "aria-label": words.message,
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

  show(state: PanelState, hearing: Microphone): void {
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
  giveBack(text: string): void {
    this.text.value ||= text;
  }

  /** A line that stays until it is dismissed, or the next call. */
  notify(word: Word, retry?: () => void): void {
    if (this.#notices.querySelector(`[data-word="${word}"]`)) return;
    const close = labelled(button("icon small", icon("close")), this.#words.dismiss);
    const line = element("span", {}, this.#words[word]);
    const notice = element("div", { class: "notice", "data-word": word }, line);
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

  dismissAll(): void {
    this.#notices.replaceChildren();
  }

  #submit(write: (text: string) => void): void {
    const text = this.text.value.trim();
    if (!text || !canWrite(this.#state)) return;
    this.text.value = "";
    write(text);
  }
}

/** A message of somebody who is not connected would wait unseen. */
const canWrite = (state: PanelState): boolean => state !== "connecting" && state !== "reconnecting";
