/**
 * The script of the embeddable widget: one line puts a talk button on any page.
 *
 *     <script src="https://host/static/sdk/widget.js" data-assistant="<id>" async></script>
 */
import { warn } from "./call.js";
import { LineError, readOptions } from "./options.js";
import { Widget } from "./widget.js";

declare global {
  interface Window {
    AIVideoAssistantWidget?: Widget;
  }
}

/** Tells scripts of the page that `window.AIVideoAssistantWidget`, its detail, is there. */
const READY = "ai-video-assistant-widget";

/** The line that loads this file; modules and some tag managers do not tell which it is. */
function ownLine(): HTMLScriptElement | null {
  const current = document.currentScript;
  if (current instanceof HTMLScriptElement) return current;
  return document.querySelector<HTMLScriptElement>("script[data-assistant][src*='/widget.js']");
}

function begin(line: HTMLScriptElement): void {
  if (window.AIVideoAssistantWidget) {
    return warn("The widget is on this page already; the second line does nothing.");
  }
  try {
    const widget = new Widget(readOptions(line));
    window.AIVideoAssistantWidget = widget;
    window.dispatchEvent(new CustomEvent(READY, { detail: widget }));
  } catch (error) {
    if (!(error instanceof LineError)) throw error;
    warn(error.message);
  }
}

const line = ownLine();
if (!line) warn("The script does not find its own line; it needs data-assistant.");
else if (document.body) begin(line);
else document.addEventListener("DOMContentLoaded", () => begin(line), { once: true });
