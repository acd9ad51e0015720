"""Recognition of text in images by rapidocr, where it is installed; its models come with it."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from typing import Any

from knowledge.parse.layout import Found, Line, Segment, Sizes, blocks

_MIN_SCORE = 0.5


class Ocr:
    """A recogniser, loaded at most once: it takes a second and 300 MB."""

    def __init__(self) -> None:
        rapidocr = importlib.import_module("rapidocr")
        self._engine = rapidocr.RapidOCR(params={"Global.log_level": "critical"})

    def blocks(self, image: object) -> Iterator[Found]:
        """The text of an array of pixels (height, width, BGR) as blocks in reading order."""
        result = self._engine(image)
        if result.boxes is None or result.txts is None:
            return
        segments = (
            _segment(text, box)
            for text, box, score in zip(result.txts, result.boxes, result.scores, strict=True)
            if text.strip() and score >= _MIN_SCORE
        )
        lines = _lines(segments)
        yield from blocks(lines, Sizes(lines))


def _segment(text: str, box: Any) -> Segment:
    """In the coordinates of `layout`: y upwards."""
    across, down = [float(point[0]) for point in box], [float(point[1]) for point in box]
    return Segment(text.strip(), min(across), max(across), -max(down), -min(down))


def _lines(segments: Iterable[Segment]) -> list[Line]:
    """Segments side by side are one line."""
    rows: list[list[Segment]] = []
    for segment in sorted(segments, key=lambda segment: -segment.top):
        row = rows[-1] if rows else None
        if row and min(segment.top, row[0].top) - max(segment.bottom, row[0].bottom) > 0.5 * min(
            segment.size, row[0].size
        ):
            row.append(segment)
        else:
            rows.append([segment])
    return [Line(tuple(sorted(row, key=lambda segment: segment.left))) for row in rows]
