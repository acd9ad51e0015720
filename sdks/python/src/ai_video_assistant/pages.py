"""Lists that the server gives page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from pydantic import BaseModel

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """One page of a list; `total` counts the entries of all pages.

    To go through all of them use the resource's `iterate`. Lists by offset have no page number.
    """

    items: list[T]
    total: int
    page: int | None = None
    page_size: int | None = None

    def __iter__(self) -> Iterator[T]:  # type: ignore[override]  # a page is its entries, not its fields
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> T:
        return self.items[index]
