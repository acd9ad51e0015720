/** What a conversation tells its listeners, and the types of what comes with it. */
import type { AssistantError } from "../errors.js";
import type { PlaybackReport } from "./audio/player.js";
import type { ToolCall, ToolResult } from "./tools.js";

/** An event as the server sent it. Its types may grow: ignore what you do not know. */
export interface ServerEvent {
  type: string;
  timestamp: number;
  sessionId: string;
  /** 1, 2, 3… within a session, also across a reconnect. */
  seq: number;
  source: string;
  trackId: string;
  // The protocol is open: fields depend on the type, and new ones may come.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  data: Record<string, any>;
}

/** A passage that a reply may rest on; the text cites it as `[index]`. */
export interface Source {
  index: number;
  document: string;
  page: number | null;
  text: string;
  score: number | null;
  knowledgeBaseId: string;
  documentId: string;
  chunkId: string;
}

/** A response of the assistant, as far as it has come. */
export interface Reply {
  responseId: string;
  turnId: string;
  text: string;
  sources: readonly Source[];
  /** Whether the assistant began with it, unasked. */
  isOpener: boolean;
}

export interface Transcript {
  /** All that was understood so far of the utterance; it may change until it is final. */
  text: string;
  isFinal: boolean;
  utteranceId: string;
  turnId: string;
}

export type InterruptReason =
  | "barge_in"
  | "client_cancel"
  | "input_text"
  | "failed"
  | "session_end"
  | (string & {});

export interface Interruption {
  reason: InterruptReason;
  responseId: string;
  turnId: string;
  /** What the user really heard: this, and no more, enters the history. */
  heardText: string;
  heardMs: number;
  generatedText: string;
}

export interface Speech {
  utteranceId: string;
  probability: number;
}

export interface AudioInfo {
  /** The spoken response that the sound belongs to. */
  ttsId: string;
}

/**
 * connecting → listening ⇄ hearing → thinking → speaking → listening, and from any of them
 * reconnecting and closed.
 */
export type ConversationState =
  | "connecting"
  | "listening"
  | "hearing"
  | "thinking"
  | "speaking"
  | "reconnecting"
  | "closed";

export interface Reconnecting {
  /** 1 for the first attempt. */
  attempt: number;
  delayMs: number;
}

export interface Reconnected {
  /** Whether it is another session, which knows nothing of the one before. */
  isFresh: boolean;
  /** How many events of the same session follow that were missed. */
  missed: number;
}

export interface Closing {
  /** The close code of the voice protocol; 1000 for a conversation that ended in order. */
  code: number;
  reason: string;
  /** Why it ended; null where it ended in order. */
  error: AssistantError | null;
}

export interface ConversationEvents {
  /** Once per finished response, the opener included. */
  response: [text: string, reply: Reply];
  /** The text that is new, and the response as far as it has come. */
  responseDelta: [text: string, reply: Reply];
  transcript: [transcript: Transcript];
  /** pcm_s16le, 16 kHz, mono, in whole frames of 640 bytes. */
  audio: [pcm: ArrayBuffer, info: AudioInfo];
  interrupted: [interruption: Interruption];
  toolCall: [call: ToolCall];
  toolResult: [result: ToolResult];
  sources: [sources: readonly Source[], reply: Reply];
  speechStarted: [speech: Speech];
  speechStopped: [speech: Speech];
  heartbeat: [];
  /** Every event of the server, also those of types that this SDK does not know. */
  event: [event: ServerEvent];
  state: [state: ConversationState];
  reconnecting: [attempt: Reconnecting];
  reconnected: [how: Reconnected];
  /** Something went wrong and the conversation goes on. Without a listener nothing happens. */
  error: [error: AssistantError];
  /** Once. */
  close: [closing: Closing];
  /** The loudness of the microphone, 0 to 1, every 20 ms; 0 while it is muted. */
  level: [rms: number];
  /** What the loudspeaker has really played. */
  playback: [report: PlaybackReport];
}
