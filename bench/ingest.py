"""How fast documents become searchable, and what memory that takes, through real workers.

    make bench BENCH=ingest      or      python -m bench.ingest --megabytes 30

Starts the product on an empty folder, sends documents as a client does, and reads from the rows
what each stage took. Stored chunks a second leave embedding out; the embedder is the built-in one.
Memory is the largest resident size that each process of a worker had, asked ten times a second;
"reader" is the child process that parses.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import os
import threading
import time
from collections.abc import Callable, Iterator

import psutil
import psycopg
from reportlab.pdfgen.canvas import Canvas

from bench.product import Product, running_product
from bench.synthetic import Corpus
from bench.voice import machine
from config.env import parse_lines

READY_WITHIN_S = 3_600.0
CHUNKS_A_SECOND, PDF_S, MEMORY_MB = 200, 2.0, 600
PDF_PAGES = 50
_LINES_PER_PAGE, _LINE_CHARS = 45, 80


@dataclasses.dataclass(frozen=True)
class Row:
    """What one document took, in seconds; `total_s` from its first byte sent to ready."""

    name: str
    size: int
    characters: int
    chunks: int
    parsing_s: float
    chunking_s: float
    embedding_s: float
    total_s: float

    @property
    def stored_a_second(self) -> float:
        return self.chunks / (self.parsing_s + self.chunking_s)

    def cells(self) -> list[str]:
        return [
            self.name,
            f"{self.size / 2**20:.2f} MB",
            f"{self.characters:,}",
            f"{self.chunks:,}",
            f"{self.parsing_s:.2f} s",
            f"{self.chunking_s:.2f} s",
            f"{self.stored_a_second:,.0f}/s",
            f"{self.embedding_s:.2f} s",
            f"{self.chunks / self.embedding_s:,.0f}/s",
            f"{self.total_s:.2f} s",
        ]


HEADINGS = [
    "document", "size", "characters", "chunks", "parse", "cut and store", "stored", "embed",
    "embedded", "sent to ready",
]  # fmt: skip


# --- Documents ---------------------------------------------------------------------------------


def plain_text(megabytes: float) -> bytes:
    """Paragraphs of Chinese and English in turn, as a text file."""
    parts: list[str] = []
    size = 0
    for sample in Corpus(dimensions=8).samples(10**9):
        parts.append(sample.text)
        size += len(sample.text.encode()) + 2
        if size >= megabytes * 2**20:
            break
    return "\n\n".join(parts).encode()


def pdf(pages: int) -> bytes:
    """Full pages of English text."""
    words = " ".join(sample.text for sample in Corpus(dimensions=8).samples(2_000)).split()
    latin = " ".join(word for word in words if word.isascii())
    lines = [latin[at : at + _LINE_CHARS] for at in range(0, len(latin), _LINE_CHARS)]
    buffer = io.BytesIO()
    canvas = Canvas(buffer)
    for page in range(pages):
        for number in range(_LINES_PER_PAGE):
            line = lines[(page * _LINES_PER_PAGE + number) % len(lines)]
            canvas.drawString(72, 780 - 16 * number, line)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


# --- Memory ------------------------------------------------------------------------------------


class Memory:
    """The largest resident size of each kind of worker process, watched in the background."""

    def __init__(self, data_folder: str) -> None:
        self._folder = data_folder
        self._kinds: dict[int, str] = {}
        self._is_over = threading.Event()
        self.peaks_mb: dict[str, float] = {}

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join()

    def _watch(self) -> None:
        workers = {name: self._worker(f"{name}@") for name in ("io", "parse")}
        while not self._is_over.wait(0.1):
            for name, worker in workers.items():
                self._note(f"worker {name}", worker)
                for child in worker.children(recursive=True):
                    self._note(self._kind_of(child, name), child)

    def _kind_of(self, child: psutil.Process, worker: str) -> str:
        """Asked once of each process: reading command lines all the time would cost as much."""
        if child.pid not in self._kinds:
            try:
                is_reader = "knowledge.parse.child" in child.cmdline()
            except psutil.Error:
                is_reader = False
            self._kinds[child.pid] = "reader" if is_reader else f"pool of {worker}"
        return self._kinds[child.pid]

    def _note(self, name: str, process: psutil.Process) -> None:
        with contextlib.suppress(psutil.Error):
            size = process.memory_info().rss / 2**20
            self.peaks_mb[name] = max(size, self.peaks_mb.get(name, 0))

    def _worker(self, word: str) -> psutil.Process:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                is_it = any(word in argument for argument in process.cmdline())
                if is_it and process.environ().get("DATA_DIR") == self._folder:
                    parent = process.parent()
                    is_child = parent is not None and any(
                        word in argument for argument in parent.cmdline()
                    )
                    if not is_child:
                        return process
        raise RuntimeError(f"no worker {word}")


# --- Measuring ---------------------------------------------------------------------------------


class Bench:
    """One product and one base in it."""

    def __init__(self, product: Product) -> None:
        self._product = product
        values = parse_lines((product.data / "runtime.env").read_text(encoding="utf-8"))
        self._database = psycopg.connect(values["DATABASE_URL"], autocommit=True)
        self._path = f"/knowledge-bases/{product.post('/knowledge-bases', name='Bench')['id']}"

    def measure(self, name: str, content: bytes) -> Row:
        """Sends a document and waits until it is ready."""
        began = time.monotonic()
        made = self._product.send_file(f"{self._path}/documents", name, content)
        self._await_ready(str(made["id"]))
        return self._row(str(made["id"]), time.monotonic() - began)

    def _await_ready(self, document_id: str) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while (found := self._status(document_id))[0] != "ready":
            if found[0] in ("failed", "cancelled") or time.monotonic() > deadline:
                raise RuntimeError(f"the document is {found[0]}: {found[1]}")
            time.sleep(0.05)

    def _status(self, document_id: str) -> tuple[str, str]:
        row = self._database.execute(
            "select status, error_message from knowledge_document where id = %s", [document_id]
        ).fetchone()
        assert row is not None
        return str(row[0]), str(row[1])

    def _row(self, document_id: str, total_s: float) -> Row:
        document = self._database.execute(
            "select name, size, char_count, chunks_total from knowledge_document where id = %s",
            [document_id],
        ).fetchone()
        assert document is not None
        name, size, characters, chunks = document
        return Row(
            name=name,
            size=size,
            characters=characters,
            chunks=chunks,
            parsing_s=self._stage_s(document_id, "parsing"),
            chunking_s=self._stage_s(document_id, "chunking"),
            embedding_s=self._stage_s(document_id, "embedding"),
            total_s=total_s,
        )

    def _stage_s(self, document_id: str, stage: str) -> float:
        row = self._database.execute(
            "select extract(epoch from sum(ended_at - started_at))::float"
            " from knowledge_stagerun where document_id = %s and stage = %s",
            [document_id, stage],
        ).fetchone()
        assert row is not None
        return float(row[0])

    def delete_s(self) -> float:
        """How long the base with all of it takes to be deleted."""
        began = time.monotonic()
        self._product.delete(self._path)
        return time.monotonic() - began


def _table(headings: list[str], rows: list[list[str]]) -> str:
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _verdict(what: str, value: str, is_reached: bool) -> list[str]:
    return [what, value, "yes" if is_reached else "NO"]


def run(megabytes: float, *, show: Callable[[str], None] = print) -> list[Row]:
    """Measures and prints; the rows of the table."""
    with running_product() as product:
        bench = Bench(product)
        show(f"machine: {machine()}")
        bench.measure("warm-up.txt", plain_text(0.01))
        memory = Memory(os.fspath(product.data))
        with memory.watched():
            rows = [
                bench.measure("short.txt", plain_text(0.005)),
                bench.measure("text.txt", plain_text(2)),
                bench.measure("pages.pdf", pdf(PDF_PAGES)),
                bench.measure("long.txt", plain_text(megabytes)),
                bench.measure("book.pdf", pdf(20 * PDF_PAGES)),
            ]
        _short, text, pages, long, _book = rows
        peak_mb = max(memory.peaks_mb.values())
        slowest = min(text.stored_a_second, long.stored_a_second)
        chunks = sum(row.chunks for row in rows)
        show(_table(HEADINGS, [row.cells() for row in rows]))
        peaks = sorted(memory.peaks_mb.items())
        show("")
        show(_table(["process", "peak memory"], [[name, f"{mb:.0f} MB"] for name, mb in peaks]))
        show("")
        verdicts = [
            _verdict(
                f"plain text stored at {CHUNKS_A_SECOND} chunks a second",
                f"{slowest:,.0f}/s",
                slowest >= CHUNKS_A_SECOND,
            ),
            _verdict(
                f"{PDF_PAGES} pages of PDF parsed in {PDF_S:.0f} s",
                f"{pages.parsing_s:.2f} s",
                pages.parsing_s < PDF_S,
            ),
            _verdict(
                f"memory of each process below {MEMORY_MB} MB",
                f"{peak_mb:.0f} MB",
                peak_mb < MEMORY_MB,
            ),
        ]
        show(_table(["to reach", "measured", "reached"], verdicts))
        show(f"\ndeleting the base with its {chunks:,} chunks: {bench.delete_s():.2f} s")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=float, default=30, help="size of the long text")
    run(parser.parse_args().megabytes)


if __name__ == "__main__":
    main()
