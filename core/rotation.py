"""Moving stored secrets to the newest of `FIELD_KEYS`, table by table, a batch at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import models, transaction
from django.db.models import Value
from django.db.models.functions import Cast

from core.crypto import EncryptedJSONField, EncryptedTextField, encrypt, is_newest, rotate

BATCH_ROWS = 500

Model = type[models.Model]


@dataclasses.dataclass(slots=True)
class Moved:
    """What became of the secrets of one table. `unreadable` names `(primary key, field)`."""

    label: str
    moved: int = 0
    kept: int = 0
    unreadable: list[tuple[str, str]] = dataclasses.field(default_factory=list)


def encrypted_fields() -> dict[Model, list[str]]:
    """The names of all fields that hold secrets, by model, of every installed app."""
    found = {
        model: [
            field.name
            for field in model._meta.local_concrete_fields
            if isinstance(field, EncryptedTextField | EncryptedJSONField)
        ]
        for model in apps.get_models(include_auto_created=True)
        if not model._meta.proxy
    }
    return {model: names for model, names in found.items() if names}


def rotate_all(*, batch_rows: int = BATCH_ROWS) -> Iterator[Moved]:
    """Encrypts all secrets under the newest key and tells of each table when it is through.

    Every batch is a transaction of its own. What is under the newest key stays as it is, so a
    second run goes on where the first was stopped. A secret that no key opens is left alone and
    named. Raises ImproperlyConfigured when there is no usable newest key.
    """
    encrypt("FIELD_KEYS are there and usable")
    for model, names in encrypted_fields().items():
        yield _rotate_table(model, names, batch_rows)


def _rotate_table(model: Model, names: list[str], batch_rows: int) -> Moved:
    done = Moved(model._meta.label)
    after: Any = None
    while True:
        with transaction.atomic():
            rows = _batch(model, names, after, batch_rows)
            for key, *tokens in rows:
                _rotate_row(model, key, dict(zip(names, tokens, strict=True)), done)
        if len(rows) < batch_rows:
            return done
        after = rows[-1][0]


def _batch(model: Model, names: list[str], after: Any, batch_rows: int) -> list[tuple[Any, ...]]:
    """Primary keys and raw tokens of the next rows, locked: nobody changes them meanwhile."""
    # The tokens themselves, not the secrets behind them: only `rotate` needs to open those.
    tokens = {f"token_of_{name}": Cast(name, models.TextField()) for name in names}
    rows = model._base_manager.select_for_update(of=("self",)).order_by("pk").annotate(**tokens)
    if after is not None:
        rows = rows.filter(pk__gt=after)
    return list(rows.values_list("pk", *tokens)[:batch_rows])


def _rotate_row(model: Model, key: Any, tokens: dict[str, str | None], done: Moved) -> None:
    fresh = {}
    for name, token in tokens.items():
        if not token:
            continue
        if is_newest(token):
            done.kept += 1
            continue
        try:
            # As an expression it passes by the field, which would encrypt the token once more.
            fresh[name] = Value(rotate(token), output_field=models.TextField())
        except ImproperlyConfigured:
            done.unreadable.append((str(key), name))
    if fresh:
        model._base_manager.filter(pk=key).update(**fresh)
        done.moved += len(fresh)
