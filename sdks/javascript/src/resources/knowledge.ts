import { sleep } from "../deadline.js";
import { AssistantError, TimeoutError } from "../errors.js";
import type { Http } from "../http.js";
import type { Answer, BodyOf, CallOptions, Schema } from "../routes.js";
import { Collection, itemsOf } from "./collection.js";
import { formWith, UPLOAD_TIMEOUT_MS, type Uploadable } from "./files.js";

const FIRST_LOOK_MS = 250;
const SLOWEST_LOOK_MS = 3_000;
const READY_TIMEOUT_MS = 600_000;

type DocumentPath = "/knowledge-bases/{base_id}/documents";

export interface WaitOptions extends CallOptions {
  /** How long to wait in all, before a TimeoutError; 10 minutes if not given. */
  withinMs?: number;
}

/** Documents that assistants search. */
export class KnowledgeBases extends Collection<"/knowledge-bases"> {
  constructor(http: Http) {
    super(http, "/knowledge-bases");
  }

  /** Deletes it with its documents; `force` also where assistants use it. */
  override async delete(
    id: string,
    { force, ...options }: CallOptions & { force?: boolean } = {},
  ): Promise<void> {
    const query = force === undefined ? {} : { force };
    await this.http.call("DELETE /knowledge-bases/{id}", { ...options, path: { id }, query });
  }

  /** Uploads a document; `waitUntilReady` tells when it can be found. */
  async upload(
    baseId: string,
    file: Uploadable,
    { name, ...options }: CallOptions & { name?: string } = {},
  ): Promise<Answer<`POST ${DocumentPath}`>> {
    const call = { timeoutMs: UPLOAD_TIMEOUT_MS, ...options, body: formWith(file, name) };
    return this.#add(baseId, call);
  }

  /** Adds a document of the text. */
  addText(
    baseId: string,
    text: BodyOf<`POST ${DocumentPath}`>,
    options: CallOptions = {},
  ): Promise<Answer<`POST ${DocumentPath}`>> {
    return this.#add(baseId, { ...options, body: text });
  }

  /** All documents, fetched page by page as the loop goes on. */
  documents(baseId: string, options: CallOptions = {}): AsyncGenerator<Schema<"Document">> {
    return itemsOf((page) =>
      this.http.call("GET /knowledge-bases/{base_id}/documents", {
        ...options,
        path: { base_id: baseId },
        query: { page, page_size: 100 },
      }),
    );
  }

  document(
    baseId: string,
    id: string,
    options: CallOptions = {},
  ): Promise<Answer<`GET ${DocumentPath}/{id}`>> {
    const call = { ...options, path: { base_id: baseId, id } };
    return this.http.call("GET /knowledge-bases/{base_id}/documents/{id}", call);
  }

  async deleteDocument(baseId: string, id: string, options: CallOptions = {}): Promise<void> {
    const call = { ...options, path: { base_id: baseId, id } };
    await this.http.call("DELETE /knowledge-bases/{base_id}/documents/{id}", call);
  }

  /** Reads and cuts the document again. */
  reindex(
    baseId: string,
    id: string,
    options: CallOptions = {},
  ): Promise<Answer<`POST ${DocumentPath}/{id}/reindex`>> {
    const call = { ...options, path: { base_id: baseId, id } };
    return this.http.call("POST /knowledge-bases/{base_id}/documents/{id}/reindex", call);
  }

  /** The passages that fit the query best. */
  search(
    baseId: string,
    query: string | BodyOf<"POST /knowledge-bases/{id}/search">,
    options: CallOptions = {},
  ): Promise<Answer<"POST /knowledge-bases/{id}/search">> {
    const body = typeof query === "string" ? { query } : query;
    const call = { ...options, path: { id: baseId }, body };
    return this.http.call("POST /knowledge-bases/{id}/search", call);
  }

  /**
   * The documents, or the one of that id, once all of them can be searched. Throws what went wrong
   * with the first that failed, and a TimeoutError where it takes too long.
   */
  async waitUntilReady(
    baseId: string,
    documentId?: string,
    { withinMs = READY_TIMEOUT_MS, ...options }: WaitOptions = {},
  ): Promise<Schema<"Document">[]> {
    const until = Date.now() + withinMs;
    for (let pauseMs = FIRST_LOOK_MS; ; pauseMs = Math.min(pauseMs * 1.5, SLOWEST_LOOK_MS)) {
      const documents: Schema<"Document">[] = [];
      if (documentId !== undefined) {
        documents.push(await this.document(baseId, documentId, options));
      } else {
        for await (const document of this.documents(baseId, options)) documents.push(document);
      }
      for (const document of documents) throwIfEnded(document);
      if (documents.every(({ status }) => status === "completed")) return documents;
      if (Date.now() + pauseMs > until) {
        throw new TimeoutError("timeout", `Not all documents were ready within ${withinMs} ms.`);
      }
      await sleep(pauseMs, options.signal);
    }
  }

  #add(
    baseId: string,
    call: CallOptions & { body: FormData | BodyOf<`POST ${DocumentPath}`> },
  ): Promise<Answer<`POST ${DocumentPath}`>> {
    const route = "POST /knowledge-bases/{base_id}/documents";
    return this.http.call(route, { ...call, path: { base_id: baseId } });
  }
}

/** A document that will never be ready ends the wait for it. */
function throwIfEnded({ status, name, errorCode, errorMessage }: Schema<"Document">): void {
  if (status !== "failed" && status !== "cancelled") return;
  const code = errorCode || `document.${status}`;
  throw new AssistantError(code, `${name}: ${errorMessage || status}`);
}
