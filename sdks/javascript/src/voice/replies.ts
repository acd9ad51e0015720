/**
 * Which response answers which text. Pure: no socket, no clock.
 *
 * The server numbers turns. Every text makes one, in the order in which texts were sent, and every
 * turn's response ends once: final, interrupted or failed. So a text belongs to the first new turn
 * that nothing else explains: not the opener (turn 0), not what was spoken, not a prompt of the
 * set-up. A text that chooses an option goes on with the turn that asked.
 */
import type { ServerEvent } from "./events.js";

/** What waits for the response to a text. */
export interface Waiting {
  /** Null until its response has begun. */
  turn: number | null;
  readonly resolve: (text: string) => void;
  readonly reject: (error: Error) => void;
}

const CHOICE_TOOL = /_choice_prompt$/;
/** Events that belong to a response; others may name a turn that has none yet. */
const OF_RESPONSE = /^(assistant\.|output\.audio\.|response\.|metrics\.|error$)/;

export class Replies<Kind extends Waiting = Waiting> {
  #waiting: Kind[] = [];
  /** The highest number of a turn whose response was seen. */
  #lastTurn = 0;
  readonly #spoken = new Set<number>();
  /** Prompts of the set-up that the assistant says, each as a response of its own. */
  #prompts = 0;
  /** Whether something spoken earlier is answered by a turn of its own after the live one. */
  #hasLeftover = false;
  readonly #choices = new Map<string, { turn: number; isSpoken: boolean }>();

  get areAwaited(): boolean {
    return this.#waiting.length > 0;
  }

  /** Waits for the response to a text that is sent now. */
  add(waiting: Kind): void {
    this.#waiting.push(waiting);
  }

  /** Learns from an event; every event of the session goes through here, in order. */
  note(event: ServerEvent): void {
    const { turn } = event.data;
    if (typeof turn !== "number") return;
    if (event.type === "transcript.final") this.#noteSpeech(turn);
    else if (OF_RESPONSE.test(event.type)) this.#noteResponse(event, turn);
  }

  /** Takes out whoever waits for the response that ends with this event. */
  take({ data }: ServerEvent): Kind[] {
    return this.#takeOut((waiting) => waiting.turn !== null && waiting.turn === data["turn"]);
  }

  /** Takes out the text that was refused: the latest of those that were not answered yet. */
  takeRefused(): Kind[] {
    const refused = this.#waiting.filter(({ turn }) => turn === null).at(-1);
    return this.#takeOut((waiting) => waiting === refused);
  }

  /** Begins another session, to which only those texts are sent that `isKept` says. */
  restart(isKept: (waiting: Kind) => boolean): Kind[] {
    const lost = this.#takeOut((waiting) => !isKept(waiting));
    this.#lastTurn = 0;
    this.#prompts = 0;
    this.#hasLeftover = false;
    this.#spoken.clear();
    this.#choices.clear();
    return lost;
  }

  #takeOut(isMeant: (waiting: Kind) => boolean): Kind[] {
    const taken = this.#waiting.filter(isMeant);
    this.#waiting = this.#waiting.filter((waiting) => !taken.includes(waiting));
    return taken;
  }

  #noteSpeech(turn: number): void {
    const choices = [...this.#choices.values()].filter((choice) => choice.turn === turn);
    for (const choice of choices) choice.isSpoken = true;
    if (turn > this.#lastTurn) this.#spoken.add(turn);
    else if (!choices.length && turn < this.#lastTurn) this.#hasLeftover = true;
  }

  #noteResponse(event: ServerEvent, turn: number): void {
    if (turn > this.#lastTurn) this.#begin(turn);
    const { type, data } = event;
    if (type === "assistant.tool_call") this.#noteCall(event, turn);
    else if (type === "assistant.tool_result") this.#noteResult(event, turn);
    // The text that interrupted is answered together with what was left over.
    else if (type === "response.interrupted" && data["reason"] === "input_text") {
      this.#hasLeftover = false;
    }
  }

  #begin(turn: number): void {
    this.#lastTurn = turn;
    if (this.#spoken.delete(turn)) return;
    if (this.#prompts > 0) this.#prompts -= 1;
    else if (this.#hasLeftover) this.#hasLeftover = false;
    else this.#assign(turn);
  }

  #assign(turn: number): void {
    const next = this.#waiting.find((waiting) => waiting.turn === null);
    if (next) next.turn = turn;
  }

  #noteCall({ data }: ServerEvent, turn: number): void {
    const call = data["tool_call"];
    if (turn === 0 && call.spoken === true) this.#prompts += 1;
    if (CHOICE_TOOL.test(call.function.name)) this.#choices.set(call.id, { turn, isSpoken: false });
  }

  #noteResult({ data }: ServerEvent, turn: number): void {
    const choice = this.#choices.get(data["tool_call_id"]);
    this.#choices.delete(data["tool_call_id"]);
    if (choice?.turn !== turn || choice.isSpoken || data["result"].status.code >= 400) return;
    if (turn === this.#lastTurn) this.#assign(turn);
  }
}
