"""A service of Open-Meteo's shape: places by name, and their weather.

https://open-meteo.com/en/docs and /en/docs/geocoding-api.
"""

from __future__ import annotations

from typing import Any, TypeVar

from django.utils.translation import gettext as _
from pydantic import BaseModel, ValidationError

from tooling.outbound import Answer, Unanswered, fetch
from tooling.placeholders import query_of
from tooling.types import Backend

STEP_TIMEOUT_S = 4.0
FORECAST_DAYS = 3
_CANDIDATES = 20
_CURRENT = ("temperature_2m", "apparent_temperature", "relative_humidity_2m", "precipitation",
            "weather_code", "wind_speed_10m")  # fmt: skip
_DAILY = ("weather_code", "temperature_2m_max", "temperature_2m_min", "precipitation_sum",
          "precipitation_probability_max", "wind_speed_10m_max")  # fmt: skip
# Open-Meteo itself looks names up on a host of its own; copies of it do all on one.
_GEOCODERS = {
    "https://api.open-meteo.com": "https://geocoding-api.open-meteo.com",
    "https://customer-api.open-meteo.com": "https://customer-geocoding-api.open-meteo.com",
}

Shape = TypeVar("Shape", bound=BaseModel)


class Place(BaseModel):
    """A place on earth, as the service names it in the language that was asked for."""

    name: str
    latitude: float
    longitude: float
    country: str = ""
    country_code: str = ""
    admin1: str | None = None
    admin2: str | None = None

    @property
    def label(self) -> str:
        """The place with its region and country."""
        parts = (self.name, self.admin1, self.country)
        return ", ".join(dict.fromkeys(part for part in parts if part))

    def is_in(self, region: str) -> bool:
        """Whether the region names where the place lies, or begins to."""
        wanted = region.casefold()
        names = (self.admin1, self.admin2, self.country)
        begins = any(name.casefold().startswith(wanted) for name in names if name)
        return begins or self.country_code.casefold() == wanted


class Now(BaseModel):
    """Metric; `time` is local, as ISO 8601 without a zone."""

    time: str
    temperature_2m: float
    apparent_temperature: float | None = None
    relative_humidity_2m: float | None = None
    precipitation: float | None = None
    weather_code: int | None = None
    wind_speed_10m: float | None = None


class Days(BaseModel):
    """A list per quantity, an item per day; `time` holds the dates."""

    time: list[str]
    weather_code: list[int | None] = []
    temperature_2m_max: list[float | None] = []
    temperature_2m_min: list[float | None] = []
    precipitation_sum: list[float | None] = []
    precipitation_probability_max: list[float | None] = []
    wind_speed_10m_max: list[float | None] = []


class Forecast(BaseModel):
    """The weather of one place: now, and from today on."""

    current: Now
    daily: Days


class _Found(BaseModel):
    results: list[Place] = []


async def places_named(name: str, *, language: str, backend: Backend) -> list[Place]:
    """The places of about that name, the best first. Raises Unanswered."""
    query = {"name": name, "count": _CANDIDATES, "language": language, "format": "json"}
    answer = await _asked(_geocoder(backend.base_url), "/v1/search", query, backend)
    return _read(_Found, answer).results


async def forecast_for(place: Place, *, backend: Backend) -> Forecast:
    """The weather now and of today and the next two days. Raises Unanswered."""
    query = {
        "latitude": place.latitude,
        "longitude": place.longitude,
        "current": ",".join(_CURRENT),
        "daily": ",".join(_DAILY),
        "timezone": "auto",
        "forecast_days": FORECAST_DAYS,
    }
    return _read(Forecast, await _asked(backend.base_url, "/v1/forecast", query, backend))


async def _asked(base_url: str, path: str, query: dict[str, Any], backend: Backend) -> Answer:
    if backend.api_key:
        query = {**query, "apikey": backend.api_key}
    answer = await fetch("GET", f"{base_url}{path}?{query_of(query)}", timeout_s=STEP_TIMEOUT_S)
    if not answer.is_success:
        message = _("The service answered %(status)s.") % {"status": answer.status_line}
        raise Unanswered(502, message)
    return answer


def _read(shape: type[Shape], answer: Answer) -> Shape:
    try:
        return shape.model_validate(answer.json())
    except ValidationError:
        raise Unanswered(502, _("The service's answer is not of the expected shape.")) from None


def _geocoder(base_url: str) -> str:
    for address, geocoder in _GEOCODERS.items():
        if base_url == address or base_url.startswith(f"{address}/"):
            return geocoder + base_url.removeprefix(address)
    return base_url
