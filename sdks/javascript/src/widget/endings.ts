/** Why a call did not come about or broke off: a line for the visitor, one for the site's owner. */
import { AssistantError, ConnectionError } from "../errors.js";
import type { Options } from "./options.js";
import type { Word } from "./words.js";

export interface Ending {
  word: Word;
  /** Whether the same call may succeed later. */
  isRetryable: boolean;
  /** What the owner of the site can do about it; null where that is nothing. */
  advice: string | null;
}

type Advice = (options: Options) => string;
type Rule = [codes: string, word: Word, isRetryable: boolean, advice?: Advice];

/** By the beginning of the error's code; the first that fits. */
const RULES: Rule[] = [
  ["auth.forbidden", "ended.origin", false, adviceOnOrigins],
  ["auth.", "ended.private", false, adviceOnAccess],
  ["assistant.not_found", "ended.private", false, adviceOnAccess],
  ["rate_limit.", "ended.busy", true, () => "Too many calls at once, or from one address."],
  ["assistant.config_unavailable", "ended.overloaded", true],
  ["server.overloaded", "ended.overloaded", true],
  ["session.inactive", "ended.inactive", true],
  ["session.replaced", "ended.replaced", false],
  ["session.resume_expired", "ended.lost", true],
  ["connection.going_away", "ended.lost", true],
];

function adviceOnOrigins({ assistantId }: Options): string {
  const pages = `Pages of ${location.origin} may not talk to the assistant "${assistantId}"`;
  return `${pages}: add this origin to its allowed origins.`;
}

function adviceOnAccess({ assistantId, server }: Options): string {
  const none = `${server} has no public assistant "${assistantId}"`;
  return `${none}: the id is wrong, or it has to be made public.`;
}

/** `hadStarted`: whether there was a conversation before. */
export function endingOf(error: unknown, options: Options, hadStarted: boolean): Ending {
  const code = error instanceof AssistantError ? error.code : "";
  const rule = RULES.find(([codes]) => code.startsWith(codes));
  if (rule) {
    const [, word, isRetryable, advice] = rule;
    return { word, isRetryable, advice: advice?.(options) ?? null };
  }
  if (error instanceof ConnectionError) return unconnected(options, hadStarted);
  return { word: "ended.failed", isRetryable: true, advice: error ? String(error) : null };
}

function unconnected({ server }: Options, hadStarted: boolean): Ending {
  if (hadStarted) return { word: "ended.lost", isRetryable: true, advice: null };
  const policy = "the page's Content-Security-Policy: connect-src must name it, as https: and as wss:";
  const advice = `${server} did not answer. If it runs, look at ${policy}.`;
  return { word: "ended.unreachable", isRetryable: true, advice };
}
