import type { Http } from "../http.js";
import type { Answer, CallOptions } from "../routes.js";
import { Collection } from "./collection.js";

/** Who talks: a prompt, a model, a voice, tools and knowledge. */
export class Assistants extends Collection<"/assistants"> {
  constructor(http: Http) {
    super(http, "/assistants");
  }

  /** What the assistant will use when somebody talks to it, defaults filled in. */
  config(id: string, options: CallOptions = {}): Promise<Answer<"GET /assistants/{id}/config">> {
    return this.http.call("GET /assistants/{id}/config", { ...options, path: { id } });
  }

  /** The opener as a WAV file; a NotFoundError before it was made. */
  openerAudio(id: string, options: CallOptions = {}): Promise<Blob> {
    return this.http.file("GET /assistants/{id}/opener-audio", { ...options, path: { id } });
  }

  /** Has the opener spoken once for all calls. */
  generateOpenerAudio(
    id: string,
    options: CallOptions = {},
  ): Promise<Answer<"POST /assistants/{id}/opener-audio/generate">> {
    const route = "POST /assistants/{id}/opener-audio/generate";
    return this.http.call(route, { ...options, path: { id } });
  }
}
