/** Whose turn it is, as a user would say. Pure: no socket, no clock. */
import type { ServerEvent } from "./events.js";

export type Turn = "listening" | "hearing" | "thinking" | "speaking";

export class Turns {
  #isUserSpeaking = false;
  /** The assistant is to answer, and nothing of it was heard yet. */
  #isWaiting = false;
  #isSounding = false;

  get turn(): Turn {
    if (this.#isUserSpeaking) return "hearing";
    if (this.#isSounding) return "speaking";
    return this.#isWaiting ? "thinking" : "listening";
  }

  /** The user has written something. */
  wrote(): void {
    this.#isWaiting = true;
  }

  /** A reply is heard now, or not any more. */
  sound(isSounding: boolean): void {
    this.#isSounding = isSounding;
    if (isSounding) this.#isWaiting = false;
  }

  /** `isAwaited`: somebody waits for another response than that of the event. */
  note({ type, data }: ServerEvent, isAwaited: boolean): void {
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
  reset(): void {
    this.#isUserSpeaking = this.#isWaiting = this.#isSounding = false;
  }
}
