"""`/v1/models`: what a key may ask for, in the words of both vendors at once."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec

from accounts.keyring import KeyRecord
from gateway import directory
from gateway.exchange import Exchange
from gateway.types import PublicModel

OWNED_BY = "xiaoai"


async def answer(exchange: Exchange, record: KeyRecord, wanted: str) -> None:
    """The list, or the one model of that name, which the server has unquoted. Raises NotFound."""
    if wanted == "/v1/models":
        rows = [row(model) for model in await directory.listed(record)]
        body = {
            "object": "list",
            "data": rows,
            "has_more": False,
            "first_id": rows[0]["id"] if rows else None,
            "last_id": rows[-1]["id"] if rows else None,
        }
    else:
        body = row(await directory.find(record, wanted))
    await exchange.json(msgspec.json.encode(body))


def row(model: PublicModel) -> dict[str, Any]:
    """One model, as both vendors' libraries read it."""
    made = datetime.datetime.fromtimestamp(model.created, datetime.UTC)
    return {
        "id": model.name,
        "object": "model",
        "type": "model",
        "display_name": model.display_name,
        "created": model.created,
        "created_at": made.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "owned_by": OWNED_BY,
        "kind": model.kind,
    }
