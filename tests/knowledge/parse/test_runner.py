"""The parent against a child that does anything at all."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from django.utils import translation
from pytest_django import Settings

from config.settings import BASE_DIR
from core.errors import UnsupportedMediaType
from knowledge.parse import FILE_TYPES, ParseFailed, file_type_of, parse_file, runner
from knowledge.parse.child import _READERS
from knowledge.parse.failures import FAILURES

# What every child of these tests can say: an answer as `wire` describes it.
PRELUDE = """
import array, json, os, signal, struct, sys, time
def say(header, numbers=(), text=""):
    head = json.dumps(header).encode()
    sys.stdout.buffer.write(struct.pack(">I", len(head)) + head)
    sys.stdout.buffer.write(array.array("I", numbers).tobytes() + text.encode())
    sys.stdout.flush()
def document(text, *numbers, **header):
    sizes = {"blocks": len(numbers) // 5, "page_count": None, "image_pages": []}
    say({**sizes, **header}, numbers, text)
"""


@pytest.fixture
def child(tmp_path: Path, settings: Settings) -> Path:
    """The file of a program that stands in for ours; what a test writes there is run."""
    folder = tmp_path / "knowledge" / "parse"
    folder.mkdir(parents=True)
    settings.BASE_DIR = tmp_path
    return folder / "child.py"


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "document.txt"
    path.write_text("anything")
    return path


def program(child: Path, code: str) -> None:
    child.write_text(PRELUDE + textwrap.dedent(code))


def failure(document: Path) -> ParseFailed:
    with pytest.raises(ParseFailed) as failed:
        parse_file(document, "txt")
    return failed.value


def children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def test_it_takes_an_answer_that_fits(child: Path, document: Path) -> None:
    program(child, """document("One.\\n\\nTwo.", 0, 0, 4, 7, 2, 1, 6, 10, 0, 0, page_count=9)""")
    parsed = parse_file(document, "txt")
    assert parsed.page_count == 9
    assert [(b.kind, b.page, b.level) for b in parsed.blocks] == [
        ("heading", 7, 2),
        ("paragraph", None, 0),
    ]


@pytest.mark.parametrize(
    "code",
    [
        "pass",
        "sys.stdout.write('hello')",
        "sys.stdout.buffer.write(b'\\xff' * 1000)",
        "say([])",
        "say({'reason': 'made up'})",
        "say({'reason': ['encrypted']})",
        "say({'blocks': -1, 'page_count': None, 'image_pages': []})",
        "say({'blocks': 10**9, 'page_count': None, 'image_pages': []})",
        "document('text', 99, 0, 4, 0, 0)",
        "document('text', 1, 0, 5, 0, 0)",
        "document('text', 1, 3, 2, 0, 0)",
        "document('text', 1, 0, 3, 0, 0, 1, 2, 4, 0, 0)",
        "document('text', 1, 0, 2, 0, 0)",
        "document('text', 1, 0, 1, 0, 0, 1, 3, 4, 0, 0)",
        "document('text', 1, 0, 4, 0, 0, page_count='many')",
        "document('text', 1, 0, 4, 0, 0, page_count=10**9)",
        "document('text', 1, 0, 4, 0, 0, page_count=1, image_pages=[2])",
        "document('te\\x00t', 1, 0, 4, 0, 0)",
    ],
)
def test_it_believes_no_answer_that_does_not_fit(code: str, child: Path, document: Path) -> None:
    program(child, code)
    failed = failure(document)
    assert (failed.code, failed.is_permanent) == ("broken", True)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", ("broken", True)),
        ("os.kill(os.getpid(), signal.SIGXCPU)", ("timed_out", True)),
        ("os.kill(os.getpid(), signal.SIGKILL)", ("out_of_memory", False)),
        ("sys.exit('MemoryError')", ("out_of_memory", True)),
        ("sys.exit(1)", ("broken", True)),
        ("say({'reason': 'encrypted'})", ("encrypted", True)),
    ],
)
def test_it_says_how_a_child_ended(
    code: str, expected: tuple[str, bool], child: Path, document: Path
) -> None:
    program(child, code)
    failed = failure(document)
    assert (failed.code, failed.is_permanent) == expected


def test_it_reads_no_more_than_an_honest_answer_has(
    child: Path, document: Path, settings: Settings
) -> None:
    settings.PARSE_MAX_CHARS = settings.PARSE_MAX_PAGES = 1000
    program(child, "while True: sys.stdout.write('x' * 100_000)")
    before, memory = children(), psutil.Process().memory_info().rss
    assert failure(document).code == "broken"
    assert children() == before
    assert psutil.Process().memory_info().rss - memory < 20 * 2**20


def test_it_does_not_drown_in_complaints(child: Path, document: Path) -> None:
    program(
        child,
        """
        sys.stderr.write("x" * 5_000_000)
        document("text", 1, 0, 4, 0, 0)
        """,
    )
    assert parse_file(document, "txt").text == "text"


@pytest.mark.parametrize("closes_its_output", [False, True])
def test_it_stops_a_child_that_hangs_with_all_that_it_started(
    closes_its_output: bool,
    child: Path,
    document: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.PARSE_TIMEOUT_S = 1
    monkeypatch.setattr(runner, "_EXIT_S", 0.2)
    program(
        child,
        f"""
        import subprocess
        subprocess.Popen(["sleep", "600"], stdout=2)
        if {closes_its_output}: os.close(1), os.close(2)
        time.sleep(600)
        """,
    )
    before = children()
    failed = failure(document)
    assert (failed.code, failed.is_permanent) == ("timed_out", False)
    psutil.wait_procs(children() - before, timeout=5)
    assert children() == before


def test_it_ends_the_child_when_the_one_who_waits_gives_up(
    child: Path, document: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_TICK_S", 0.05)
    program(child, "time.sleep(600)")
    ticks = []

    def give_up() -> None:
        ticks.append(time.monotonic())
        if len(ticks) == 3:
            raise KeyError("cancelled")

    before = children()
    with pytest.raises(KeyError, match="cancelled"):
        parse_file(document, "txt", on_wait=give_up)
    assert children() == before


def test_it_gives_a_child_nothing_of_its_own_environment(
    child: Path, document: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://secret")
    program(
        child,
        """
        text = json.dumps(sorted(os.environ))
        document(text, 1, 0, len(text), 0, 0)
        """,
    )
    names = json.loads(parse_file(document, "txt").text)
    assert "LANG" in names
    assert "DATABASE_URL" not in names


def test_it_says_so_when_no_child_can_be_started(
    document: Path, settings: Settings, tmp_path: Path
) -> None:
    settings.BASE_DIR = tmp_path / "nowhere"
    failed = failure(document)
    assert (failed.code, failed.is_permanent) == ("unavailable", False)


def test_it_says_that_a_file_is_gone(tmp_path: Path) -> None:
    assert failure(tmp_path / "gone.txt").code == "missing"


def confined(code: str) -> str:
    """What a program prints that has tied its hands as the child does."""
    prelude = (
        "from knowledge.parse.limits import confine\n"
        "from knowledge.parse.wire import Order\n"
        "import resource, socket, subprocess\n"
        "confine(Order('x', 'txt', False, 300, 7, 1, 1))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", prelude + textwrap.dedent(code)],
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("bytearray(400 * 2**20)", "MemoryError"),
        ("open('{there}', 'r+').write('x' * 100_000)", "File too large"),
        ("[open('/dev/null') for _ in range(100)]", "Too many open files"),
        ("socket.create_connection(('127.0.0.1', 1))", "PermissionError"),
        ("subprocess.run(['true'])", "PermissionError"),
    ],
)
def test_the_child_has_tied_its_hands(code: str, error: str, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.touch()

    assert confined("print('fine')") == "fine\n"
    assert error in confined(code.replace("{there}", str(there)))
    assert not there.read_bytes()


def test_the_child_dies_with_its_parent(tmp_path: Path) -> None:
    big = tmp_path / "big.html"
    big.write_text("<p>x<b>y</b></p>" * 2_000_000)
    code = f"""
import pathlib
from knowledge.parse import parse_file
parse_file(pathlib.Path({str(big)!r}), "html")
"""
    with psutil.Popen(
        [sys.executable, "-c", code],
        cwd=BASE_DIR,
        env={"DJANGO_SETTINGS_MODULE": "config.settings"},
    ) as parent:
        deadline = time.monotonic() + 20
        while not (found := parent.children()) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert found
        parent.kill()
        gone, alive = psutil.wait_procs(found, timeout=10)
        assert (len(gone), alive) == (1, [])


def test_every_type_has_a_reader_and_every_reason_a_message() -> None:
    assert set(_READERS) == set(FILE_TYPES)
    for reason in FAILURES:
        failed = ParseFailed(reason)
        assert failed.message.endswith((".", ")."))
        with translation.override("zh-hans"):
            assert failed.message


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.PDF", "pdf"), ("归档.tar.md", "md"), (" x.docx ", "docx"), ("..\\..\\a.txt", "txt")],
)
def test_it_takes_the_type_from_the_name(name: str, expected: str) -> None:
    assert file_type_of(name) == expected


@pytest.mark.parametrize("name", ["", "pdf", "a.exe", "a.pdf.exe", "a.", "a.pd\0f"])
def test_it_refuses_other_types_and_names_the_allowed_ones(name: str) -> None:
    with pytest.raises(UnsupportedMediaType, match=r"pdf, docx, .*html"):
        file_type_of(name)
