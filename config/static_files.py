"""Static files: collected when a source changed, and served from the web process."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.http import HttpRequest
from whitenoise.middleware import WhiteNoiseMiddleware


def fingerprint() -> str:
    """Changes whenever a source file is added, removed or edited."""
    digest = hashlib.sha256()
    for finder in get_finders():
        for name, storage in finder.list([]):
            found = Path(storage.path(name)).stat()
            digest.update(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def collect() -> bool:
    """Fills STATIC_ROOT when it is not up to date; whether there was anything to do."""
    stamp = Path(settings.STATIC_ROOT) / ".fingerprint"
    wanted = fingerprint()
    if stamp.exists() and stamp.read_text(encoding="ascii") == wanted:
        return False
    call_command("collectstatic", interactive=False, verbosity=0, clear=stamp.exists())
    stamp.write_text(wanted, encoding="ascii")
    return True


async def _pieces_of(content: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The same pieces, each read in a thread."""

    def read() -> bytes | None:
        return next(content, None)

    while piece := await sync_to_async(read, thread_sensitive=False)():
        yield piece


class StaticFilesMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc]  # whitenoise ships no types
    """WhiteNoise, streaming in the way that ASGI wants; its own would be read into memory first.

    Requests for anything else go by it without a thread, which WhiteNoise alone would need.
    """

    async_capable = True

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        return self._answer(request) if self.is_async else super().__call__(request)

    async def _answer(self, request: HttpRequest) -> Any:
        path = request.path_info
        if not path.startswith(self.static_prefix):
            return await self.get_response(request)
        look = self.find_file if self.autorefresh else self.files.get
        found = await sync_to_async(look)(path)
        if found is None:
            return await self.get_response(request)
        return await sync_to_async(self.serve)(found, request)

    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> Any:
        response = WhiteNoiseMiddleware.serve(static_file, request)
        if hasattr(request, "scope"):
            response.streaming_content = _pieces_of(iter(response.streaming_content))
        return response
