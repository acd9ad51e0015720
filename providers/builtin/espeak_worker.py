"""The process in which espeak-ng (GPL-3.0) lives: text in, 22 050 Hz PCM out, over a pipe.

Run as `python -m providers.builtin.espeak_worker PARENT_PID`. The product never loads the library
itself. This program can be replaced by any other that speaks the frames of `pipe.py`.
"""

from __future__ import annotations

import ctypes
import json
from typing import Any

import espeakng_loader

from providers.builtin import pipe

_SYNCHRONOUS = 2
_CHUNK_MS = 50
_UTF8 = 1
_RATE, _PITCH = 1, 3
_OK = 0
SAMPLE_RATE_HZ = 22_050
# The first piece goes out at once; later ones grow, so that a long text is not many small frames.
_FIRST_BYTES = SAMPLE_RATE_HZ * 2 * 40 // 1000
_LATER_BYTES = SAMPLE_RATE_HZ * 2 * 200 // 1000

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class Synthesiser:
    """espeak-ng, sending what it makes down the pipe until something new arrives there."""

    def __init__(self, line: pipe.Pipe) -> None:
        self._pipe = line
        self._number = 0
        self._made = bytearray()
        self._enough = _FIRST_BYTES
        self._is_aborted = False
        self._library: Any = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        rate_hz = self._library.espeak_Initialize(_SYNCHRONOUS, _CHUNK_MS, data, 0)
        if rate_hz != SAMPLE_RATE_HZ:
            raise SystemExit(f"espeak-ng could not be initialised ({rate_hz})")
        self._callback = _Callback(self._on_audio)
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, number: int, request: dict[str, Any]) -> None:
        """Speaks the request's segments, each with its own voice."""
        self._number, self._is_aborted = number, False
        self._made.clear()
        self._enough = _FIRST_BYTES
        self._library.espeak_SetParameter(_RATE, request["rate"], 0)
        self._library.espeak_SetParameter(_PITCH, request["pitch"], 0)
        for voice, text in request["segments"]:
            if self._is_aborted:
                return
            if not self._say(voice, text):
                self._pipe.send(pipe.FAILED, number, json.dumps({"voice": voice}).encode())
                return
        if not self._is_aborted:
            self._flush()
            self._pipe.send(pipe.END, number)

    def _say(self, voice: str, text: str) -> bool:
        if self._library.espeak_SetVoiceByName(voice.encode()) != _OK:
            return False
        data = text.encode() + b"\0"
        status = self._library.espeak_Synth(data, len(data), 0, 1, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        return bool(status == _OK)

    def _on_audio(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            self._made += ctypes.string_at(samples, count * 2)
            if len(self._made) >= self._enough:
                self._flush()
        # Whatever arrives while we speak means: stop.
        self._is_aborted = self._is_aborted or self._pipe.has_news()
        return int(self._is_aborted)

    def _flush(self) -> None:
        if self._made:
            self._pipe.send(pipe.AUDIO, self._number, bytes(self._made))
            self._made.clear()
            self._enough = _LATER_BYTES


def main() -> None:
    line = pipe.Pipe()
    synthesiser = Synthesiser(line)
    # The first word of a voice loads its dictionary; not while somebody waits.
    for voice, word in (("en-us", "a"), ("cmn", "一"), ("yue", "一")):
        synthesiser.speak(0, {"rate": 175, "pitch": 50, "segments": [[voice, word]]})
    line.send(pipe.READY, 0)
    for kind, number, payload in line.frames():
        if kind == pipe.BEGIN:
            synthesiser.speak(number, json.loads(payload))


if __name__ == "__main__":
    try:
        main()
    except ConnectionError:
        raise SystemExit(0) from None
