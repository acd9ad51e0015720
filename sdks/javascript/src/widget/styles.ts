/** How the widget looks. Lengths are in px: rem would be the page's, whose root may have any size. */

const DARK = `
  --ground: #101417; --surface: #181d21; --line: #2f373d; --ink: #e8ebed; --soft: #9aa4ab;
  --accent: #4fc7b6; --on-accent: #06201d; --danger: #e0635b;
  --warning: #332813; --warning-ink: #f3d6a0;
  --shadow: 0 2px 6px rgb(0 0 0 / 40%), 0 12px 40px rgb(0 0 0 / 50%);
  color-scheme: dark;
`;

const CSS_TEXT = `
:host {
  all: initial !important;
  position: fixed !important;
  inset: 0 !important;
  z-index: var(--ai-video-assistant-z-index, 10000) !important;
  pointer-events: none !important;
}
@media print { :host { display: none !important; } }

.root {
  --ground: #f4f3ef; --surface: #fff; --line: #dddbd4; --ink: #1e2328; --soft: #5f666d;
  --accent: #0f766e; --on-accent: #fff; --danger: #b3342d;
  --warning: #fdf1dc; --warning-ink: #6b4505;
  --shadow: 0 2px 6px rgb(30 35 40 / 12%), 0 12px 40px rgb(30 35 40 / 18%);
  --edge: 20px;
  --tint: color-mix(in srgb, var(--accent) 15%, var(--surface));
  color: var(--ink);
  color-scheme: light;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif;
  -webkit-text-size-adjust: 100%;
}
@media (prefers-color-scheme: dark) { .root[data-theme="auto"] { ${DARK} } }
.root[data-theme="dark"] { ${DARK} }

*, ::before, ::after { box-sizing: border-box; }
[hidden] { display: none !important; }
h2, p, ol, ul { margin: 0; padding: 0; list-style: none; }
button, input { margin: 0; font: inherit; color: inherit; }
svg { flex: none; width: 22px; height: 22px; fill: currentcolor; }
.slash {
  visibility: hidden; fill: none; stroke: currentcolor; stroke-width: 2; stroke-linecap: round;
}
:focus-visible { outline: 2px solid var(--ink); outline-offset: 2px; }
.unseen {
  position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden;
  clip-path: inset(50%); white-space: nowrap;
}

button {
  display: inline-flex;
  align-items: center;
  justify-content: center;
  gap: 8px;
  min-height: 44px;
  padding: 8px 20px;
  border: 1px solid var(--line);
  border-radius: 22px;
  background: var(--surface);
  cursor: pointer;
  touch-action: manipulation;
  -webkit-tap-highlight-color: transparent;
}
button:hover:not(:disabled) { border-color: var(--soft); }
button:disabled { opacity: .45; cursor: default; }
.icon { flex: none; width: 44px; padding: 0; border-radius: 50%; }
.icon.small { width: 32px; min-height: 32px; border-color: transparent; background: none; }
.icon.small svg { width: 18px; height: 18px; }
.primary, .launcher {
  border-color: transparent; background: var(--accent); color: var(--on-accent); font-weight: 600;
}
.primary:hover:not(:disabled), .launcher:hover:not(:disabled) {
  border-color: transparent; filter: brightness(1.08);
}

/* --- The button on the page ------------------------------------------------------------------- */

.launcher, .panel { position: absolute; pointer-events: auto; }
[data-position^="bottom"] > * { bottom: max(var(--edge), env(safe-area-inset-bottom)); }
[data-position^="top"] > * { top: max(var(--edge), env(safe-area-inset-top)); }
[data-position$="right"] > * { right: max(var(--edge), env(safe-area-inset-right)); }
[data-position$="left"] > * { left: max(var(--edge), env(safe-area-inset-left)); }
.launcher {
  min-height: 56px; padding: 8px 24px 8px 20px; border-radius: 28px; box-shadow: var(--shadow);
  white-space: nowrap;
}
.launcher::after {
  content: ""; position: absolute; inset: 0; border-radius: inherit;
  border: 2px solid var(--accent); opacity: 0; pointer-events: none;
}
.root:not([data-state="idle"], [data-state="ended"]) .launcher::after {
  animation: halo 1.8s ease-out infinite;
}

/* --- The panel -------------------------------------------------------------------------------- */

.panel {
  display: flex;
  flex-direction: column;
  width: 384px;
  max-width: calc(100% - 2 * var(--edge));
  height: 600px;
  max-height: calc(100% - 2 * var(--edge));
  overflow: hidden;
  border: 1px solid var(--line);
  border-radius: 20px;
  background: var(--surface);
  box-shadow: var(--shadow);
  animation: rise .18s ease-out;
}
header {
  display: flex; align-items: center; gap: 12px; padding: 12px 12px 12px 16px;
  border-bottom: 1px solid var(--line);
}
header .icon { border-color: transparent; }
.title { flex: 1; min-width: 0; line-height: 1.3; }
h2 {
  overflow: hidden; font-size: 16px; font-weight: 600; white-space: nowrap;
  text-overflow: ellipsis;
}
.status { min-height: 1.3em; color: var(--soft); font-size: 14px; }

.orb {
  position: relative; flex: none; width: 36px; height: 36px; border-radius: 50%;
  background: radial-gradient(circle at 32% 28%, color-mix(in srgb, var(--accent), white 45%), var(--accent) 75%);
  opacity: .45; transition: opacity .3s;
}
.orb.large { width: 88px; height: 88px; margin-bottom: 8px; opacity: 1; }
.orb::after {
  content: ""; position: absolute; inset: 0; border-radius: 50%; border: 2px solid var(--accent);
  opacity: 0;
}
.root:not([data-state="idle"], [data-state="ended"]) .orb { opacity: 1; }
:is([data-state="listening"], [data-state="hearing"])[data-microphone="on"] header .orb::after {
  opacity: .55; transform: scale(calc(1 + .45 * var(--level, 0)));
}
:is([data-state="connecting"], [data-state="thinking"], [data-state="reconnecting"]) header .orb {
  animation: breathe 1.4s ease-in-out infinite;
}
[data-state="speaking"] header .orb::after { animation: ring 1.5s ease-out infinite; }
@keyframes breathe { 50% { transform: scale(.82); opacity: .6; } }
@keyframes ring { from { opacity: .8; transform: none; } to { opacity: 0; transform: scale(1.35); } }
@keyframes rise { from { opacity: 0; transform: translateY(12px); } }
@keyframes halo { from { opacity: .8; transform: none; } to { opacity: 0; transform: scale(1.14, 1.3); } }

.log {
  display: flex; flex: 1; flex-direction: column; min-height: 0; padding: 16px; overflow-y: auto;
  overscroll-behavior: contain;
}
.log:focus-visible { outline-offset: -2px; }
.welcome {
  display: flex; flex-direction: column; align-items: center; gap: 8px; max-width: 280px;
  margin: auto; text-align: center; text-wrap: balance;
}
.welcome:lang(zh) { word-break: keep-all; }
.soft { color: var(--soft); font-size: 14px; }
ol { display: flex; flex-direction: column; gap: 12px; }
ol:empty { display: none; }
ol > li { position: relative; max-width: 88%; overflow-wrap: anywhere; white-space: pre-line; }
.you {
  align-self: flex-end; padding: 8px 14px; border-radius: 18px 18px 5px; background: var(--tint);
}
.you[data-final="false"] {
  background: none; box-shadow: inset 0 0 0 1px var(--line); color: var(--soft);
}
.assistant { align-self: flex-start; }
.divider { align-self: center; padding-top: 8px; color: var(--soft); font-size: 13px; }
.tag {
  padding: 1px 8px; border-radius: 16px; box-shadow: inset 0 0 0 1px var(--line);
  color: var(--soft); font-size: 12px; white-space: nowrap;
}
.sources { display: flex; flex-wrap: wrap; gap: 4px; margin-top: 4px; }
.sources li {
  max-width: 100%; padding: 1px 8px; overflow: hidden; border-radius: 16px;
  background: var(--ground); color: var(--soft); font-size: 12px; white-space: nowrap;
  text-overflow: ellipsis;
}

footer {
  display: flex; flex-direction: column; gap: 10px;
  padding: 12px 16px max(14px, env(safe-area-inset-bottom)); border-top: 1px solid var(--line);
}
.row { display: flex; align-items: center; gap: 8px; }
input {
  flex: 1; min-width: 0; min-height: 44px; padding: 8px 16px; border: 1px solid var(--line);
  border-radius: 22px; background: var(--ground);
}
input:focus-visible { outline-offset: -1px; }
input::placeholder { color: var(--soft); opacity: 1; }
.end { border-color: transparent; background: var(--danger); color: #fff; }
.microphone { box-shadow: 0 0 0 calc(7px * var(--level, 0)) var(--tint); }
.microphone[aria-pressed="true"] { background: var(--ink); color: var(--surface); }
.microphone[aria-pressed="true"] .slash { visibility: visible; }
.notices { display: flex; flex-direction: column; gap: 8px; max-height: 40vh; overflow-y: auto; }
.notices:empty { display: none; }
.notice {
  display: flex; align-items: center; gap: 8px; padding: 6px 6px 6px 14px; border-radius: 14px;
  background: var(--warning); color: var(--warning-ink); font-size: 14px; line-height: 1.4;
}
.notice > span { flex: 1; min-width: 0; padding-block: 4px; }
.plain {
  flex: none; min-height: 36px; padding: 4px 14px; border-color: currentcolor; background: none;
  font-weight: 600;
}

@media (max-width: 480px) {
  .root { --edge: 16px; }
  .root > .panel {
    inset: auto 0 var(--covered, 0px);
    width: 100%;
    max-width: none;
    height: 560px;
    max-height: calc(100% - var(--covered, 0px) - 24px);
    border-width: 1px 0 0;
    border-radius: 20px 20px 0 0;
  }
}
@media (max-height: 480px) {
  .root > .panel { --edge: 8px; }
  .orb.large { display: none; }
}
@media (prefers-reduced-motion: reduce) {
  *, ::before, ::after { animation: none !important; transition: none !important; }
  .root:not([data-state="idle"], [data-state="ended"]) .launcher::after {
    opacity: .8; transform: scale(1.05, 1.12);
  }
  [data-state="speaking"] header .orb::after { opacity: .8; transform: scale(1.15); }
}
@media (forced-colors: active) {
  button, .panel, .you, .notice { border: 1px solid; }
}
`;

/** The widget's sheet. */
export function styles(): CSSStyleSheet {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(CSS_TEXT);
  return sheet;
}

/** Paints the widget in the owner's colour; what stands on it is black or white, as is legible. */
export function paint(root: HTMLElement, color: string): void {
  root.style.setProperty("--accent", color);
  const probe = root.ownerDocument.createElement("span");
  probe.style.color = `color-mix(in srgb, ${color}, ${color})`;
  root.append(probe);
  const [red = 0, green = 0, blue = 0] = componentsOf(getComputedStyle(probe).color);
  probe.remove();
  // WCAG's relative luminance; both contrasts are equal near 0.18.
  const luminance = 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  root.style.setProperty("--on-accent", luminance > 0.18 ? "#000" : "#fff");
}

/** Of "color(srgb 0.1 0.2 0.3)" or "rgb(25, 51, 76)": red, green and blue from 0 to 1. */
function componentsOf(computed: string): number[] {
  const numbers = computed.match(/[\d.]+(?:e-?\d+)?/g)?.map(Number) ?? [];
  return computed.startsWith("rgb") ? numbers.map((part) => part / 255) : numbers;
}

const linear = (part: number): number =>
  part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
