"""Tools that are a request to somebody's service, asked for real."""

from __future__ import annotations

import base64
import dataclasses
import json
import logging
from typing import Any

import pytest

from core.errors import InvalidRequest
from tests.tooling.runner.service import Reply, Service, as_json, moved, serving
from tooling.http_tool import Prepared, prepared
from tooling.placeholders import host_of
from tooling.redaction import REDACTED
from tooling.runner import MAX_RESULT_BYTES, run_tool, try_tool
from tooling.types import HttpTarget, Secret, ToolContext, ToolResult, ToolSpec

CONTEXT = ToolContext(owner_id=1, assistant_id="a", language="en", time_zone="UTC")
KEY = "sk-4711/secret+value"


def spec(target: HttpTarget | None, *, timeout_ms: int = 5000, **fields: Any) -> ToolSpec:
    parameters = {"type": "object", "properties": {"order_id": {"type": "string"}}}
    values = {"parameters": parameters, "defaults": {}, **fields}
    return ToolSpec(
        id="orders",
        name="Orders",
        description="",
        executor="server",
        wait_for_response=True,
        timeout_ms=timeout_ms,
        target=target,
        **values,
    )


async def call(
    target: HttpTarget, arguments: dict[str, Any] | None = None, **more: Any
) -> ToolResult:
    return await run_tool(spec(target, **more), arguments or {}, CONTEXT)


def with_key(target: HttpTarget, host: str | None = None) -> HttpTarget:
    secret = Secret("api_key", host or host_of(target.url), KEY)
    return dataclasses.replace(target, secrets=(secret,))


# --- The request ---------------------------------------------------------------------------------


async def test_it_looks_an_order_up(service: Service) -> None:
    service.answer = lambda _asked: as_json({"data": {"state": "已发货", "items": [1, 2]}})
    target = HttpTarget("GET", f"{service.url}/orders/{{order_id}}?lang={{lang}}")
    result = await call(target, {"order_id": "A 1/2", "lang": "zh", "detail": ["a", "b"]})
    assert result == ToolResult('{"data": {"state": "已发货", "items": [1, 2]}}')
    assert service.last.method == "GET"
    assert service.last.target == "/orders/A%201%2F2?lang=zh&detail=a&detail=b"
    assert service.last.body == b""
    assert service.last.headers["user-agent"] == "ai-video-assistant"
    assert "cookie" not in service.last.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_it_sends_what_no_placeholder_took_as_json(service: Service, method: Any) -> None:
    target = HttpTarget(method, f"{service.url}/orders/{{order_id}}")
    result = await call(target, {"order_id": "1", "note": "käse", "count": 2, "gift": None})
    assert result.code == 200
    assert (service.last.method, service.last.target) == (method, "/orders/1")
    assert service.last.json == {"note": "käse", "count": 2, "gift": None}
    assert service.last.headers["content-type"] == "application/json"


async def test_it_sends_the_rest_of_a_delete_in_the_query(service: Service) -> None:
    await call(HttpTarget("DELETE", f"{service.url}/orders"), {"order_id": "1"})
    assert (service.last.method, service.last.target) == ("DELETE", "/orders?order_id=1")


async def test_it_fills_a_template_for_the_body(service: Service) -> None:
    target = HttpTarget(
        "POST",
        f"{service.url}/graphql",
        headers={"Content-Type": "application/graphql+json"},
        body='{"query": "order", "variables": {"id": "{order_id}", "first": {first}}}',
    )
    await call(target, {"order_id": '"x', "first": 3, "other": "left out"})
    assert service.last.json == {"query": "order", "variables": {"id": '"x', "first": 3}}
    assert service.last.headers["content-type"] == "application/graphql+json"


