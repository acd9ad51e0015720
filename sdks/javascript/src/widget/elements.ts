/** Making elements without markup in strings, which strict pages (Trusted Types) do not allow. */

const SVG = "http://www.w3.org/2000/svg";

type Attributes = Record<string, string>;

export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const ICONS = {
  microphone:
    "M12 15a3 3 0 0 0 3-3V6a3 3 0 0 0-6 0v6a3 3 0 0 0 3 3zm6-3a6 6 0 0 1-5 5.9V21h-2v-3.1A6 6 0 0 1 6 12h2a4 4 0 0 0 8 0z",
  send: "M4 12 20 4l-5 16-3.5-6.5z",
  end: "M12 9c-3 0-5.8.7-8.2 2A2 2 0 0 0 3 12.8v2.4a1 1 0 0 0 1.3.95l3-.9a1 1 0 0 0 .7-.95v-2a13 13 0 0 1 8 0v2a1 1 0 0 0 .7.95l3 .9A1 1 0 0 0 21 15.2v-2.4a2 2 0 0 0-.8-1.8A17 17 0 0 0 12 9z",
  close: "M5.6 7 7 5.6l5 5 5-5L18.4 7l-5 5 5 5-1.4 1.4-5-5-5 5L5.6 17l5-5z",
  minimize: "M12 16.2 4.8 9l1.4-1.4 5.8 5.8 5.8-5.8L19.2 9z",
} as const;

/** A picture beside, or in place of, words that the button has anyway. */
export function icon(name: keyof typeof ICONS): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  if (name === "microphone") svg.append(slash());
  return svg;
}

/** Strikes the microphone out; shown while it is off. */
function slash(): SVGPathElement {
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("class", "slash");
  line.setAttribute("d", "M4 4 20 20");
  return line;
}

export function button(className: string, ...children: (Node | string)[]): HTMLButtonElement {
  return element("button", { type: "button", class: className }, ...children);
}

/** Names a button that shows only a picture, for the ear and for the pointer. */
export function labelled(made: HTMLButtonElement, label: string): HTMLButtonElement {
  made.setAttribute("aria-label", label);
  made.title = label;
  return made;
}
