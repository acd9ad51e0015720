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
from assistants.task_agent import TASK_AGENT_ID, create_task_agent
from config.supervisor.secrets import write_private
from config.vendors import add_named_vendors, named_vendors
from gateway.first_models import create_first_models
from providers.catalogue import sync_builtin_models
from tooling.catalogue import sync_builtin_tools
from tooling.mcp.stdio_file import sync_stdio_servers

OPERATOR = "admin"
LOGIN_FILE = "first-login.txt"
VENDORS_FILE = "named-vendors.txt"
ROWS_FILE = "added-rows.txt"
# How the gateway's first names are noted there.
GATEWAY_ROWS = "gateway-models"


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What was done, as lines for the operator, and the example assistants that are there."""

    lines: list[str]
    demos: list[Assistant]


def prepare() -> Prepared:
    """Brings the built-in rows up to date; on an empty database also makes the operator.

    Vendors that the environment names are added once, and so are the agent of tasks and the first
    names of the gateway: which of them were, is kept in files, so that what was deleted does not
    come back.
    """
    vendors, rows = _noted(VENDORS_FILE), _noted(ROWS_FILE)
    prepared = _prepare(vendors, rows)
    # After the rows are committed: a vendor that is noted but not there would never be added.
    _note(VENDORS_FILE, vendors, {vendor.slug for vendor in named_vendors() if vendor.is_wanted})
    _note(ROWS_FILE, rows, {TASK_AGENT_ID, GATEWAY_ROWS})
    return prepared


def _noted(file: str) -> frozenset[str]:
    path = settings.DATA_DIR / file
    return frozenset(path.read_text().split()) if path.exists() else frozenset()


def _note(file: str, known: frozenset[str], added: set[str]) -> None:
    if not added <= known:
        text = "".join(f"{word}\n" for word in sorted(added | known))
        write_private(settings.DATA_DIR / file, text)


@transaction.atomic
def _prepare(known_vendors: frozenset[str], known_rows: frozenset[str]) -> Prepared:
    """The rows. The file with the login is written before they are committed, so that there is
    never an operator whose password nobody was told.
    """
    sync_builtin_tools()
    sync_stdio_servers()
    sync_builtin_models()
    if TASK_AGENT_ID not in known_rows:
        create_task_agent()
    if GATEWAY_ROWS not in known_rows:
        create_first_models()
    added = add_named_vendors(known_vendors)
    lines = [f"added {vendor.name}, named by the environment" for vendor in added]
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
