/** The voice protocol (`/ws`, v1): addresses, credentials and messages. No socket. */
import type { ServerEvent } from "./events.js";

/** Both ways: pcm_s16le, mono, 20 ms a frame. */
export const AUDIO = { encoding: "pcm_s16le", sample_rate_hz: 16000, channels: 1 };
export const FRAME_BYTES = 640;
export const BYTES_PER_SAMPLE = 2;
const BYTES_PER_MS = 32;
export const MAX_TEXT_LENGTH = 8000;
/** A message may hold several frames; a larger one would close the conversation. */
export const MAX_AUDIO_BYTES = 100 * FRAME_BYTES;

/** How long speech of so many bytes is. */
export const durationMs = (bytes: number): number => bytes / BYTES_PER_MS;
/** How many bytes so much speech is, in whole samples. */
export const bytesOf = (ms: number): number => 2 * Math.round((ms * BYTES_PER_MS) / 2);

/** How a caller gets in: unknown to a public assistant, with a single-use ticket, or with a key. */
export type Access =
  | { kind: "open" }
  | { kind: "ticket"; ticket: string }
  | { kind: "key"; key: string };

export interface Address {
  url: string;
  protocols: string[];
}

/** Where to connect. A key never goes into a URL, which servers log. */
export function addressOf(socketUrl: string | URL, assistantId: string, access: Access): Address {
  const base = typeof location === "undefined" ? undefined : location.href;
  const url = new URL(socketUrl, base);
  url.protocol = url.protocol.replace(/^http/, "ws");
  url.searchParams.set("assistant_id", assistantId);
  if (access.kind === "ticket") url.searchParams.set("ticket", access.ticket);
  return { url: url.href, protocols: access.kind === "key" ? ["bearer", access.key] : [] };
}

/** What a session is started with; every field is optional, as the assistant has its own. */
export interface SessionMetadata {
  channel?: string;
  source?: string;
  history?: { userId?: string };
  dynamicVariables?: Record<string, string>;
  overrides?: SessionOverrides;
  capabilities?: string[];
}

/** What a conversation does otherwise than its assistant. */
export interface SessionOverrides {
  systemPrompt?: string;
  greeting?: string;
  firstTurnMode?: "bot_first" | "user_first";
  generatedOpenerEnabled?: boolean;
  manualOpenerToolCalls?: { toolName: string; arguments?: Record<string, unknown> }[];
  output?: { mode: "audio" | "text" };
  bargeIn?: boolean | { enabled?: boolean; minDurationMs?: number };
  knowledgeBaseId?: string;
  knowledge?: boolean | { enabled: boolean };
  tools?: string[];
  openerAudio?: boolean | { enabled: boolean };
}

export type ClientMessage =
  | { type: "session.start"; audio: typeof AUDIO; metadata: SessionMetadata }
  | { type: "session.resume"; session_id: string; resume_token: string; last_seq: number }
  | { type: "session.stop"; reason: string }
  | { type: "input.text"; text: string }
  | { type: "input.commit" | "input.clear" }
  | { type: "response.cancel"; graceful: boolean }
  | {
      type: "output.audio.played";
      tts_id: string;
      response_id: string;
      played_at_ms: number;
      played_ms: number;
    }
  | {
      type: "tool_call.results";
      results: {
        tool_call_id: string;
        name: string;
        output: unknown;
        status: { code: number; message: string };
      }[];
    };

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

/** The event in a text frame; null for what is none. */
export function decode(text: string): ServerEvent | null {
  try {
    const event: unknown = JSON.parse(text);
    if (!isObject(event) || typeof event["type"] !== "string") return null;
    return { ...event, data: isObject(event["data"]) ? event["data"] : {} } as ServerEvent;
  } catch {
    return null;
  }
}
