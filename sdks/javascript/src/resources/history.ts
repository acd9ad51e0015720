import type { Http } from "../http.js";
import type { Answer, BodyOf, CallOptions, QueryOf, Schema } from "../routes.js";
import { itemsOf } from "./collection.js";

type Filter = Omit<QueryOf<"GET /history">, "dialog_id">;

/** The conversations of every channel that took place, with what was said. */
export class History {
  readonly #http: Http;

  constructor(http: Http) {
    this.#http = http;
  }

  list(query: Filter = {}, options: CallOptions = {}): Promise<Answer<"GET /history">> {
    return this.#http.call("GET /history", { ...options, query });
  }

  /** All that fit the filter, fetched page by page as the loop goes on. */
  iterate(query: Filter = {}, options: CallOptions = {}): AsyncGenerator<Schema<"Call">> {
    return itemsOf((page) => this.list({ page_size: 100, ...query, page }, options));
  }

  /** One conversation, with its transcript. */
  get(id: string, options: CallOptions = {}): Promise<Answer<"GET /history/{id}">> {
    return this.#http.call("GET /history/{id}", { ...options, path: { id } });
  }

  /** Changes its title or summary. */
  update(
    id: string,
    fields: BodyOf<"PATCH /history/{id}">,
    options: CallOptions = {},
  ): Promise<Answer<"PATCH /history/{id}">> {
    return this.#http.call("PATCH /history/{id}", { ...options, path: { id }, body: fields });
  }

  async delete(id: string, options: CallOptions = {}): Promise<void> {
    await this.#http.call("DELETE /history/{id}", { ...options, path: { id } });
  }

  /** Numbers of conversations, by day, by channel and by assistant. */
  stats(
    query: QueryOf<"GET /history/stats"> = {},
    options: CallOptions = {},
  ): Promise<Answer<"GET /history/stats">> {
    return this.#http.call("GET /history/stats", { ...options, query });
  }
}
