"""Every environment variable the product reads, in one table.

`settings.py` and the supervisor read variables through `read` only, so that a wrong value fails at
start with the variable's name, and the README's configuration table can be checked against `KNOWN`.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cryptography.fernet import Fernet

T = TypeVar("T")


class SettingError(SystemExit):
    """A variable has a value that cannot be used; the message names it."""


@dataclasses.dataclass(frozen=True)
class Variable:
    """One variable as the README documents it."""

    name: str
    default: str
    help: str
    is_secret: bool


KNOWN: dict[str, Variable] = {}
# What `manage.py up` generated or started, read from `<data-dir>/runtime.env`. Kept apart from
# os.environ, so that a child or a later `up` never mistakes it for a wish of the operator.
_RUNTIME: dict[str, str] = {}


def parse_lines(text: str) -> dict[str, str]:
    """The pairs of a file of NAME=value lines; comments and blank lines are passed over."""
    pairs = (line.split("=", 1) for line in text.splitlines() if not line.lstrip().startswith("#"))
    return {pair[0].strip(): pair[1].strip() for pair in pairs if len(pair) == 2}


def use_runtime_file(path: Path) -> None:
    """Values of this file hold where the environment says nothing. A missing file is none."""
    _RUNTIME.clear()
    try:
        _RUNTIME.update(parse_lines(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise SettingError(f"{path}: {error.strerror}") from None


def is_explicit(name: str) -> bool:
    """Whether the environment itself sets the variable, by value or by file."""
    return bool(os.environ.get(name) or os.environ.get(f"{name}_FILE"))


def as_bool(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"0", "false", "no", "off", ""}:
        return False
    raise ValueError("expected true or false")


def as_list(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def as_networks(text: str) -> list[str]:
    items = as_list(text)
    for item in items:
        try:
            ipaddress.ip_network(item)
        except ValueError:
            raise ValueError("expected addresses or CIDR such as 10.0.0.0/8") from None
    return items


def as_ports(text: str) -> list[int]:
    wanted = "expected port numbers between 1 and 65535, separated by commas"
    ports = [_whole(item, wanted) for item in as_list(text)]
    if not ports or any(not 0 < port < 65536 for port in ports):
        raise ValueError(wanted)
    return ports


def as_time_zone(text: str) -> str:
    if text not in zoneinfo.available_timezones():
        raise ValueError("expected a name such as Europe/Berlin")
    return text


def as_log_level(text: str) -> str:
    level = text.strip().upper()
    if level not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise ValueError("expected DEBUG, INFO, WARNING or ERROR")
    return level


def as_field_keys(text: str) -> list[str]:
    keys = as_list(text)
    try:
        for key in keys:
            Fernet(key)
    except ValueError:
        raise ValueError("expected Fernet keys: 32 random bytes in URL-safe base64") from None
    return keys


def url_with(*schemes: str) -> Callable[[str], str]:
    """A reader of addresses that begin with one of the schemes."""

    def as_url(text: str) -> str:
        if not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"expected an address that begins with {schemes[0]}://")
        return text

    return as_url


def _whole(text: str, wanted: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(wanted) from None


def _at_least(minimum: int) -> Callable[[str], int]:
    wanted = f"expected a whole number of at least {minimum}"

    def as_number(text: str) -> int:
        number = _whole(text, wanted)
        if number < minimum:
            raise ValueError(wanted)
        return number

    return as_number


as_count = _at_least(0)
positive = _at_least(1)


def read(
    name: str,
    cast: Callable[[str], T],
    *,
    default: str,
    help: str,
    is_secret: bool = False,
) -> T:
    """The value of a variable, or of the file that `NAME_FILE` points to when it is a secret.

    Raises SettingError, naming the variable, when the text cannot be read as what it should be.
    """
    KNOWN[name] = Variable(name, default, help, is_secret)
    text: str | None = os.environ.get(name)
    file_name = os.environ.get(f"{name}_FILE") if is_secret else None
    if text and file_name:
        raise SettingError(f"{name}: set either {name} or {name}_FILE, not both")
    if file_name:
        try:
            text = Path(file_name).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SettingError(f"{name}_FILE: {error.strerror}: {file_name}") from None
    text = text or _RUNTIME.get(name)
    try:
        return cast(text if text else default)
    except ValueError as error:
        if not is_secret:
            raise SettingError(f"{name} {text!r}: {error}") from None
        # Python's own complaints quote the value.
        reason = "not what is expected" if text and text in str(error) else str(error)
        raise SettingError(f"{name}: {reason}") from None
