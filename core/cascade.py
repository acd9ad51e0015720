"""What goes with a row that is deleted, asked of the database without loading it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

from django.db.models import (
    CASCADE,
    PROTECT,
    RESTRICT,
    ForeignKey,
    ManyToOneRel,
    Model,
    Q,
    QuerySet,
)

Key = ForeignKey[Any, Any]

# Who asks wants to know what is in the way, not all of it.
_MAX_NAMED = 20


class Cascade:
    """The rows that go with some rows of one model, and those that keep them from going."""

    def __init__(self, rows: Sequence[Model]) -> None:
        self._first = _concrete(type(rows[0]))
        self._ids = [row.pk for row in rows]
        # Of each model that loses rows, the keys by which it loses them.
        self._keys: dict[type[Model], list[Key]] = {self._first: []}
        self._guards: list[Key] = []
        waiting = [self._first]
        while waiting:
            for key in _keys_to(waiting.pop()):
                if key.remote_field.on_delete in (PROTECT, RESTRICT):
                    self._guards.append(key)
                elif key.remote_field.on_delete is CASCADE:
                    if key.model not in self._keys:
                        self._keys[key.model] = []
                        waiting.append(key.model)
                    self._keys[key.model].append(key)

    @property
    def models(self) -> list[type[Model]]:
        """The models that may lose rows, that of the first rows included."""
        return list(self._keys)

    def rows(self, model: type[Model]) -> QuerySet[Model]:
        """The rows of a model that go."""
        return model._base_manager.filter(self._goes(model))

    def in_the_way(self) -> list[Model]:
        """Some of the rows that stay, and need what would go."""
        found: list[Model] = []
        for key in self._guards:
            needing = key.model._base_manager.filter(self._by(key))
            if key.remote_field.on_delete is RESTRICT and key.model in self._keys:
                needing = needing.exclude(self._goes(key.model))
            found += needing[: _MAX_NAMED - len(found)]
        return found

    def _goes(self, model: type[Model], *below: type[Model]) -> Q:
        if model is self._first:
            return Q(pk__in=self._ids)
        condition = Q(pk__in=[])
        for key in self._keys[model]:
            # Rows that refer to each other in a circle end it.
            if _parent(key) not in (model, *below):
                condition |= self._by(key, model, *below)
        return condition

    def _by(self, key: Key, *below: type[Model]) -> Q:
        parent = _parent(key)
        return Q(**{f"{key.name}__in": parent._base_manager.filter(self._goes(parent, *below))})


def _keys_to(model: type[Model]) -> Iterator[Key]:
    for relation in model._meta.get_fields(include_hidden=True):
        is_key = relation.one_to_many or relation.one_to_one
        if is_key and relation.auto_created and not relation.concrete:
            yield cast(ManyToOneRel, relation).field


def _parent(key: Key) -> type[Model]:
    return _concrete(key.related_model)


def _concrete(model: Any) -> type[Model]:
    concrete: type[Model] = model._meta.concrete_model
    return concrete