async def test_it_fills_secrets_in_wherever_they_are_named(service: Service) -> None:
    target = HttpTarget(
        "POST",
        f"{service.url}/{{api_key}}?key={{api_key}}",
        headers={"X-Api-Key": "{api_key}", "X-User": "{who}"},
        body='{"key": "{api_key}"}',
    )
    result = await call(with_key(target), {"who": "Zoë", "api_key": "the model's"})
    assert result.code == 200
    assert service.last.target == "/sk-4711%2Fsecret%2Bvalue?key=sk-4711%2Fsecret%2Bvalue"
    assert service.last.headers["x-api-key"] == KEY
    assert service.last.headers["x-user"] == "Zo%C3%AB"
    assert service.last.json == {"key": KEY}


async def test_it_takes_a_placeholder_in_an_argument_for_text(service: Service) -> None:
    target = with_key(HttpTarget("GET", f"{service.url}/x?q={{q}}", headers={"X-Q": "{q}"}))
    await call(target, {"q": "{api_key}"})
    assert service.last.query == {"q": "{api_key}"}
    assert service.last.headers["x-q"] == "{api_key}"


async def test_it_sends_a_secret_to_its_host_only(service: Service) -> None:
    target = HttpTarget("GET", f"{service.url}/x", headers={"Authorization": "Bearer {api_key}"})
    assert (await call(with_key(target))).code == 200
    assert service.last.headers["authorization"] == f"Bearer {KEY}"
    asked = len(service.asked)
    result = await call(with_key(target, host="shop.example:443"))
    assert result.code == 400
    assert "{api_key} was entered for shop.example:443" in result.message
    assert service.host in result.message
    assert len(service.asked) == asked


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({"url": "https://{host}/x"}, {"host": "evil.example"}, "host of the address"),
        ({"url": "https://user:pw@shop.example/"}, {}, "name or a password"),
        ({"url": "ftp://shop.example/"}, {}, "Expected an address"),
        ({"url": "https://shop.example/{id}"}, {}, "no value for {id}"),
        ({"url": "https://shop.example/{id}"}, {"id": "../admin"}, "another path"),
        ({"headers": {"X-Id": "{id}"}}, {}, "no value for {id}"),
        ({"headers": {"Host": "other.example"}}, {}, "cannot be set"),
        ({"method": "POST", "body": "{id} {id}"}, {"id": 1}, "not JSON"),
        ({"url": "https://shop.example/{id}"}, {"id": "x" * 8000}, "arguments are too long"),
        ({"url": "https://shop.example/x"}, {"id": "x" * 8000}, "arguments are too long"),
    ],
)
def test_it_says_why_no_request_can_be_made(
    changes: dict[str, Any], arguments: dict[str, Any], message: str
) -> None:
    good = HttpTarget("POST", "https://shop.example/x")
    assert prepared(good, arguments).url == "https://shop.example/x"
    changes = {"method": "GET", **changes}
    with pytest.raises(InvalidRequest, match=message):
        prepared(dataclasses.replace(good, **changes), arguments)


def test_it_shows_no_secret_of_a_request() -> None:
    target = with_key(HttpTarget("GET", "https://shop.example/{api_key}"))
    request = prepared(target, {})
    assert isinstance(request, Prepared)
    assert KEY.split("/")[0] in request.url
    assert "sk-4711" not in repr(request) + repr(target) + repr(spec(target))


# --- The answer ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pointer", "output"),
    [
        ("/data/items/0", '{"name":"茶","price":1.5}'),
        ("/data/items/0/name", "茶"),
        ("/data/count", "1"),
        ("/data/none", "null"),
    ],
)
async def test_it_takes_a_part_of_the_answer(service: Service, pointer: str, output: str) -> None:
    answer = {"data": {"items": [{"name": "茶", "price": 1.5}], "count": 1, "none": None}}
    service.answer = lambda _asked: as_json(answer)
    assert await call(HttpTarget("GET", service.url, result_pointer=pointer)) == ToolResult(output)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (as_json({"data": {}}), "has no part “/data/items”"),
        (Reply(b"<p>hello</p>", content_type="text/html"), "not JSON"),
        (Reply(b"[" * 200_000), "not JSON"),
        (Reply(b""), "not JSON"),
    ],
)
async def test_it_says_that_the_part_is_missing(
    service: Service, reply: Reply, message: str
) -> None:
    service.answer = lambda _asked: reply
    result = await call(HttpTarget("GET", service.url, result_pointer="/data/items"))
    assert (result.output, result.code) == ("", 502)
    assert message in result.message


