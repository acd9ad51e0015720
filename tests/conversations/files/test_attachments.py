"""What comes along with a message: read from our own links and folders only, within limits."""

from __future__ import annotations

import asyncio
import io
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from accounts.models import User
from accounts.principals import Principal, principal_for_user
from conversations.files import attachments, images, reading
from conversations.files.attachments import (
    documents_of,
    image_rows,
    images_of,
    read_link,
    shortened,
)
from conversations.files.folder import UserFolder
from core.db import in_db
from core.errors import AppError, InvalidRequest, NotFound, PayloadTooLarge, Unavailable
from knowledge.links import signed_url
from knowledge.parse import ocr_is_installed
from providers.tokens import estimate_tokens
from tests.knowledge.api.conftest import make_base, make_document, make_upload
from tests.knowledge.parse.made import lines, pdf

BASE = "https://files.example"
# Only where images are read does anybody look into one.
NO_PICTURE = "damaged" if ocr_is_installed() else "OCR"
TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif", "WEBP": "image/webp"}


def picture(kind: str = "PNG", size: tuple[int, int] = (30, 20), **options: Any) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", size, "red").save(written, kind, **options)
    return written.getvalue()


def bomb(side: int) -> bytes:
    """A small PNG that says it is a large square."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IEND\xaeB`\x82"


@pytest.fixture
def owner(alice: User) -> Principal:
    return principal_for_user(alice)


async def row_of(owner: Principal, user: User, name: str, content: bytes) -> Any:
    upload = await in_db(make_upload, user, name, content)
    return await read_link(owner, signed_url(BASE, upload))


# --- What an image is --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "exif": b"Exif\0\0" + b"\0" * 2000}),
        ("GIF", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0" + b"\0" * 20}),
    ],
)
def test_it_knows_an_image_and_its_size(
    kind: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = picture(kind, (300, 20), **options)
    assert images.checked(data) == TYPES[kind]
    monkeypatch.setattr(images, "MAX_PIXELS", 300 * 20)
    assert images.checked(data) == TYPES[kind]
    monkeypatch.setattr(images, "MAX_PIXELS", 300 * 20 - 1)
    with pytest.raises(PayloadTooLarge):
        images.checked(data)


@pytest.mark.parametrize("kind", TYPES)
def test_it_refuses_an_image_that_is_cut_off(kind: str) -> None:
    data = picture(kind)
    for length in range(10):
        with pytest.raises(InvalidRequest):
            images.checked(data[:length])
    assert images.checked(data) == TYPES[kind]


def test_it_refuses_an_image_that_would_unfold(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(bomb(50_000)) < 100
    with pytest.raises(PayloadTooLarge):
        images.checked(bomb(50_000))
    with pytest.raises(InvalidRequest):
        images.checked(bomb(0))
    assert images.checked(bomb(100)) == "image/png"
    monkeypatch.setattr(images, "MAX_IMAGE_BYTES", 40)
    with pytest.raises(PayloadTooLarge):
        images.checked(bomb(100))


@pytest.mark.parametrize(
    "data",
    [b"", b"Some notes.", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"BM" + b"\0" * 60],
)
def test_it_takes_nothing_else_for_an_image(data: bytes) -> None:
    assert images.media_type_of(data) is None
    with pytest.raises(InvalidRequest):
        images.checked(data)


# --- Links -------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
class TestLinks:
    async def test_it_reads_a_text(self, owner: Principal, alice: User) -> None:
        upload = await in_db(make_upload, alice, "会议.txt", "第一行\nsecond".encode("gb18030"))
        row = await read_link(owner, signed_url(BASE, upload))
        assert row == {
            "kind": "text",
            "name": "会议.txt",
            "source": f"upload:{upload.pk}",
            "media_type": "text/plain",
            "text": "第一行\nsecond",
        }
        (document,) = documents_of([row])
        assert (document.name, document.text) == ("会议.txt", "第一行\nsecond")

    async def test_it_reads_a_document(self, owner: Principal, alice: User) -> None:
        made = pdf(lambda canvas: lines(canvas, ["Press the red button."]))
        row = await row_of(owner, alice, "manual.pdf", made)
        assert row["text"] == "Press the red button."

    async def test_it_takes_an_image_as_one_whatever_it_is_called(
        self, owner: Principal, alice: User
    ) -> None:
        for name, kind in (("a.png", "PNG"), ("a.txt", "JPEG"), ("a.pdf", "GIF")):
            data = picture(kind)
            row = await row_of(owner, alice, name, data)
            assert (row["kind"], row["media_type"], row["text"]) == ("image", TYPES[kind], "")
            assert documents_of([row]) == ()
            (part,) = await in_db(images_of, [row], owner_id=alice.pk)
            assert (part.data, part.media_type) == (data, TYPES[kind])

    async def test_it_reads_nothing_of_others(
        self, owner: Principal, alice: User, bob: User
    ) -> None:
        mine = await in_db(make_upload, alice)
        foreign = await in_db(make_upload, bob)
        document = await in_db(lambda: make_document(make_base(alice)))
        url = signed_url(BASE, mine)
        forged = [
            signed_url(BASE, foreign),
            signed_url(BASE, document),
            url[:-1] + ("a" if url[-1] != "a" else "b"),
            url.replace("exp=", "exp=9"),
            url.replace(mine.pk, foreign.pk),
            "http://127.0.0.1/files/a.txt",
            "https://example.com/notes.txt",
            "file:///etc/passwd",
            "http://[",
            "",
            "x" * 5000,
        ]
        for address in forged:
            with pytest.raises(NotFound) as caught:
                await read_link(owner, address)
            assert caught.value.error_code == "UPLOAD_NOT_FOUND"
        assert (await read_link(owner, url))["text"] == "Some notes."

    async def test_it_reads_no_link_that_has_expired(
        self, owner: Principal, alice: User, settings: Any
    ) -> None:
        upload = await in_db(make_upload, alice)
        settings.FILE_LINK_HOURS = -1
        expired = signed_url(BASE, upload)
        settings.FILE_LINK_HOURS = 1
        with pytest.raises(NotFound):
            await read_link(owner, expired)
        await read_link(owner, signed_url(BASE, upload))

    async def test_an_operator_has_own_uploads_only(self, carol: User, alice: User) -> None:
        operator = principal_for_user(carol)
        with pytest.raises(NotFound):
            await row_of(operator, alice, "notes.txt", b"Some notes.")
        assert (await row_of(operator, carol, "notes.txt", b"Some notes."))["kind"] == "text"

    async def test_it_says_that_the_file_is_gone(self, owner: Principal, alice: User) -> None:
        upload = await in_db(make_upload, alice)
        Path(upload.file.path).unlink()
        with pytest.raises(NotFound):
            await read_link(owner, signed_url(BASE, upload))

    @pytest.mark.parametrize(
        ("name", "content", "error"),
        [
            ("a.txt", bytes(range(256)) * 10, "not contain text"),
            ("a.pdf", b"%PDF-1.4 and nothing more", "damaged"),
            ("a.pdf", pdf(lambda canvas: canvas.showPage()), "No text|OCR"),
            ("a.bmp", b"BM" + b"\0" * 60, NO_PICTURE),
            ("a.txt", b"", "empty"),
            ("a.png", b"\x89PNG\r\n\x1a\n", "damaged"),
        ],
    )
    async def test_it_says_what_cannot_be_read(
        self, owner: Principal, alice: User, name: str, content: bytes, error: str
    ) -> None:
        with pytest.raises(InvalidRequest, match=error) as caught:
            await row_of(owner, alice, name, content)
        assert caught.value.param == "file_url"

    async def test_it_keeps_so_much_of_a_text(
        self, owner: Principal, alice: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(attachments, "MAX_TEXT_TOKENS", 100)
        row = await row_of(owner, alice, "long.txt", "字".encode() * 1000)
        assert row["text"] == ("字" * 100 + "\n[cut: the first 100 of 1000 characters are shown]")

    async def test_the_loop_goes_on_while_it_reads(self, owner: Principal, alice: User) -> None:
        upload = await in_db(make_upload, alice)
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticking = asyncio.create_task(tick())
        await read_link(owner, signed_url(BASE, upload))
        ticking.cancel()
        # A child process was started and ended meanwhile.
        assert ticks > 100


async def test_it_does_not_wait_for_readers_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "QUEUE_TIMEOUT_S", 0.05)
    release = threading.Event()
    busy = [asyncio.create_task(reading.off_the_loop(lambda _check: release.wait(60)))
            for _number in range(2)]  # fmt: skip
    await asyncio.sleep(0)
    try:
        with pytest.raises(Unavailable) as caught:
            await reading.off_the_loop(lambda _check: True)
        assert caught.value.retry_after
    finally:
        release.set()
        await asyncio.gather(*busy)
    assert await reading.off_the_loop(lambda _check: True)


async def test_reading_ends_when_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    began, ended = threading.Event(), threading.Event()

    def work(check: Any) -> None:
        began.set()
        try:
            while not ended.wait(0.001):
                check()
        finally:
            ended.set()

    running = asyncio.create_task(reading.off_the_loop(work))
    assert await asyncio.to_thread(began.wait, 10)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await asyncio.to_thread(ended.wait, 10)
    monkeypatch.setattr(reading, "READ_TIMEOUT_S", -1.0)
    ended.clear()
    with pytest.raises(InvalidRequest, match="too long"):
        await reading.off_the_loop(work)


@pytest.mark.parametrize("text", ["a" * 999, "字" * 999, "字a" * 500, "", "ab\n" * 50])
def test_it_shortens_to_tokens(text: str) -> None:
    for tokens in (1, 10, 100, 1000):
        short = shortened(text, tokens=tokens)
        kept, _mark, _rest = short.partition("\n[cut: ")
        assert text.startswith(kept)
        assert estimate_tokens(kept) <= tokens
        assert (short == text) is (estimate_tokens(text) <= tokens)


# --- Images of the user's folder ---------------------------------------------------------------


def test_it_takes_images_of_the_folder(folder: UserFolder) -> None:
    data = picture("JPEG")
    folder.save("photos/猫.jpg", [data])
    (row,) = image_rows(folder, ["./photos/猫.jpg"])
    assert row == {
        "kind": "image",
        "name": "猫.jpg",
        "source": "file:photos/猫.jpg",
        "media_type": "image/jpeg",
        "text": "",
    }
    (part,) = images_of([row], owner_id=7)
    assert part.data == data
    assert image_rows(folder, ["user_upload/photos/猫.jpg"]) == (row,)


def test_it_takes_no_other_files(folder: UserFolder, base: Path) -> None:
    folder.save("notes.txt", [b"Some notes."])
    folder.save("good.png", [picture()])
    UserFolder.of(8).save("secret.png", [picture()])
    (base / "7" / "link.png").symlink_to(base / "8" / "secret.png")
    expected: dict[str, type[AppError]] = {
        "notes.txt": InvalidRequest,
        "../8/secret.png": InvalidRequest,
        "user_upload/../../8/secret.png": InvalidRequest,
        "link.png": NotFound,
        "missing.png": NotFound,
        "": NotFound,
    }
    for path, error in expected.items():
        with pytest.raises(error):
            image_rows(folder, [path])
    assert image_rows(folder, ["good.png"])[0]["kind"] == "image"


def test_it_takes_so_many_images(folder: UserFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(11):
        folder.save(f"{number}.png", [picture()])
    paths = [f"{number}.png" for number in range(11)]
    assert len(image_rows(folder, paths[:10] + paths[:10])) == 10
    with pytest.raises(InvalidRequest):
        image_rows(folder, paths)
    monkeypatch.setattr(attachments, "MAX_IMAGES_BYTES", len(picture()) * 3)
    assert len(image_rows(folder, paths[:3])) == 3
    with pytest.raises(PayloadTooLarge):
        image_rows(folder, paths[:4])


@pytest.mark.django_db
def test_it_leaves_out_images_that_are_gone(folder: UserFolder, alice: User, bob: User) -> None:
    upload = make_upload(bob, "b.png", picture())
    foreign = {"kind": "image", "name": "b.png", "source": f"upload:{upload.pk}",
               "media_type": "image/png", "text": ""}  # fmt: skip
    mine = UserFolder.of(alice.pk)
    for name in ("a.png", "b.png", "c.png"):
        mine.save(name, [picture()])
    rows: Any = [*image_rows(mine, ["a.png", "b.png", "c.png"]), foreign]
    assert len(images_of(rows, owner_id=alice.pk)) == 3
    mine.delete("a.png")
    mine.save("b.png", [b"no image any more"])
    (left,) = images_of(rows, owner_id=alice.pk)
    assert left.data == picture()
    assert images_of(rows, owner_id=None) == ()
    assert len(images_of([foreign], owner_id=bob.pk)) == 1  # type: ignore[list-item]  # as stored
