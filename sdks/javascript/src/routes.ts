/**
 * What the API takes and gives, by route, such as "GET /assistants/{id}": read off the generated
 * schema, so that a route that the server does not have, or a field of another type, is an error
 * of the compiler.
 */

import type { components, paths } from "./generated/schema.js";

/** A shape of the API, by its name in the schema. */
export type Schema<Name extends keyof components["schemas"]> = components["schemas"][Name];

type Method = "get" | "put" | "post" | "delete" | "patch";
type MethodOf<P extends keyof paths> = {
  [M in Method]: paths[P][M] extends object ? M : never;
}[Method];
type Relative<P> = P extends `/api/v1${infer Rest}` ? Rest : never;

/** Every method and path of the API. */
export type Route = {
  [P in keyof paths]: `${Uppercase<MethodOf<P>>} ${Relative<P>}`;
}[keyof paths];

type OperationOf<R extends Route> = R extends `${infer M} ${infer P}`
  ? Extract<paths[`/api/v1${P}` & keyof paths][Lowercase<M> & Method], object>
  : never;

type Json<T> = T extends { content: { "application/json": infer B } } ? B : never;
type Success<O> = O extends { responses: infer Answers }
  ? Json<Answers[keyof Answers & (200 | 201 | 202)]>
  : never;

/**
 * What a call gives, without its envelope: `data` where that is all there is, or the whole body.
 * The same rule for values is `unwrapped` in answers.ts.
 */
export type Answer<R extends Route> = Unwrapped<Success<OperationOf<R>>>;
type Unwrapped<B> = B extends { status_code: number; data: infer D }
  ? D
  : B extends { success: true; data: infer D }
    ? Exclude<keyof B, "success" | "data"> extends never
      ? D
      : Omit<B, "success">
    : B extends { success: true }
      ? Omit<B, "success">
      : B;

type Parameters<R extends Route, In extends "path" | "query"> =
  OperationOf<R> extends { parameters: infer P } ? NonNullable<P[In & keyof P]> : never;
export type PathOf<R extends Route> = Parameters<R, "path">;
export type QueryOf<R extends Route> = Parameters<R, "query">;
export type BodyOf<R extends Route> =
  OperationOf<R> extends { requestBody?: infer B }
    ? NonNullable<B> extends { content: infer C }
      ? C extends { "application/json": infer J }
        ? J
        : C extends { "*/*": infer A }
          ? A
          : never
      : never
    : never;

/** What every call takes beside its own values. */
export interface CallOptions {
  /** Ends the call with an AbortedError. */
  signal?: AbortSignal | undefined;
  /** How long one attempt may take; for streams and files, how long they may be silent. */
  timeoutMs?: number | undefined;
  /** How often to try again where that may help and cannot do a thing twice. */
  maxRetries?: number | undefined;
}

type Given<Name extends string, T> = [T] extends [never]
  ? unknown
  : Record<never, never> extends T
    ? { [K in Name]?: T | undefined }
    : { [K in Name]: T };

/** What a call of that route takes. */
export type CallOf<R extends Route> = CallOptions &
  Given<"path", PathOf<R>> &
  Given<"query", QueryOf<R>> & { body?: BodyOf<R> | FormData | undefined };
export type CallArguments<R extends Route> =
  Record<never, never> extends CallOf<R> ? [call?: CallOf<R>] : [call: CallOf<R>];