@pytest.mark.parametrize(
    ("status", "code", "line"),
    [(404, 404, "404 Not Found"), (500, 500, "500 Internal Server Error"), (429, 429, "429 Too"),
     (401, 401, "401 Unauthorized"), (304, 400, "304 Not Modified"), (599, 599, "599")],
)  # fmt: skip
async def test_it_passes_an_error_of_the_service_on(
    service: Service, status: int, code: int, line: str
) -> None:
    service.answer = lambda _asked: Reply(b'{"detail": "no such order"}', status)
    result = await call(HttpTarget("GET", service.url, result_pointer="/data"))
    assert result.code == code
    assert result.message.startswith(f"The service answered {line}")
    assert "no such order" in result.output or status == 304


@pytest.mark.parametrize(
    ("reply", "output"),
    [
        (Reply(b"", 204, content_type=""), ""),
        (Reply("中文".encode("gbk"), content_type="text/plain; charset=gbk"), "中文"),
        (Reply("é".encode("latin-1"), content_type="text/plain; charset=ISO-8859-1"), "é"),
        (Reply("\ufeffé".encode(), content_type="text/plain"), "é"),
        (Reply("é".encode(), content_type='text/plain; charset="nonsense"'), "é"),
        (Reply("é".encode(), content_type="text/plain; charset=punycode"), "é"),
        (Reply(b"\xff\xfe!", content_type="text/csv; charset=utf-8"), "\ufffd\ufffd!"),
        (Reply(b"<a/>", content_type="application/atom+xml"), "<a/>"),
        (Reply(b'{"a": 1}', content_type=""), '{"a": 1}'),
    ],
)
async def test_it_reads_text_of_every_kind(service: Service, reply: Reply, output: str) -> None:
    service.answer = lambda _asked: reply
    assert await call(HttpTarget("GET", service.url)) == ToolResult(output)


@pytest.mark.parametrize("type_", ["image/png", "application/octet-stream", "audio/mpeg"])
async def test_it_reads_nothing_that_is_not_text(service: Service, type_: str) -> None:
    service.answer = lambda _asked: Reply(b"\x89PNG", content_type=type_)
    result = await call(HttpTarget("GET", service.url))
    assert (result.output, result.code) == ("", 502)
    assert type_ in result.message
    service.answer = lambda _asked: Reply(b"\x89PNG", 503, content_type=type_)
    result = await call(HttpTarget("GET", service.url))
    assert (result.output, result.code) == ("", 503)


async def test_it_cuts_a_long_result_and_says_so(service: Service) -> None:
    service.answer = lambda _asked: Reply("二".encode() * 20_000, content_type="text/plain")
    result = await call(HttpTarget("GET", service.url))
    assert result.code == 200
    assert len(result.output.encode()) <= MAX_RESULT_BYTES
    assert result.output.endswith("[cut: the first 8000 of 60000 bytes are shown]")


async def test_it_stops_reading_after_a_mebibyte(service: Service) -> None:
    service.answer = lambda asked: Reply(
        b"x" * (1024 * 1024 + (asked.path == "/more")), content_type="text/plain"
    )
    assert (await call(HttpTarget("GET", service.url))).code == 200
    result = await call(HttpTarget("GET", f"{service.url}/more"))
    assert (result.output, result.code) == ("", 502)
    assert "larger than 1048576 bytes" in result.message


# --- Failures ------------------------------------------------------------------------------------


async def test_it_stops_waiting_after_the_time_limit(service: Service) -> None:
    service.answer = lambda _asked: Reply(hangs=True, body=b'{"a"')
    for target in (HttpTarget("GET", service.url), HttpTarget("POST", service.url)):
        result = await call(target, timeout_ms=100)
        assert (result.output, result.code) == ("", 504)
        assert result.message == "The service gave no answer within 0.1 s."


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_it_sends_nothing_twice(service: Service, method: Any) -> None:
    service.answer = lambda _asked: Reply(b'{"ok": true}', breaks=True)
    result = await call(HttpTarget(method, service.url))
    assert (result.output, result.code) == ("", 502)
    assert result.message == "The service's answer broke off."
    service.answer = lambda _asked: Reply(status=503)
    assert (await call(HttpTarget(method, service.url))).code == 503
    assert len(service.asked) == 2


