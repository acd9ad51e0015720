import type { Http } from "../http.js";
import type { Answer, BodyOf, CallOptions, QueryOf, Route } from "../routes.js";

type Id<P extends string> = `${P}/{id}`;
/** The paths below which the API lists, reads, makes, changes and deletes. */
type CollectionPath = {
  [R in Route]: R extends `POST ${infer P}`
    ? `GET ${P}` extends Route
      ? `PATCH ${Id<P>}` extends Route
        ? P
        : never
      : never
    : never;
}[Route];

const PAGE_SIZE = 100;

/** One kind of thing: everything that the API does with all kinds alike. */
export class Collection<P extends CollectionPath> {
  protected readonly http: Http;
  readonly #path: P;

  constructor(http: Http, path: P) {
    this.http = http;
    this.#path = path;
  }

  /** One page of what fits the query, with the number of all. */
  list(
    query: QueryOf<`GET ${P}` & Route> = {} as QueryOf<`GET ${P}` & Route>,
    options: CallOptions = {},
  ): Promise<Answer<`GET ${P}` & Route>> {
    return this.#call(`GET ${this.#path}`, { ...options, query });
  }

  /** All that fits the query, fetched page by page as the loop goes on. */
  async *iterate(
    query: QueryOf<`GET ${P}` & Route> = {} as QueryOf<`GET ${P}` & Route>,
    options: CallOptions = {},
  ): AsyncGenerator<ItemOf<Answer<`GET ${P}` & Route>>> {
    yield* itemsOf<ItemOf<Answer<`GET ${P}` & Route>>>((page) => {
      const paged = { page_size: PAGE_SIZE, ...(query as object), page };
      return this.#call(`GET ${this.#path}`, { ...options, query: paged });
    });
  }

  get(id: string, options: CallOptions = {}): Promise<Answer<`GET ${Id<P>}` & Route>> {
    return this.#call(`GET ${this.#path}/{id}`, { ...options, path: { id } });
  }

  create(
    fields: BodyOf<`POST ${P}` & Route>,
    options: CallOptions = {},
  ): Promise<Answer<`POST ${P}` & Route>> {
    return this.#call(`POST ${this.#path}`, { ...options, body: fields });
  }

  /** Changes the given fields only. */
  update(
    id: string,
    fields: BodyOf<`PATCH ${Id<P>}` & Route>,
    options: CallOptions = {},
  ): Promise<Answer<`PATCH ${Id<P>}` & Route>> {
    return this.#call(`PATCH ${this.#path}/{id}`, { ...options, path: { id }, body: fields });
  }

  async delete(id: string, options: CallOptions = {}): Promise<void> {
    await this.#call(`DELETE ${this.#path}/{id}`, { ...options, path: { id } });
  }

  /** The compiler cannot follow a path that is a parameter of the type; see the signatures. */
  #call<T>(route: string, call: object): Promise<T> {
    return this.http.call(route as "GET /assistants", call) as Promise<T>;
  }
}

/** What a list of either family holds. */
type ItemOf<L> = L extends { items: (infer T)[] }
  ? T
  : L extends { list: (infer T)[] }
    ? T
    : never;

interface Page {
  total: number;
  items?: unknown[];
  list?: unknown[];
}

/** The items of all pages, until there is a page without any or as many as there are. */
export async function* itemsOf<T>(pageOf: (page: number) => Promise<Page>): AsyncGenerator<T> {
  for (let page = 1, seen = 0; ; page++) {
    const { total, items, list } = await pageOf(page);
    const found = (items ?? list ?? []) as T[];
    yield* found;
    seen += found.length;
    if (found.length === 0 || seen >= total) return;
  }
}
