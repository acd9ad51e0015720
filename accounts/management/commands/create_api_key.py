"""Makes an API key from the command line."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from accounts.actions import create_api_key
from accounts.models import Scope, User
from core.errors import AppError


def as_scopes(text: str) -> list[str]:
    scopes = [item.strip() for item in text.split(",") if item.strip()]
    unknown = [scope for scope in scopes if scope not in Scope.values]
    if unknown or not scopes:
        raise CommandError(
            f"--scopes: {', '.join(unknown) or 'none given'}; known are {', '.join(Scope.values)}"
        )
    return scopes


def as_expiry(text: str) -> datetime:
    """A moment, or the end of a day, in the server's time zone unless it names one."""
    try:
        moment = parse_datetime(text) if len(text) > 10 else None
        day = parse_date(text) if moment is None else None
    except ValueError:
        moment = day = None
    if day is not None:
        moment = datetime.combine(day, time.max)
    if moment is None:
        raise CommandError(f"--expires: {text!r} is no date such as 2030-12-31")
    if timezone.is_naive(moment):
        moment = timezone.make_aware(moment)
    if moment <= timezone.now():
        raise CommandError(f"--expires: {text} is over")
    return moment


def owner_named(username: str, *, may_create: bool) -> User:
    user = User.objects.named(username)
    if user is not None:
        return user
    if not may_create:
        raise CommandError(f"no user {username!r}; --create-user makes it")
    user = User(username=username)
    user.set_unusable_password()
    try:
        user.full_clean(exclude=["password"])
    except ValidationError as error:
        raise CommandError(f"{username!r}: {' '.join(error.messages)}") from None
    user.save()
    return user


class Command(BaseCommand):
    help = "Makes an API key and prints it, alone. It is shown only this once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", help="who the key belongs to")
        parser.add_argument("--name", default="command line", help="what the key is for")
        parser.add_argument("--scopes", help=f"of {','.join(Scope.values)}; all by default")
        parser.add_argument("--rpm", type=int, help="requests a minute, instead of the default")
        parser.add_argument("--expires", help="last day (2030-12-31) or moment; never by default")
        parser.add_argument("--create-user", action="store_true", help="make the user if missing")

    def handle(self, *args: Any, **options: Any) -> None:
        rpm: int | None = options["rpm"]
        if rpm is not None and rpm < 1:
            raise CommandError("--rpm: at least 1")
        scopes = as_scopes(options["scopes"]) if options["scopes"] is not None else None
        expires_at = as_expiry(options["expires"]) if options["expires"] else None
        try:
            owner = owner_named(options["username"], may_create=options["create_user"])
            _, key = create_api_key(
                owner,
                name=options["name"],
                scopes=scopes,
                requests_per_minute=rpm,
                expires_at=expires_at,
            )
        except OperationalError:
            raise CommandError(
                "the database does not answer: start the product with `make run`"
            ) from None
        except AppError as error:
            raise CommandError(error.message) from None
        self.stdout.write(key)