async def test_it_says_that_nobody_listens(service: Service) -> None:
    async with serving() as other:
        url = other.url
    result = await call(HttpTarget("GET", url))
    assert (result.output, result.code) == ("", 502)
    assert result.message == "The service cannot be reached."


async def test_it_says_that_the_other_side_speaks_no_tls(service: Service) -> None:
    result = await call(HttpTarget("GET", service.url.replace("http:", "https:")))
    assert (result.code, result.message) == (502, "The service cannot be reached.")


async def test_it_reaches_no_address_that_nobody_allowed(service: Service, settings: Any) -> None:
    assert (await call(HttpTarget("GET", service.url))).code == 200
    settings.OUTBOUND_ALLOW = []
    # Over a connection of its own: the first one stays open.
    result = await call(HttpTarget("GET", service.url.replace("127.0.0.1", "127.1")))
    assert (result.output, result.code) == ("", 400)
    assert "not a public address" in result.message
    assert len(service.asked) == 1


# --- Redirects -----------------------------------------------------------------------------------


async def test_it_follows_a_redirect_within_the_service(service: Service) -> None:
    service.answer = lambda asked: moved("/new") if asked.path == "/old" else Reply()
    target = HttpTarget("GET", f"{service.url}/old", headers={"X-Api-Key": "{api_key}"})
    assert (await call(with_key(target))).code == 200
    assert service.last.path == "/new"
    assert service.last.headers["x-api-key"] == KEY


async def test_it_takes_no_secret_along_to_another_address(service: Service) -> None:
    async with serving() as other:
        service.answer = lambda _asked: moved(f"{other.url}/new")
        headers = {"X-Api-Key": "{api_key}", "Authorization": "literal", "X-Custom": "a"}
        target = HttpTarget("GET", f"{service.url}/old", headers=headers)
        assert (await call(with_key(target))).code == 200
        assert other.last.path == "/new"
        assert not {"x-api-key", "authorization", "x-custom"} & set(other.last.headers)
        assert KEY not in str(other.last)


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_it_takes_no_body_along_to_another_address(
    service: Service, status: int, method: Any
) -> None:
    async with serving() as other:
        here = "/new"
        service.answer = lambda asked: moved(here, status) if asked.path == "/old" else Reply()
        target = with_key(HttpTarget(method, f"{service.url}/old", body='{"k": "{api_key}"}'))
        assert (await call(target)).code == 200
        assert service.last.json == {"k": KEY}
        here = f"{other.url}/new"
        result = await call(target)
        assert (result.output, result.code) == ("", 400)
        assert "redirects" in result.message
        assert other.asked == []


@pytest.mark.parametrize("location", ["http://10.0.0.1/", "http://[::1]/", "//169.254.169.254/x"])
async def test_it_is_led_to_no_private_address(service: Service, location: str) -> None:
    service.answer = lambda _asked: moved(location)
    result = await call(HttpTarget("GET", service.url))
    assert (result.output, result.code) == ("", 400)
    assert "not a public address" in result.message


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "http://[/",
        "http://127.0.0.1:99999/",
        "http://xn--a.example/",
    ],
)
async def test_it_is_led_out_of_http_by_nobody(service: Service, location: str) -> None:
    service.answer = lambda _asked: moved(location)
    result = await call(HttpTarget("GET", service.url))
    assert result.output == ""
    assert result.code in {400, 502}


async def test_it_follows_three_redirects_at_most(service: Service) -> None:
    service.answer = lambda asked: moved("/again") if len(service.asked) < 4 else Reply()
    assert (await call(HttpTarget("GET", service.url))).code == 200
    service.asked.clear()
    service.answer = lambda _asked: moved("/again")
    result = await call(HttpTarget("GET", service.url))
    assert (result.code, result.message) == (502, "The service redirects too often.")
    assert len(service.asked) == 4


