"""The tool `current_time`."""

from __future__ import annotations

import datetime
import zoneinfo
from functools import lru_cache
from typing import Any

from tooling.types import ToolContext, ToolResult


@lru_cache(maxsize=1)
def _zones() -> dict[str, str]:
    return {name.lower(): name for name in zoneinfo.available_timezones()}


async def run(arguments: dict[str, Any], context: ToolContext) -> ToolResult:
    """The time in the asked time zone (an IANA name), else in the assistant's."""
    asked = str(arguments.get("timezone") or context.time_zone)
    # Looked up in the list of known names: ZoneInfo itself would open files by what it is given.
    zone = _zones().get(asked.strip().lower())
    if zone is None:
        return ToolResult(
            "", 400, f"Unknown time zone {asked[:80]!r}: use an IANA name such as Asia/Shanghai."
        )
    now = datetime.datetime.now(zoneinfo.ZoneInfo(zone))
    return ToolResult(f"{now.isoformat(timespec='seconds')} ({now:%A}, {zone})")
