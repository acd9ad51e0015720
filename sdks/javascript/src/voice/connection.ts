/** Opens conversations. */
import type { AudioOptions } from "./audio/devices.js";
import { hasSound } from "./audio/sound.js";
import { Conversation } from "./conversation.js";
import type { WebSocketClass } from "./link.js";
import type { Access, SessionMetadata, SessionOverrides } from "./protocol.js";
import { reconnectPolicy, type ReconnectOptions } from "./reconnect.js";
import type { ToolHandlers } from "./tools.js";

export interface ConversationOptions {
  /** Default: "audio" where there is sound, else "text". */
  output?: "audio" | "text";
  /** What the assistant may ask of this client, by the names of its tools. */
  tools?: ToolHandlers;
  /** Values for the `{{name}}`s of the assistant's prompt and opener. */
  variables?: Record<string, string>;
  /** Further fields of the session's metadata, such as `{ history: { userId } }`. */
  metadata?: SessionMetadata;
  overrides?: SessionOverrides;
  /** What the conversation is recorded as. */
  source?: string;
  /** Further capabilities of this client. */
  capabilities?: string[];
  /** Whether a lost connection is made again. Default: yes, for the same session only. */
  reconnect?: boolean | ReconnectOptions;
  audio?: AudioOptions;
  /** How long the server may take to begin. Default: the client's `timeoutMs`, or else 15 s. */
  timeoutMs?: number;
  /** How long `sendText` waits for a reply. Default: 120 s. */
  responseTimeoutMs?: number;
  /** Gives up a connection that has not begun. */
  signal?: AbortSignal;
}

export interface OpenOptions extends ConversationOptions {
  /** Of the voice socket, such as `wss://example.org/ws`; in a page it may be a path. */
  socketUrl: string | URL;
  assistantId: string;
  /** Asked before each connection, also to reconnect: a ticket serves once. */
  access: () => Access | Promise<Access>;
  /** For environments without a WebSocket of their own. */
  WebSocket?: WebSocketClass | undefined;
}

const TIMEOUT_MS = 15_000;
const RESPONSE_TIMEOUT_MS = 120_000;

/**
 * A conversation that has begun. In a browser call it from a click, or its sound waits for one.
 *
 * Rejects with AuthenticationError, PermissionError, NotFoundError, ValidationError,
 * RateLimitError, ConnectionError, TimeoutError, AbortedError or UnsupportedError, and with
 * whatever `access` rejects with.
 */
export async function openConversation(options: OpenOptions): Promise<Conversation> {
  const output = options.output ?? (hasSound() ? "audio" : "text");
  const audio = options.audio ?? {};
  const isPlayed = output === "audio" && (audio.playback ?? typeof window !== "undefined");
  const conversation = new Conversation({
    session: {
      socketUrl: options.socketUrl,
      assistantId: options.assistantId,
      access: options.access,
      metadata: metadataOf(options, output, isPlayed),
      reconnect: reconnectPolicy(options.reconnect),
      timeoutMs: options.timeoutMs ?? TIMEOUT_MS,
      signal: options.signal,
      socketClass: options.WebSocket,
    },
    tools: options.tools ?? {},
    audio,
    isPlayed,
    responseTimeoutMs: options.responseTimeoutMs ?? RESPONSE_TIMEOUT_MS,
  });
  await conversation.open();
  return conversation;
}

/** What the server is told of this client. */
function metadataOf(
  options: OpenOptions,
  output: "audio" | "text",
  isPlayed: boolean,
): SessionMetadata {
  const { metadata = {}, overrides, variables, source } = options;
  const capabilities = ["spoken_prompts", ...(options.capabilities ?? [])];
  if (isPlayed) capabilities.push("playback_ack", "pause");
  if (reconnectPolicy(options.reconnect).isOn) capabilities.push("resume");
  const ofOutput = output === "text" ? { output: { mode: output } } : {};
  return {
    channel: typeof window === "undefined" ? "api" : "web",
    ...metadata,
    ...(source === undefined ? {} : { source }),
    dynamicVariables: { ...metadata.dynamicVariables, ...variables },
    overrides: { ...ofOutput, ...metadata.overrides, ...overrides },
    capabilities: [...new Set([...capabilities, ...(metadata.capabilities ?? [])])],
  };
}