# --- Secrets in results --------------------------------------------------------------------------


async def test_it_shows_no_secret_that_a_service_echoes(service: Service) -> None:
    service.answer = lambda asked: as_json(
        {"headers": dict(asked.headers), "target": asked.target, "body": asked.body.decode()}
    )
    target = HttpTarget(
        "POST",
        f"{service.url}/x?key={{api_key}}",
        headers={"Authorization": "Bearer {api_key}", "X-Token": "literal-token-1", "X-Plain": "p"},
        body='{"key": "{api_key}"}',
    )
    result = await call(with_key(target))
    assert REDACTED in result.output
    for part in (KEY, "sk-4711", "secret%2B", "literal-token-1"):
        assert part not in result.output
    assert json.loads(result.output)["headers"]["x-plain"] == "p"
    service.answer = lambda _asked: Reply(f"wrong key {KEY}".encode(), 403, "text/plain")
    result = await call(with_key(target))
    assert (result.output, result.code) == (f"wrong key {REDACTED}", 403)


async def test_it_shows_no_password_of_a_credential_in_base64(service: Service) -> None:
    service.answer = lambda asked: Reply(
        b"hello " + base64.b64decode(asked.headers["authorization"].partition(" ")[2]),
        content_type="text/plain",
    )
    target = HttpTarget("GET", service.url, headers={"Authorization": "Basic {login}"})
    credential = base64.b64encode(b"shop:open-sesame").decode()
    secret = Secret("login", host_of(service.url), credential)
    result = await call(dataclasses.replace(target, secrets=(secret,)))
    assert (result.output, result.code) == (f"hello shop:{REDACTED}", 200)


async def test_it_shows_no_secret_between_nuls(service: Service) -> None:
    said = f"wrong key {KEY}".encode("utf-16-le")
    service.answer = lambda _asked: Reply(said, content_type="text/plain")
    result = await call(with_key(HttpTarget("GET", service.url)))
    assert result.output == f"wrong key {REDACTED}"


async def test_it_shows_no_half_of_a_secret_at_the_cut(service: Service) -> None:
    service.answer = lambda _asked: Reply(
        b"x" * 7940 + KEY.encode() * 40, content_type="text/plain"
    )
    result = await call(with_key(HttpTarget("GET", service.url)))
    assert "[cut:" in result.output
    assert "sk-4" not in result.output


async def test_it_logs_no_address_with_a_secret_in_it(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    target = with_key(HttpTarget("GET", f"{service.url}/x?key={{api_key}}"))
    assert (await call(target)).code == 200
    assert "sk-4711" in service.last.target
    assert "sk-4711" not in caplog.text


# --- Trying --------------------------------------------------------------------------------------


async def test_it_tries_a_tool_with_the_checks_of_a_conversation(service: Service) -> None:
    tried = spec(
        HttpTarget("GET", f"{service.url}/orders/{{order_id}}"),
        timeout_ms=1000,
        defaults={"order_id": "7", "lang": "en"},
    )
    assert (await try_tool(tried, {"lang": "zh"}, CONTEXT)).code == 200
    assert service.last.target == "/orders/7?lang=zh"
    result = await try_tool(tried, {"order_id": 7}, CONTEXT)
    assert result.code == 400
    assert "order_id" in result.message
    assert len(service.asked) == 1


async def test_it_stops_a_trial_after_the_time_limit(service: Service) -> None:
    service.answer = lambda _asked: Reply(hangs=True)
    result = await try_tool(spec(HttpTarget("GET", service.url), timeout_ms=50), {}, CONTEXT)
    assert (result.output, result.code) == ("", 504)


async def test_it_says_that_a_tool_without_an_address_is_not_configured() -> None:
    result = await try_tool(spec(None), {}, CONTEXT)
    assert (result.code, result.message) == (
        501,
        "The tool orders is not configured in this installation.",
    )
