/** What the site's owner wrote on the script's line. */
import type { Language } from "./words.js";

const POSITIONS = ["bottom-right", "bottom-left", "top-right", "top-left"] as const;
const THEMES = ["auto", "light", "dark"] as const;
const OUTPUTS = ["audio", "text"] as const;

export interface Options {
  assistantId: string;
  /** Origin of the server that the assistant is on. */
  server: string;
  /** Where the script came from: its worklets lie beside it. */
  script: string;
  language: Language;
  position: (typeof POSITIONS)[number];
  theme: (typeof THEMES)[number];
  output: (typeof OUTPUTS)[number];
  /** A colour of CSS, or null for the widget's own. */
  color: string | null;
  title: string | null;
}

/** The line says something that cannot be; the message is for the site's owner. */
export class LineError extends Error {}

/** The options of a line. Throws LineError where there would be nobody to talk to. */
export function readOptions(line: HTMLScriptElement): Options {
  const { assistant, server, language, position, theme, output, color, title } = line.dataset;
  if (!assistant) throw new LineError("data-assistant is missing: the id of a public assistant.");
  return {
    assistantId: assistant,
    server: originOf(server, line.src),
    script: line.src,
    language: languageOf(language || document.documentElement.lang || navigator.language),
    position: oneOf(POSITIONS, position),
    theme: oneOf(THEMES, theme),
    output: oneOf(OUTPUTS, output),
    color: color && CSS.supports("color", color) ? color : null,
    title: title || null,
  };
}

function originOf(server: string | undefined, script: string): string {
  try {
    return new URL(server || script, location.href).origin;
  } catch {
    throw new LineError(`data-server is no address: ${server}`);
  }
}

const languageOf = (tag: string): Language => (/^zh\b/i.test(tag) ? "zh" : "en");

/** The value if it is one of them, else the first. */
function oneOf<Value extends string>(values: readonly [Value, ...Value[]], value = ""): Value {
  return values.find((known) => known === value) ?? values[0];
}
