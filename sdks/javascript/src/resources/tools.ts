import type { Http } from "../http.js";
import type { Answer, CallOptions, PathOf, Schema } from "../routes.js";
import { Collection } from "./collection.js";

type Autotest = "POST /tools/autotest/{kind}/{subject_id}";

/** What assistants can do: the product's own tools, and `resources`, which are yours as well. */
export class Tools {
  readonly #http: Http;
  readonly resources: Collection<"/tools/resources">;

  constructor(http: Http) {
    this.#http = http;
    this.resources = new Collection(http, "/tools/resources");
  }

  /** The built-in tools, by id. */
  async list(options: CallOptions = {}): Promise<Record<string, Schema<"Tool">>> {
    return (await this.#http.call("GET /tools/list", options)).tools;
  }

  get(id: string, options: CallOptions = {}): Promise<Answer<"GET /tools/list/{tool_id}">> {
    return this.#http.call("GET /tools/list/{tool_id}", { ...options, path: { tool_id: id } });
  }

  health(options: CallOptions = {}): Promise<Answer<"GET /tools/health">> {
    return this.#http.call("GET /tools/health", options);
  }

  /** Asks a language model one thing; a failure is in the result. */
  testMessage(
    modelId: string,
    message?: string,
    options: CallOptions = {},
  ): Promise<Answer<"POST /tools/test-message">> {
    const query = { llm_model_id: modelId, ...(message !== undefined && { message }) };
    return this.#http.call("POST /tools/test-message", { ...options, query });
  }

  /** Tests one model, voice, tool, server or assistant, and gives the result of every test. */
  autotest(
    kind: PathOf<Autotest>["kind"],
    id: string,
    options: CallOptions = {},
  ): Promise<Answer<Autotest>> {
    const call = { ...options, path: { kind, subject_id: id } };
    return this.#http.call("POST /tools/autotest/{kind}/{subject_id}", call);
  }
}
