/** The captions of both sides, for the eye and for screen readers. */
import type { Source } from "../voice/events.js";
import type { Entry } from "./call.js";
import { element } from "./elements.js";
import type { Words } from "./words.js";

/** How far from the end somebody has scrolled up who wants to read. */
const READING_PX = 40;

export class Log {
  readonly element: HTMLElement;
  /** Says each finished line once; what grows word by word would be read out over and over. */
  readonly announcer = element("div", { class: "unseen", role: "log", "aria-live": "polite" });
  readonly #words: Words;
  readonly #list = element("ol");
  /** The lines of the current call, by the entry's id. */
  readonly #lines = new Map<string, HTMLElement>();
  readonly #announced = new Set<string>();
  #isFollowing = true;

  constructor(words: Words) {
    this.#words = words;
    const name = { role: "region", "aria-label": words.conversation };
    this.element = element("div", { class: "log", tabindex: "0", ...name }, this.#list);
    this.element.addEventListener("scroll", () => {
      const { scrollTop, scrollHeight, clientHeight } = this.element;
      this.#isFollowing = scrollHeight - scrollTop - clientHeight < READING_PX;
    });
  }

  show(entry: Entry): void {
    const { id, who, text, isFinal, isInterrupted, isAudible } = entry;
    // A guess that nothing came of, or an answer that was cut off before its first word.
    if (isFinal && !text) return this.#remove(id);
    const line = this.#lineOf(entry);
    line.dataset.final = String(isFinal);
    const speaker = who === "you" ? this.#words.you : this.#words.assistant;
    const caption = element("span", { class: "text" }, text);
    const label = element("span", { class: "unseen" }, `${speaker}: `);
    line.replaceChildren(label, caption, ...line.querySelectorAll(".sources"));
    const tag = element("span", { class: "tag" }, this.#words.interrupted);
    if (isInterrupted) caption.after(" ", tag);
    // A screen reader would speak at the same time as the assistant, and into the microphone.
    if (isFinal && !isAudible) this.#announce(id, `${speaker}: ${text}`);
    this.follow();
  }

  /** Which documents an answer rests on. */
  showSources(id: string, sources: readonly Source[]): void {
    const line = this.#lines.get(id);
    if (!line || sources.length === 0) return;
    line.querySelector(".sources")?.remove();
    const names = new Set(sources.map((source) => this.#nameOf(source)));
    const items = [...names].map((name) => element("li", {}, name));
    line.append(element("ul", { class: "sources", "aria-label": this.#words.sources }, ...items));
    this.follow();
  }

  /** The newest line stays in sight, unless somebody scrolled up to read. */
  follow(): void {
    if (this.#isFollowing) this.element.scrollTop = this.element.scrollHeight;
  }

  /** Takes back guesses that nothing came of; what was answered until now is all there is. */
  settle(): void {
    for (const [id, line] of this.#lines) {
      if (line.dataset.final === "false" && line.className === "you") this.#remove(id);
      else line.dataset.final = "true";
    }
  }

  /** Separates the calls of one visit. */
  divide(): void {
    this.#lines.clear();
    this.#announced.clear();
    this.#isFollowing = true;
    const last = this.#list.lastElementChild;
    if (!last || last.className === "divider") return;
    this.#list.append(element("li", { class: "divider" }, this.#words.newCall));
  }

  #nameOf({ document: name, page }: Source): string {
    return page === null ? name : `${name}, ${this.#words.page.replace("{page}", String(page))}`;
  }

  #lineOf({ id, who }: Entry): HTMLElement {
    const known = this.#lines.get(id);
    if (known) return known;
    const line = element("li", { class: who });
    this.#lines.set(id, line);
    this.#list.append(line);
    return line;
  }

  #remove(id: string): void {
    this.#lines.get(id)?.remove();
    this.#lines.delete(id);
  }

  #announce(id: string, text: string): void {
    if (this.#announced.has(id)) return;
    this.#announced.add(id);
    this.announcer.append(element("p", {}, text));
  }
}
