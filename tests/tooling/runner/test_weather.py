"""The weather, from a service that answers as Open-Meteo does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tooling.runner.service import Asked, Reply, Service, as_json, serving
from tooling.builtin.open_meteo import _geocoder
from tooling.redaction import REDACTED
from tooling.runner import run_tool
from tooling.types import Backend, BuiltinTarget, ToolContext, ToolResult, ToolSpec

KEY = "om-key-123456"


def place(name: str, admin1: str | None, country: str, code: str, **more: Any) -> dict[str, Any]:
    """As the geocoding API gives one, with what we do not read."""
    return {
        "id": 4409896, "name": name, "latitude": 37.21533, "longitude": -93.29824,
        "elevation": 396.0, "feature_code": "PPLA2", "country_code": code, "admin1": admin1,
        "timezone": "America/Chicago", "population": 166810, "country": country, **more,
    }  # fmt: skip


SPRINGFIELDS = [
    place("Springfield", "Missouri", "United States", "US"),
    place("Springfield", "Massachusetts", "United States", "US", latitude=42.1),
    place("Springfield", "Illinois", "United States", "US"),
    place("Springfield", "Illinois", "United States", "US"),
    place("West Springfield", "Virginia", "United States", "US"),
]
FORECAST = {
    "latitude": 37.2, "longitude": -93.3, "generationtime_ms": 0.1, "utc_offset_seconds": -18000,
    "timezone": "America/Chicago", "timezone_abbreviation": "CDT", "elevation": 396.0,
    "current_units": {"time": "iso8601", "temperature_2m": "°C"},
    "current": {
        "time": "2026-05-04T14:15", "interval": 900, "temperature_2m": 18.0,
        "apparent_temperature": 17.46, "relative_humidity_2m": 60, "precipitation": 0.0,
        "weather_code": 3, "wind_speed_10m": 12.2,
    },
    "daily": {
        "time": ["2026-05-04", "2026-05-05", "2026-05-06"],
        "weather_code": [61, 95, None],
        "temperature_2m_max": [19.5, 22.1, None],
        "temperature_2m_min": [9.0, -1.0, None],
        "precipitation_sum": [2.1, 0.0, None],
        "precipitation_probability_max": [80, None, None],
        "wind_speed_10m_max": [21.3, 9.9, None],
    },
}  # fmt: skip


def answering(places: dict[str, list[dict[str, Any]]], forecast: Any = FORECAST) -> Any:
    """Places by `language:name`, and one forecast for all of them."""

    def answer(asked: Asked) -> Reply:
        if asked.path == "/v1/forecast":
            return as_json(forecast)
        assert asked.path == "/v1/search"
        found = places.get(f"{asked.query['language']}:{asked.query['name']}")
        # The service leaves the list out where it found nothing.
        return as_json(
            {"results": found, "generationtime_ms": 0.5} if found else {"generationtime_ms": 0.5}
        )

    return answer


async def weather(
    service: Service | str, city: str, *, language: str = "en", key: str = ""
) -> ToolResult:
    base_url = service if isinstance(service, str) else service.url
    spec = ToolSpec(
        id="weather",
        name="Weather",
        description="",
        parameters={"type": "object"},
        defaults={},
        executor="server",
        wait_for_response=True,
        timeout_ms=10_000,
        target=BuiltinTarget("weather", Backend("open_meteo", base_url, key)),
    )
    context = ToolContext(owner_id=1, assistant_id="a", language=language, time_zone="UTC")
    return await run_tool(spec, {"city": city}, context)


async def test_it_tells_the_weather_now_and_of_the_next_days(service: Service) -> None:
    service.answer = answering({"en:Springfield": SPRINGFIELDS[:1]})
    result = await weather(service, "Springfield")
    assert result.code == 200
    assert result.output.splitlines() == [
        "Springfield, Missouri, United States, now (14:15 local time): overcast, 18 °C, feels like "
        "17.5 °C, humidity 60%, precipitation 0 mm, wind 12.2 km/h.",
        "Today (2026-05-04): light rain, 9 to 19.5 °C, precipitation 2.1 mm, chance of "
        "precipitation 80%, wind up to 21.3 km/h.",
        "Tomorrow (2026-05-05): thunderstorm, -1 to 22.1 °C, precipitation 0 mm, wind up to "
        "9.9 km/h.",
    ]
    query = service.last.query
    assert (query["latitude"], query["longitude"]) == ("37.21533", "-93.29824")
    assert query["timezone"] == "auto"
    assert "weather_code" in query["current"]
    assert "temperature_2m_max" in query["daily"]
    assert "apikey" not in query


async def test_it_tells_the_weather_in_chinese(service: Service) -> None:
    beijing = place("北京", "北京市", "中国", "CN")
    service.answer = answering({"zh:北京": [beijing]})
    result = await weather(service, "北京市", language="zh")
    assert result.code == 200
    assert result.output.startswith(
        "北京, 北京市, 中国，现在（当地时间14:15）：阴，18°C，体感17.5°C"
    )
    assert "今天 (2026-05-04)：小雨，9到19.5°C" in result.output
    assert "明天" in result.output
    assert [asked.query.get("name") for asked in service.asked] == ["北京市", "北京", None]


async def test_it_tells_of_other_places_of_the_name(service: Service) -> None:
    service.answer = answering({"en:Springfield": SPRINGFIELDS})
    result = await weather(service, "Springfield")
    last = result.output.splitlines()[-1]
    assert last.startswith(
        "There are other places of this name: Springfield, Massachusetts, United States; "
        "Springfield, Illinois, United States."
    )
    assert "West Springfield" not in result.output
    assert result.output.startswith("Springfield, Missouri")


@pytest.mark.parametrize(
    ("city", "language"),
    [
        ("Springfield, Massachusetts", "en"),
        ("springfield，massa", "en"),
        ("Springfield (Massachusetts)", "en"),
        ("Springfield, Massachusetts, US", "en"),
        ("Springfield, Massachusetts", "zh"),
    ],
)
async def test_it_takes_the_place_in_the_region(service: Service, city: str, language: str) -> None:
    chinese = [place("斯普林菲尔德", "密苏里州", "美国", "US")]
    name = city[:11]
    service.answer = answering({f"en:{name}": SPRINGFIELDS, f"zh:{name}": chinese})
    result = await weather(service, city, language=language)
    assert result.output.startswith("Springfield, Massachusetts, United States")
    assert service.last.query["latitude"] == "42.1"
    assert "同名" not in result.output


async def test_it_names_the_places_there_are_where_none_is_in_the_region(service: Service) -> None:
    service.answer = answering({"en:Springfield": SPRINGFIELDS})
    result = await weather(service, "Springfield, Bavaria")
    assert (result.output, result.code) == ("", 404)
    assert "Springfield, Missouri, United States; Springfield, Massachusetts" in result.message


@pytest.mark.parametrize(("language", "part"), [("en", "No place named"), ("zh", "没有找到")])
async def test_it_says_that_there_is_no_such_place(
    service: Service, language: str, part: str
) -> None:
    service.answer = answering({})
    result = await weather(service, "Nowhere", language=language)
    assert (result.output, result.code) == ("", 404)
    assert part in result.message
    assert "Nowhere" in result.message


@pytest.mark.parametrize("city", ["", "  ", "x" * 101])
async def test_it_asks_for_a_city(service: Service, city: str) -> None:
    result = await weather(service, city)
    assert result.code == 400
    assert service.asked == []


@pytest.mark.parametrize("city", ["Rome&latitude=1#", "../v1/forecast", "{city}", ",", "、"])
async def test_it_sends_a_name_as_a_name(service: Service, city: str) -> None:
    service.answer = answering({})
    assert (await weather(service, city)).code == 404
    assert {asked.path for asked in service.asked} == {"/v1/search"}
    assert all(
        set(asked.query) == {"name", "count", "language", "format"} for asked in service.asked
    )


@pytest.mark.parametrize(
    ("reply", "code", "message"),
    [
        (Reply(b"busy", 503), 502, "503 Service Unavailable"),
        (as_json({"error": True, "reason": "Daily limit exceeded"}, 429), 502, "429"),
        (Reply(b"<html>", content_type="text/html"), 502, "not JSON"),
        (as_json({"results": [{"name": "x"}]}), 502, "expected shape"),
        (as_json([1]), 502, "expected shape"),
        (Reply(breaks=True), 502, "broke off"),
    ],
)
async def test_it_says_that_the_service_fails(
    service: Service, reply: Reply, code: int, message: str
) -> None:
    service.answer = lambda _asked: reply
    result = await weather(service, "Rome")
    assert (result.output, result.code) == ("", code)
    assert result.message.startswith("The weather cannot be looked up at present. ")
    assert message in result.message


async def test_it_reaches_no_address_that_nobody_allowed(service: Service, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = []
    result = await weather(service, "Rome", language="zh")
    assert (result.output, result.code) == ("", 400)
    assert result.message.startswith("暂时无法查询天气。")
    assert service.asked == []


async def test_it_says_that_the_service_cannot_be_reached(service: Service) -> None:
    async with serving() as gone:
        pass
    result = await weather(gone, "Rome")
    assert (result.output, result.code) == ("", 502)
    assert result.message.endswith("The service cannot be reached.")


async def test_it_invents_no_weather_from_a_forecast_without_values(service: Service) -> None:
    empty = {"current": {"time": "2026-05-04T14:15"}, "daily": {"time": []}}
    service.answer = answering({"en:Springfield": SPRINGFIELDS[:1]}, empty)
    result = await weather(service, "Springfield")
    assert (result.output, result.code) == ("", 502)


async def test_it_sends_the_key_of_a_customer_and_shows_it_to_nobody(service: Service) -> None:
    service.answer = answering({"en:Springfield": [place(f"x {KEY}", None, "", "")]})
    result = await weather(service, "Springfield", key=KEY)
    assert [asked.query["apikey"] for asked in service.asked] == [KEY, KEY]
    assert result.output.startswith(f"x {REDACTED}, now")


@pytest.mark.parametrize(
    ("base_url", "geocoder"),
    [
        ("https://api.open-meteo.com", "https://geocoding-api.open-meteo.com"),
        ("https://customer-api.open-meteo.com", "https://customer-geocoding-api.open-meteo.com"),
        ("http://127.0.0.1:8080/meteo", "http://127.0.0.1:8080/meteo"),
        ("https://api.open-meteo.com.evil.example", "https://api.open-meteo.com.evil.example"),
    ],
)
def test_it_looks_names_up_where_the_service_does(base_url: str, geocoder: str) -> None:
    assert _geocoder(base_url) == geocoder


@pytest.mark.parametrize(
    "base_url",
    ["http://[::1", "http://127.0.0.1:99999", "http://127.0.0.1:x", "nonsense", "ftp://a", "http://",
     "http://a b", "http://\ud800", "http://" + "a" * 300, "http://xn--a.example", "http://a..b"],
)  # fmt: skip
@pytest.mark.usefixtures("service")
async def test_it_says_that_its_address_is_none(base_url: str) -> None:
    result = await weather(base_url, "Rome")
    assert result.output == ""
    assert result.code in {400, 502}
