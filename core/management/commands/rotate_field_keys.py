"""Moves stored secrets to the newest key."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection, models, transaction
from django.db.models.functions import Cast

from core.crypto import EncryptedTextField, rotate


def rotate_all() -> int:
    """Encrypts every stored secret anew under the first of FIELD_KEYS; returns how many."""
    return sum(
        _rotate_field(model, field)
        for model in apps.get_models()
        if not model._meta.proxy
        for field in model._meta.local_concrete_fields
        if isinstance(field, EncryptedTextField)
    )


def _rotate_field(model: type[models.Model], field: EncryptedTextField) -> int:
    # The token itself, not the secret behind it: only `rotate` needs to open it.
    rows = (
        model._base_manager.select_for_update()
        .annotate(token=Cast(field.name, models.TextField()))
        .exclude(token="")
        .values_list("pk", "token")
    )
    count = 0
    for key, token in rows:
        if token is None:
            continue
        _store_token(model, field, key, rotate(token))
        count += 1
    return count


def _store_token(
    model: type[models.Model], field: EncryptedTextField, key: object, token: str
) -> None:
    # Past the field, which would encrypt the token once more.
    quote = connection.ops.quote_name
    primary = model._meta.pk
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {quote(model._meta.db_table)} SET {quote(str(field.column))} = %s"  # noqa: S608
            f" WHERE {quote(str(primary.column))} = %s",
            [token, primary.get_db_prep_value(key, connection)],
        )


class Command(BaseCommand):
    help = (
        "Encrypts all stored secrets with the first key of FIELD_KEYS. Put the new key first, "
        "restart, run this, then remove the old key."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with transaction.atomic():
                count = rotate_all()
        except OperationalError:
            raise CommandError(
                "the database does not answer: start the product with `make run`"
            ) from None
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{count} secrets are encrypted with the newest key")
