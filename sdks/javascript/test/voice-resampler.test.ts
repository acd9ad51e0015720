import assert from "node:assert/strict";
import { test } from "node:test";
import { Resampler } from "../src/voice/audio/resampler.ts";

/** The length and the loudness of a tone of one second, of 16 kHz then. */
function heard(rate: number, hz: number): [length: number, rms: number] {
  const wave = (_: unknown, at: number) => Math.sin((2 * Math.PI * hz * at) / rate);
  const tone = Float32Array.from({ length: rate }, wave);
  const resampler = new Resampler(rate, 16_000);
  const out: number[] = [];
  for (let at = 0; at < rate; at += 128) {
    out.push(...resampler.process(tone.subarray(at, at + 128)));
  }
  out.push(...resampler.flush());
  const middle = out.slice(1000, -1000);
  return [out.length, Math.sqrt(middle.reduce((sum, x) => sum + x * x, 0) / middle.length)];
}

for (const rate of [44_100, 48_000, 96_000]) {
  test(`it keeps speech and drops what would fold into it, from ${rate} Hz`, () => {
    const [length, speech] = heard(rate, 1000);
    assert.equal(length, 16_000);
    assert.ok(Math.abs(speech - Math.SQRT1_2) < 0.007);
    const [, noise] = heard(rate, 10_000);
    assert.ok(noise < 0.001);
  });
}
