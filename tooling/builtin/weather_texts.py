"""How the weather is told, in both languages."""

from __future__ import annotations

from tooling.catalogue import Language, Text

TEXTS = {
    "unknown": Text(
        "No place named “{city}” was found. Give the plain name of a city, with its region or "
        "country after a comma where needed.",
        "没有找到名为“{city}”的地点。请只用城市名，必要时在逗号后加上所在地区或国家。",
    ),
    "elsewhere": Text(
        "There is no “{city}”. Places of that name: {places}.",
        "没有“{city}”。名称相同的地点有：{places}。",
    ),
    "unavailable": Text(
        "The weather cannot be looked up at present. {why}", "暂时无法查询天气。{why}"
    ),
    "now": Text(
        "{place}, now ({time} local time): {facts}.", "{place}，现在（当地时间{time}）：{facts}。"
    ),
    "day": Text("{day}: {facts}.", "{day}：{facts}。"),
    "others": Text(
        "There are other places of this name: {places}. If one of those was meant, look it up with "
        "its region.",
        "还有其他同名地点：{places}。如果用户指的是其中之一，请带上地区重新查询。",
    ),
    "today": Text("Today", "今天"),
    "tomorrow": Text("Tomorrow", "明天"),
    "between": Text(", ", "，"),
    "places_between": Text("; ", "；"),
    "temperature": Text("{0} °C", "{0}°C"),
    "feels_like": Text("feels like {0} °C", "体感{0}°C"),
    "range": Text("{0} to {1} °C", "{0}到{1}°C"),
    "humidity": Text("humidity {0}%", "湿度{0}%"),
    "wind": Text("wind {0} km/h", "风速{0}公里/小时"),
    "wind_up_to": Text("wind up to {0} km/h", "最大风速{0}公里/小时"),
    "precipitation": Text("precipitation {0} mm", "降水{0}毫米"),
    "probability": Text("chance of precipitation {0}%", "降水概率{0}%"),
}

WEEKDAYS = (
    Text("Monday", "星期一"),
    Text("Tuesday", "星期二"),
    Text("Wednesday", "星期三"),
    Text("Thursday", "星期四"),
    Text("Friday", "星期五"),
    Text("Saturday", "星期六"),
    Text("Sunday", "星期日"),
)

# WMO 4677, those codes that Open-Meteo uses.
_CONDITIONS = {
    0: Text("clear sky", "晴"),
    1: Text("mainly clear", "晴间少云"),
    2: Text("partly cloudy", "多云"),
    3: Text("overcast", "阴"),
    45: Text("fog", "雾"),
    48: Text("freezing fog", "冻雾"),
    51: Text("light drizzle", "小毛毛雨"),
    53: Text("drizzle", "毛毛雨"),
    55: Text("dense drizzle", "大毛毛雨"),
    56: Text("light freezing drizzle", "轻度冻毛毛雨"),
    57: Text("freezing drizzle", "冻毛毛雨"),
    61: Text("light rain", "小雨"),
    63: Text("rain", "中雨"),
    65: Text("heavy rain", "大雨"),
    66: Text("light freezing rain", "轻度冻雨"),
    67: Text("freezing rain", "冻雨"),
    71: Text("light snow", "小雪"),
    73: Text("snow", "中雪"),
    75: Text("heavy snow", "大雪"),
    77: Text("snow grains", "米雪"),
    80: Text("light rain showers", "小阵雨"),
    81: Text("rain showers", "阵雨"),
    82: Text("violent rain showers", "强阵雨"),
    85: Text("light snow showers", "小阵雪"),
    86: Text("heavy snow showers", "大阵雪"),
    95: Text("thunderstorm", "雷暴"),
    96: Text("thunderstorm with light hail", "雷暴伴小冰雹"),
    99: Text("thunderstorm with hail", "雷暴伴冰雹"),
}


def condition(code: int | None, language: Language) -> str:
    """What a WMO code means; nothing for one that is not used."""
    text = _CONDITIONS.get(code) if code is not None else None
    return text.get(language) if text else ""
