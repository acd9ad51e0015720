"""Prompts with `{{variables}}` filled in. Pure: what time it is, the caller says."""

from __future__ import annotations

import datetime
import re
import zoneinfo

_VARIABLE = re.compile(r"\{\{\s*([A-Za-z_]\w{0,63})\s*\}\}")


def fill(text: str, variables: dict[str, str]) -> str:
    """The text with each known `{{name}}` replaced, once; unknown ones stay as they are.

    Values are never looked into again, so a caller's value cannot pull in another variable.
    """
    return _VARIABLE.sub(lambda found: variables.get(found[1], found[0]), text)


def with_builtins(
    variables: dict[str, str], *, time_zone: str, now: datetime.datetime
) -> dict[str, str]:
    """The caller's variables and the built-in ones: system_time and system_timezone.

    A caller's value wins: it knows the user's clock better than the server does.
    """
    local = now.astimezone(zoneinfo.ZoneInfo(time_zone))
    builtins = {
        "system_time": local.strftime("%Y-%m-%d %H:%M:%S"),
        "system_timezone": time_zone,
    }
    return {**builtins, **variables}
