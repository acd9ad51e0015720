"""The tool `weather`: now and the next days, told in the assistant's language."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.utils.translation import gettext as _

from tooling.builtin.open_meteo import Days, Forecast, Now, Place, forecast_for, places_named
from tooling.builtin.weather_texts import TEXTS, WEEKDAYS, condition
from tooling.catalogue import Language
from tooling.outbound import Unanswered
from tooling.types import Backend, ToolContext, ToolResult

MAX_CITY_CHARS = 100
# Of the places of one name, those that are told beside the one that is meant.
MAX_OTHERS = 4
# 北京市 is listed as 北京, and Springfield City as Springfield.
_SUFFIX = re.compile(
    r"(?<=\w\w)(?:特别行政区|自治区|市|省|区|县)$|\s+(?:city|town)$", re.IGNORECASE
)
_SEPARATOR = re.compile(r"\s*[,，、;；(（)）]\s*")


@dataclasses.dataclass(frozen=True, slots=True)
class _Search:
    """The places of a name: those in the region that was asked for, and all of them."""

    fitting: Sequence[Place]
    all: Sequence[Place]


async def run(arguments: dict[str, Any], context: ToolContext, backend: Backend) -> ToolResult:
    """The weather of a city, which may be followed by its region: `Springfield, Missouri`."""
    language: Language = "zh" if context.language == "zh" else "en"
    city = " ".join(str(arguments.get("city", "")).split())
    if not city or len(city) > MAX_CITY_CHARS:
        message = _("Name a city, in at most %(count)d characters.")
        return ToolResult("", 400, message % {"count": MAX_CITY_CHARS})
    try:
        found = await _looked_up(city, language, backend)
        if not found.fitting:
            return ToolResult("", 404, _unknown(city, found.all, language))
        forecast = await forecast_for(found.fitting[0], backend=backend)
    except Unanswered as error:
        return ToolResult("", error.code, _say("unavailable", language, why=error.message))
    return ToolResult("\n".join(_lines(found.fitting, forecast, language)))


# --- Which place ---------------------------------------------------------------------------------


async def _looked_up(city: str, language: Language, backend: Backend) -> _Search:
    """The first search that finds the place: by its name, then by a shorter form of it."""
    name, *regions = [part for part in _SEPARATOR.split(city) if part] or [city]
    # Regions are named in the language that was asked in, which need not be that of the name.
    languages: tuple[Language, ...] = (language, "zh" if language == "en" else "en")
    seen: list[Place] = []
    for tried in dict.fromkeys((name, _SUFFIX.sub("", name))):
        for asked in languages if regions else languages[:1]:
            places = await places_named(tried, language=asked, backend=backend)
            fitting = [place for place in places if all(map(place.is_in, regions))]
            if fitting:
                return _Search(fitting, places)
            seen = seen or places
    return _Search((), seen)


def _of_same_name(places: Sequence[Place]) -> list[str]:
    """Others than the first that were perhaps meant: the service also lists similar names."""
    best, *rest = places
    labels = (each.label for each in rest if each.name.casefold() == best.name.casefold())
    return [label for label in dict.fromkeys(labels) if label != best.label][:MAX_OTHERS]


def _unknown(city: str, places: Sequence[Place], language: Language) -> str:
    if not places:
        return _say("unknown", language, city=city)
    labels = dict.fromkeys(place.label for place in places)
    return _say("elsewhere", language, city=city, places=_listed(list(labels)[:5], language))


# --- Telling -------------------------------------------------------------------------------------


def _lines(places: Sequence[Place], forecast: Forecast, language: Language) -> Iterator[str]:
    now = forecast.current
    yield _say(
        "now",
        language,
        place=places[0].label,
        time=now.time[11:16],
        facts=_facts(_of_now(now, language), language),
    )
    for position, date in enumerate(forecast.daily.time):
        facts = _facts(_of_day(forecast.daily, position, language), language)
        if facts:
            yield _say("day", language, day=_day_name(position, date, language), facts=facts)
    if others := _of_same_name(places):
        yield _say("others", language, places=_listed(others, language))


def _of_now(now: Now, language: Language) -> Iterator[str]:
    yield condition(now.weather_code, language)
    yield _quantity("temperature", language, now.temperature_2m)
    yield _quantity("feels_like", language, now.apparent_temperature)
    yield _quantity("humidity", language, now.relative_humidity_2m)
    yield _quantity("precipitation", language, now.precipitation)
    yield _quantity("wind", language, now.wind_speed_10m)


def _of_day(days: Days, position: int, language: Language) -> Iterator[str]:
    def at(values: Sequence[float | None]) -> float | None:
        return values[position] if position < len(values) else None

    code = at(days.weather_code)
    yield condition(None if code is None else int(code), language)
    yield _quantity("range", language, at(days.temperature_2m_min), at(days.temperature_2m_max))
    yield _quantity("precipitation", language, at(days.precipitation_sum))
    yield _quantity("probability", language, at(days.precipitation_probability_max))
    yield _quantity("wind_up_to", language, at(days.wind_speed_10m_max))


def _quantity(name: str, language: Language, *values: float | None) -> str:
    """The quantity in words; nothing where the service does not know it."""
    known = [f"{value:.1f}".removesuffix(".0") for value in values if value is not None]
    return TEXTS[name].get(language).format(*known) if len(known) == len(values) else ""


def _facts(facts: Iterable[str], language: Language) -> str:
    return TEXTS["between"].get(language).join(fact for fact in facts if fact)


def _day_name(position: int, date: str, language: Language) -> str:
    if position < 2:
        name = TEXTS[("today", "tomorrow")[position]].get(language)
    else:
        try:
            name = WEEKDAYS[datetime.date.fromisoformat(date).weekday()].get(language)
        except ValueError:
            return date
    return f"{name} ({date})"


def _listed(labels: Iterable[str], language: Language) -> str:
    return TEXTS["places_between"].get(language).join(labels)


def _say(name: str, language: Language, **values: str) -> str:
    return TEXTS[name].get(language).format(**values)
