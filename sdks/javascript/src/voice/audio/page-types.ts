/**
 * Types of the DOM that the public interface names. Programs for servers are compiled without the
 * DOM, where nobody has such things; a bare name of one would not compile there.
 */

type Instance<Name extends string> = typeof globalThis extends Record<
  Name,
  { prototype: infer Of }
>
  ? Of
  : never;

/** `MediaStream` */
export type PageStream = Instance<"MediaStream">;
/** `AudioContext` */
export type PageAudio = Instance<"AudioContext">;
/** `MediaTrackConstraints` */
export type PageConstraints = Instance<"MediaStreamTrack"> extends {
  applyConstraints(constraints?: infer Constraints): unknown;
}
  ? NonNullable<Constraints>
  : never;
