/** The frames of a WebSocket (RFC 6455), as a client reads and writes them. Pure. */

export const TEXT = 0x1;
export const BINARY = 0x2;
export const CLOSE = 0x8;
export const PING = 0x9;
export const PONG = 0xa;

const CONTINUATION = 0x0;
const FINAL = 0x80;
const MASKED = 0x80;
const MASK_BYTES = 4;
/** Far beyond what the voice protocol sends. */
const MAX_MESSAGE_BYTES = 2 ** 24;

export interface Message {
  opcode: number;
  payload: Uint8Array<ArrayBuffer>;
}

/** The server does not keep to the protocol; `code` is what the socket is to be closed with. */
export class FrameError extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** Puts messages together from bytes that come in any pieces. */
export class FrameReader {
  #bytes = new Uint8Array(0);
  /** The frames of a message that is not complete. */
  #parts: Message[] = [];

  /** The messages that these bytes complete. Throws FrameError. */
  add(bytes: Uint8Array): Message[] {
    this.#bytes = joined([this.#bytes, bytes]);
    const messages = [];
    for (let frame = this.#next(); frame; frame = this.#next()) {
      const message = this.#complete(frame);
      if (message) messages.push(message);
    }
    return messages;
  }

  #next(): (Message & { isFinal: boolean }) | null {
    const bytes = this.#bytes;
    const [first, second] = bytes;
    if (first === undefined || second === undefined) return null;
    if (second & MASKED) throw new FrameError(1002, "The server masks its frames.");
    const view = new DataView(bytes.buffer);
    const short = second & 0x7f;
    const start = 2 + ({ 126: 2, 127: 8 }[short] ?? 0);
    if (bytes.length < start) return null;
    const long = short === 126 ? view.getUint16(2) : short;
    const length = short === 127 ? Number(view.getBigUint64(2)) : long;
    if (length > MAX_MESSAGE_BYTES) throw new FrameError(1009, "A frame is too large.");
    if (bytes.length < start + length) return null;
    this.#bytes = bytes.slice(start + length);
    const payload = bytes.slice(start, start + length);
    return { opcode: first & 0x0f, payload, isFinal: (first & FINAL) !== 0 };
  }

  #complete({ opcode, payload, isFinal }: Message & { isFinal: boolean }): Message | null {
    // Control frames may come between those of a message.
    if (opcode >= CLOSE) return { opcode, payload };
    const isFirst = this.#parts.length === 0;
    if (isFirst === (opcode === CONTINUATION)) {
      throw new FrameError(1002, "A frame is out of order.");
    }
    this.#parts.push({ opcode, payload });
    const all = this.#parts.map((part) => part.payload);
    const size = all.reduce((sum, part) => sum + part.length, 0);
    if (size > MAX_MESSAGE_BYTES) throw new FrameError(1009, "A message is too large.");
    if (!isFinal) return null;
    const [begun] = this.#parts.splice(0);
    return { opcode: begun!.opcode, payload: joined(all) };
  }
}

/** One whole message in one frame, masked as the protocol asks of clients. */
export function frameOf({ opcode, payload }: Message): Uint8Array<ArrayBuffer> {
  const { length } = payload;
  const extra = length < 126 ? 0 : length < 2 ** 16 ? 2 : 8;
  const start = 2 + extra + MASK_BYTES;
  const frame = new Uint8Array(start + length);
  const view = new DataView(frame.buffer);
  frame[0] = FINAL | opcode;
  frame[1] = MASKED | (extra === 0 ? length : extra === 2 ? 126 : 127);
  if (extra === 2) view.setUint16(2, length);
  if (extra === 8) view.setBigUint64(2, BigInt(length));
  const mask = crypto.getRandomValues(new Uint8Array(MASK_BYTES));
  frame.set(mask, start - MASK_BYTES);
  for (let at = 0; at < length; at += 1) frame[start + at] = payload[at]! ^ mask[at % MASK_BYTES]!;
  return frame;
}

function joined(parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
