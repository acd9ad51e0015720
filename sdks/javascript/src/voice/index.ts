/** The voice part: conversations, and the sound of a page. */
export {
  AbortedError,
  AssistantError,
  AuthenticationError,
  ConflictError,
  ConnectionError,
  NotFoundError,
  PermissionError,
  RateLimitError,
  ResumeExpiredError,
  ServerError,
  TimeoutError,
  UnsupportedError,
  ValidationError,
  type ErrorDetails,
} from "../errors.js";
export type { AudioOptions, MicrophoneOptions } from "./audio/devices.js";
export { openMicrophone } from "./audio/microphone.js";
export type { PlaybackReport } from "./audio/player.js";
export { hasSound, openSound, type Sound, type SoundOptions } from "./audio/sound.js";
export { openConversation, type ConversationOptions, type OpenOptions } from "./connection.js";
export { Conversation, type SendOptions } from "./conversation.js";
export {
  ConversationError,
  InterruptedError,
  MicrophoneError,
  type MicrophoneProblem,
} from "./errors.js";
export type * from "./events.js";
export type { WebSocketClass, WebSocketLike } from "./link.js";
export {
  durationMs,
  type Access,
  type SessionMetadata,
  type SessionOverrides,
} from "./protocol.js";
export type { ReconnectOptions } from "./reconnect.js";
export {
  ToolError,
  ToolFailure,
  type ToolCall,
  type ToolHandler,
  type ToolHandlers,
  type ToolResult,
} from "./tools.js";
