/** The widget of a page: joins the panel with one call after the other. */
import { Emitter } from "../voice/emitter.js";
import { Call, type TicketSource } from "./call.js";
import type { Options } from "./options.js";
import { Panel } from "./panel.js";
import type { PanelState } from "./states.js";

/** What a page's own scripts hear of. */
export interface WidgetEvents {
  open: [];
  close: [];
  state: [state: PanelState];
  /** A finished line of either side; an answer that was cut off comes again, as it was heard. */
  message: [message: { who: "you" | "assistant"; text: string; isInterrupted: boolean }];
}

/** `window.AIVideoAssistantWidget` */
export class Widget extends Emitter<WidgetEvents> {
  readonly #options: Options;
  readonly #panel: Panel;
  #call: Call | null = null;
  #state: PanelState = "idle";
  #ticket: TicketSource | undefined;
  /** How the last call was begun, for trying again. */
  #isSpoken = true;

  constructor(options: Options) {
    super();
    this.#options = options;
    this.#panel = new Panel(options, {
      open: () => this.open(),
      hide: () => this.#hide(true),
      talk: () => this.#start({ isSpoken: true }),
      write: (text) => this.#write(text),
      toggleMicrophone: () => void this.#call?.toggleMicrophone(),
      end: () => this.#call?.end(),
    });
    // A page that is left takes its calls along, also those that have not begun.
    addEventListener("pagehide", () => this.#call?.end());
  }

  get state(): PanelState {
    return this.#state;
  }

  /** Shows the panel. */
  open(): void {
    if (this.#panel.isOpen) return;
    this.#panel.open();
    this.emit("open");
  }

  /** Ends the call, if there is one, and hides the panel. */
  close(): void {
    this.#call?.end();
    this.#hide(false);
  }

  /** From now on visitors talk with tickets of theirs, also to a private assistant. */
  useTickets(ticket: TicketSource): void {
    this.#ticket = ticket;
  }

  #hide(takeFocus: boolean): void {
    if (!this.#panel.isOpen) return;
    this.#panel.hide({ takeFocus });
    this.emit("close");
  }

  #write(text: string): void {
    const call = this.#call ?? this.#start({ isSpoken: false });
    call.write(text);
  }

  #start({ isSpoken }: { isSpoken: boolean }): Call {
    const call = new Call(this.#options, this.#ticket);
    this.#call = call;
    this.#isSpoken = isSpoken;
    this.#panel.begin();
    call.on("change", () => this.#show(call.state === "closed" ? "ended" : call.state));
    call.on("entry", (entry) => {
      this.#panel.showEntry(entry);
      const { who, text, isFinal, isInterrupted } = entry;
      if (isFinal && text) this.emit("message", { who, text, isInterrupted });
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
      const retry = (): unknown => this.#start({ isSpoken: this.#isSpoken });
      this.#panel.notify(ending.word, ending.isRetryable ? retry : undefined);
    });
    this.#show("connecting");
    void call.start({ isSpoken });
    return call;
  }

  #show(state: PanelState): void {
    const hasChanged = state !== this.#state;
    this.#state = state;
    this.#panel.show(state, this.#call?.microphone ?? "off");
    if (hasChanged) this.emit("state", state);
  }
}
