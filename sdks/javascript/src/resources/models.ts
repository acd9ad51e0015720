import type { Http } from "../http.js";
import type { Answer, BodyOf, CallOptions } from "../routes.js";
import { Collection } from "./collection.js";
import { formWith, UPLOAD_TIMEOUT_MS, type Uploadable } from "./files.js";

/** Language models, also those that embed and rerank. */
export class Llm extends Collection<"/llm"> {
  constructor(http: Http) {
    super(http, "/llm");
  }

  /** Whether the model answers; a failure is in the result. */
  test(id: string, options: CallOptions = {}): Promise<Answer<"POST /llm/{id}/test">> {
    return this.http.call("POST /llm/{id}/test", { ...options, path: { id } });
  }

  /** One answer to one message. */
  chat(
    id: string,
    body: BodyOf<"POST /llm/{id}/chat">,
    options: CallOptions = {},
  ): Promise<Answer<"POST /llm/{id}/chat">> {
    return this.http.call("POST /llm/{id}/chat", { ...options, path: { id }, body });
  }

  /** As `chat`, with how long it took, and with another key if one is given. */
  preview(
    id: string,
    body: BodyOf<"POST /llm/{id}/preview">,
    options: CallOptions = {},
  ): Promise<Answer<"POST /llm/{id}/preview">> {
    return this.http.call("POST /llm/{id}/preview", { ...options, path: { id }, body });
  }
}

/** Recognisers of speech. */
export class Asr extends Collection<"/asr"> {
  constructor(http: Http) {
    super(http, "/asr");
  }

  test(id: string, options: CallOptions = {}): Promise<Answer<"POST /asr/{id}/test">> {
    return this.http.call("POST /asr/{id}/test", { ...options, path: { id } });
  }

  /** The text of an uncompressed WAV file. */
  transcribe(
    id: string,
    file: Uploadable,
    { language, ...options }: CallOptions & { language?: "zh" | "en" | "multi" } = {},
  ): Promise<Answer<"POST /asr/{id}/transcribe">> {
    const body = formWith(file, file instanceof Blob ? undefined : "speech.wav", { language });
    const call = { timeoutMs: UPLOAD_TIMEOUT_MS, ...options, path: { id }, body };
    return this.http.call("POST /asr/{id}/transcribe", call);
  }
}

/** Voices that speak. */
export class Voices extends Collection<"/voices"> {
  constructor(http: Http) {
    super(http, "/voices");
  }

  test(id: string, options: CallOptions = {}): Promise<Answer<"POST /voices/{id}/test">> {
    return this.http.call("POST /voices/{id}/test", { ...options, path: { id } });
  }

  /** The text, spoken: `audio_url` is a data URL of a WAV file. */
  preview(
    id: string,
    body: BodyOf<"POST /voices/{id}/preview">,
    options: CallOptions = {},
  ): Promise<Answer<"POST /voices/{id}/preview">> {
    return this.http.call("POST /voices/{id}/preview", { ...options, path: { id }, body });
  }
}
