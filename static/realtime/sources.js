// @ts-check
/**
 * How an answer cites its sources: "[1]", "[2, 3]", "[4-6]" or "【7】" in its text. No page.
 * The server reads out what is no such mark: tests/realtime/marks.py holds that both agree.
 *
 * @typedef {import("./call.js").Source} Source
 */

const MARK = /\s?[[［【]\s?(\d{1,3}(?:\s?[,，、;；~～\u2010-\u2014-]\s?\d{1,3})*)\s?[\]］】]/g;

/** @param {string} numbers @param {Source[]} sources @returns {Source[]} those of the numbers that are sources */
function named(numbers, sources) {
  const ranges = numbers.split(/[,，、;；]/).map((part) => part.match(/\d+/g)?.map(Number) ?? []);
  return ranges.flatMap((ends) => {
    const [first, last] = [Math.min(...ends), Math.max(...ends)];
    return sources
      .filter(({ index }) => first <= index && index <= last)
      .sort((one, other) => one.index - other.index);
  });
}

/**
 * A text in pieces: plain ones, and the number of each source where it is cited.
 * @param {string} text @param {Source[]} sources @returns {{text: string, source?: Source}[]}
 */
export function pieces(text, sources) {
  if (!sources.length) return [{ text }];
  /** @type {{text: string, source?: Source}[]} */
  const found = [];
  let end = 0;
  for (const mark of text.matchAll(MARK)) {
    const cited = named(mark[1], sources);
    if (!cited.length) continue;
    found.push({ text: text.slice(end, mark.index) });
    found.push(...cited.map((source) => ({ text: String(source.index), source })));
    end = mark.index + mark[0].length;
  }
  return [...found, { text: text.slice(end) }].filter((piece) => piece.text);
}

/** The sources that a text cites, each once, by number. @param {string} text @param {Source[]} sources @returns {Source[]} */
export function quoted(text, sources) {
  const cited = new Set(pieces(text, sources).flatMap(({ source }) => source ?? []));
  return [...cited].sort((one, other) => one.index - other.index);
}

/** A text as it is read out. @param {string} text @param {Source[]} sources @returns {string} */
export function withoutMarks(text, sources) {
  return pieces(text, sources).flatMap(({ text: part, source }) => (source ? [] : part)).join("");
}
