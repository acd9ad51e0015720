"""The services that can stand behind the built-in tools which need one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from django.utils.translation import gettext as _

from core.addresses import checked_address
from core.errors import InvalidRequest
from tooling.models import ToolBackend

Vendor = ToolBackend.Vendor


@dataclasses.dataclass(frozen=True, slots=True)
class Service:
    """What a vendor's service serves; without a `usual_url` everybody runs their own."""

    tool_id: str
    usual_url: str = ""
    needs_key: bool = False


SERVICES: Mapping[Vendor, Service] = {
    Vendor.OPEN_METEO: Service("weather", "https://api.open-meteo.com"),
    Vendor.SEARXNG: Service("search"),
    Vendor.TAVILY: Service("search", "https://api.tavily.com", needs_key=True),
}
# Anybody may ask these: their tools work from the first start.
OPEN_VENDORS = tuple(
    vendor for vendor, service in SERVICES.items() if service.usual_url and not service.needs_key
)
SERVED_TOOLS = tuple(dict.fromkeys(service.tool_id for service in SERVICES.values()))


def check_backend(row: ToolBackend) -> None:
    """Puts the row's address into its stored form. Raises InvalidRequest naming the field."""
    service = SERVICES[Vendor(row.vendor)]
    if service.tool_id != row.tool_id:
        text = _("%(vendor)s cannot serve the tool %(tool)s.")
        values = {"vendor": row.get_vendor_display(), "tool": row.tool_id}
        raise InvalidRequest(text % values, param="vendor")
    row.base_url = checked_address(row.base_url, param="base_url") or service.usual_url
    if not row.base_url:
        text = _("%(vendor)s needs the address of your own installation.")
        raise InvalidRequest(text % {"vendor": row.get_vendor_display()}, param="base_url")
    if service.needs_key and not row.api_key:
        text = _("%(vendor)s needs an API key.") % {"vendor": row.get_vendor_display()}
        raise InvalidRequest(text, param="api_key")
