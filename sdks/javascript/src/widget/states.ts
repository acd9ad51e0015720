/** What goes on, as the visitor and the page's scripts are told. */
import type { ConversationState } from "../voice/events.js";

export type PanelState = "idle" | Exclude<ConversationState, "closed"> | "ended";

/** Whether there is a call. */
export const isOn = (state: PanelState): boolean => state !== "idle" && state !== "ended";
