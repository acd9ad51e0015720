// @ts-check
/**
 * How much of an answer has been heard, from what was played. No sound, no page, no clock.
 *
 * @typedef {{id: string, text: string, atMs: number, endMs?: number}} Segment a spoken sentence, where
 *   it starts in the audio and, once all of it has come, where it ends
 * @typedef {object} Reply
 * @property {string} text everything that was generated until now
 * @property {Segment[]} segments
 * @property {number} playedMs
 * @property {number} receivedMs of audio, from the server
 * @property {boolean} isReceived no more audio follows
 * @property {boolean} isSpoken audio of it came, or is to be expected
 * @property {boolean} isHeard it was played to its end
 * @property {string | null} heard fixed by an interruption
 */

const CJK = /[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]/;
/** Speaking rates, to guess the length of a segment whose audio has not arrived whole. */
const MS_PER_CJK = 220;
const MS_PER_LETTER = 65;

/** @param {string} text @returns {number} */
function estimatedMs(text) {
  let total = 0;
  for (const character of text) total += CJK.test(character) ? MS_PER_CJK : MS_PER_LETTER;
  return total;
}

/** The last place at or before `length` where a word or a CJK character ends. @param {string} text @param {number} length */
function wordBoundary(text, length) {
  if (length >= text.length) return text.length;
  for (let at = length; at > 0; at -= 1) {
    if (/\s/.test(text[at]) || CJK.test(text[at - 1]) || CJK.test(text[at])) return at;
  }
  return 0;
}

/** Where `part` ends in `text`, searched from `from`; texts may differ in white space. @param {string} text @param {string} part @param {number} from */
function endOf(text, part, from) {
  const found = text.indexOf(part.trim(), from);
  if (found >= 0) return found + part.trim().length;
  let left = part.replace(/\s/g, "").length;
  let at = from;
  while (at < text.length && left > 0) {
    if (!/\s/.test(text[at])) left -= 1;
    at += 1;
  }
  return at;
}

/** @param {Reply} reply @param {number} index @returns {number} when a segment's audio ends */
function segmentEndMs({ segments, receivedMs, isReceived }, index) {
  const { text, atMs, endMs } = segments[index];
  if (endMs !== undefined) return endMs;
  const next = segments[index + 1];
  if (next) return next.atMs;
  return isReceived ? receivedMs : Math.max(receivedMs, atMs + estimatedMs(text));
}

/** @param {Reply} reply @returns {number} how many characters of `reply.text` were heard */
function heardLength(reply) {
  let end = 0;
  for (const [index, { text, atMs }] of reply.segments.entries()) {
    if (reply.playedMs <= atMs) break;
    const start = end;
    end = endOf(reply.text, text, start);
    const lengthMs = segmentEndMs(reply, index) - atMs;
    const share = (reply.playedMs - atMs) / Math.max(1, lengthMs);
    if (share < 1) return start + wordBoundary(reply.text.slice(start, end), Math.floor((end - start) * share));
  }
  return end;
}

/**
 * What to show as heard, and what as still to come.
 * @param {Reply} reply @returns {{heard: string, coming: string}}
 */
export function split(reply) {
  if (reply.heard !== null) return { heard: reply.heard, coming: "" };
  const cannotFollow = reply.segments.length === 0 && reply.playedMs > 0;
  if (!reply.isSpoken || reply.isHeard || cannotFollow) return { heard: reply.text, coming: "" };
  const length = heardLength(reply);
  return { heard: reply.text.slice(0, length), coming: reply.text.slice(length) };
}
