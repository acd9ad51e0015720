"""A folder for the users' folders that goes away, and alice's in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from accounts.models import User
from conversations.files.folder import UserFolder


@pytest.fixture(autouse=True)
def base(settings: Any, tmp_path: Path) -> Path:
    """Where this test's users have their folders."""
    settings.USER_FILES_DIR = tmp_path / "user_files"
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "user_files"


@pytest.fixture
def folder(base: Path) -> UserFolder:
    """The folder of user 7, who needs no row."""
    return UserFolder.of(7)


@pytest.fixture
def root(base: Path, folder: UserFolder) -> Path:
    """The same folder on the disk."""
    folder.usage()
    return base / "7"


@pytest.fixture
def alices(alice: User, base: Path) -> UserFolder:
    """The folder of alice."""
    return UserFolder.of(alice.pk)


def body_of(response: Any) -> bytes:
    """All that a streamed answer sends."""

    async def collected() -> bytes:
        return b"".join([piece async for piece in response.streaming_content])

    collect: Callable[[], bytes] = async_to_sync(collected)
    return collect()


def all_files(base: Path) -> set[str]:
    """Every file below the folder of folders, also those that no user sees."""
    return {str(path.relative_to(base)) for path in base.rglob("*") if path.is_file()}
