"""What a fresh installation contains, and what every start brings up to date."""

from __future__ import annotations

import dataclasses
import secrets
from pathlib import Path

from django.conf import settings
from django.db import transaction

from accounts.actions import create_api_key
from accounts.models import User
from assistants.actions import create_demo_assistant
from assistants.models import Assistant
from config.supervisor.secrets import write_private
from config.vendors import add_named_vendors
from providers.catalogue import sync_builtin_models
from tooling.catalogue import sync_builtin_tools

OPERATOR = "admin"
LOGIN_FILE = "first-login.txt"


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What was done, as lines for the operator, and the example assistants that are there."""

    lines: list[str]
    demos: list[Assistant]


@transaction.atomic
def prepare() -> Prepared:
    """Brings the built-in rows up to date; on an empty database also makes the operator.

    The file with the login is written before the rows are committed, so that there is never an
    operator whose password nobody was told.
    """
    sync_builtin_tools()
    sync_builtin_models()
    lines = [f"added {name}, named by the environment" for name in add_named_vendors()]
    if not User.objects.filter(is_staff=True).exists():
        create_demo_assistant()
        lines.append(f"operator {OPERATOR!r}, password and key in {_make_operator()}")
    demos = Assistant.objects.filter(owner=None, pk__startswith="demo").order_by("pk")
    return Prepared(lines, list(demos))


def _make_operator() -> Path:
    password = secrets.token_urlsafe(15)
    user = User.objects.named(OPERATOR) or User(username=OPERATOR)
    user.is_staff = user.is_superuser = user.is_active = True
    user.set_password(password)
    user.save()
    _, key = create_api_key(user, name="first start")
    path = settings.DATA_DIR / LOGIN_FILE
    write_private(path, f"username: {user.username}\npassword: {password}\nAPI key: {key}\n")
    return Path(path)
