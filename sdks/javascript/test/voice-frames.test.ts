import assert from "node:assert/strict";
import { test } from "node:test";
import { BINARY, FrameReader, PING, TEXT, frameOf } from "../src/voice/frames.ts";

/** What a server sends: the same frame without its mask. */
function served(opcode: number, payload: Uint8Array<ArrayBuffer>, isFinal = true): Uint8Array {
  const masked = frameOf({ opcode, payload });
  const head = masked.slice(0, masked.length - payload.length - 4);
  head[0] = (isFinal ? 0x80 : 0) | opcode;
  head[1]! &= 0x7f;
  return Uint8Array.from([...head, ...payload]);
}

const bytes = (length: number) => Uint8Array.from({ length }, (_, at) => at % 256);

for (const length of [0, 125, 126, 65_535, 65_536]) {
  test(`it reads what it writes, ${length} bytes, in whatever pieces`, () => {
    const frame = served(BINARY, bytes(length));
    const reader = new FrameReader();
    const early = [...frame.subarray(0, 12)].flatMap((byte) => reader.add(Uint8Array.of(byte)));
    const messages = [...early, ...reader.add(frame.subarray(12)), ...reader.add(frame)];
    const expected = { opcode: BINARY, payload: bytes(length) };
    assert.deepEqual(messages, [expected, expected]);
  });
}

test("what it writes is masked, as servers insist", () => {
  const frame = frameOf({ opcode: TEXT, payload: bytes(6) });
  assert.deepEqual([...frame.subarray(0, 2)], [0x81, 0x86]);
  const unmasked = frame.subarray(6).map((byte, at) => byte ^ frame[2 + (at % 4)]!);
  assert.deepEqual(unmasked, bytes(6));
});

test("it puts a message together that comes in frames, with others between them", () => {
  const reader = new FrameReader();
  const parts = [
    served(TEXT, bytes(3), false),
    served(PING, bytes(1)),
    served(0, bytes(2), false),
    served(0, bytes(1)),
  ];
  assert.deepEqual(parts.flatMap((part) => reader.add(part)), [
    { opcode: PING, payload: bytes(1) },
    { opcode: TEXT, payload: Uint8Array.of(0, 1, 2, 0, 1, 0) },
  ]);
});

test("it refuses what is no WebSocket's, and what is far too large", () => {
  const masked = frameOf({ opcode: TEXT, payload: bytes(3) });
  const huge = Uint8Array.of(0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0);
  const stray = served(0, bytes(3));
  for (const [frame, code] of [[masked, 1002], [stray, 1002], [huge, 1009]] as const) {
    assert.throws(() => new FrameReader().add(frame), { code });
  }
});
