export { AIVideoAssistant, type ClientOptions } from "./client.js";
export { ChatFailedError } from "./errors.js";
export type { Fetch } from "./http.js";
export type { Uploadable } from "./resources/files.js";
export type { WaitOptions } from "./resources/knowledge.js";
export type { FollowOptions, TaskEvent } from "./resources/tasks.js";
export type {
  ChatChunk,
  ChatEvent,
  ChatMessage,
  ChatOptions,
  ChatStep,
} from "./resources/chat.js";
export type {
  Answer,
  BodyOf,
  CallOf,
  CallOptions,
  PathOf,
  QueryOf,
  Route,
  Schema,
} from "./routes.js";
export * from "./voice/index.js";
