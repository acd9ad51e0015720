"""Values stay where they are put."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from core.errors import InvalidRequest
from tooling.placeholders import (
    fill_header,
    fill_json,
    fill_url,
    header_problem,
    host_of,
    is_sensitive,
    names_in,
    query_of,
    secret_parts,
)

NASTY = [
    "a b", "a/b?c=d&e#f", "50%", "%2e%2ex", "ä€二", '"quoted"', "back\\slash", "line\r\nbreak: x",
    "\0", "{name}", "{secret}", "${x}", "'; drop", "a+b", "😀", "\ud800",
]  # fmt: skip


def test_it_names_each_placeholder_once() -> None:
    assert names_in('{"a": "{first}", "b": {second}, "c": "{first}"} {} {1} { x }') == [
        "first",
        "second",
    ]


# --- Hosts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://API.Example.com/x", "api.example.com:443"),
        ("http://example.com", "example.com:80"),
        ("https://example.com:8443/{id}?q={q}", "example.com:8443"),
        ("https://bücher.example/", "xn--bcher-kva.example:443"),
        ("http://[::1]:8080/", "[::1]:8080"),
        ("HTTPS://example.com", "example.com:443"),
    ],
)
def test_it_tells_the_host_of_an_address(url: str, host: str) -> None:
    assert host_of(url) == host


@pytest.mark.parametrize(
    "url",
    [
        "", "example.com", "ftp://example.com/", "file:///etc/passwd", "https://", "https:///x",
        "https://{host}/", "https://api.{domain}/x", "https://example.com:{port}/",
        "https://user:password@example.com/", "https://example.com@127.0.0.1/",
        "http://127.0.0.1\\@example.com/", "https://exa mple.com/", "https://exa%6dple.com/",
        "https://example.com:0/", "https://example.com:99999/", "https://[::1/",
        "https://a.example/\x00", "https://a.example/\u200b",
    ],
)  # fmt: skip
def test_it_knows_no_host_of_what_is_no_plain_address(url: str) -> None:
    assert host_of("https://example.com/") == "example.com:443"
    with pytest.raises(InvalidRequest) as raised:
        host_of(url)
    assert raised.value.param == "http_url"


# --- Addresses -----------------------------------------------------------------------------------


def test_it_fills_paths_and_queries() -> None:
    url = fill_url(
        "https://shop.example/{area}/orders-{id}?lang={lang}&fixed=1&{key}=x#part",
        {"area": "a b", "id": 17, "lang": "zh&x=1", "key": "k="},
    )
    assert url == "https://shop.example/a%20b/orders-17?lang=zh%26x%3D1&fixed=1&k%3D=x"


@pytest.mark.parametrize("value", NASTY)
def test_it_keeps_a_value_in_its_segment_and_its_pair(value: str) -> None:
    template = "https://shop.example/orders/{value}/lines?v={value}&w=1"
    url = fill_url(template, {"value": value, "name": "NO", "secret": "NO"})
    path, _mark, query = url.removeprefix("https://shop.example").partition("?")
    assert path.count("/") == 3
    assert path.endswith("/lines")
    assert query.count("&") == 1
    assert query.endswith("&w=1")
    assert url.isascii()
    assert url.isprintable()
    assert " " not in url
    assert "NO" not in url


@pytest.mark.parametrize(
    "value",
    ["", ".", "..", "../admin", "a/../../admin", "..\\admin", "%2e%2e", "%2e%2e%2fadmin",
     "%252e%252e%252f", "a/.", None],
)  # fmt: skip
def test_it_lets_no_value_lead_to_another_path(value: Any) -> None:
    template = "https://shop.example/orders/{id}/lines"
    assert fill_url(template, {"id": "a..b"}) == "https://shop.example/orders/a..b/lines"
    with pytest.raises(InvalidRequest):
        fill_url(template, {"id": value})


def test_it_unescapes_a_value_only_as_often_as_servers_could() -> None:
    template = "https://shop.example/{id}"
    assert fill_url(template, {"id": "50%2525"}) == "https://shop.example/50%252525"
    started = time.process_time()
    # Each round takes off one of a hundred thousand.
    with pytest.raises(InvalidRequest):
        fill_url(template, {"id": "%" + "25" * 100_000})
    assert time.process_time() - started < 1


def test_it_lets_no_two_values_make_a_step_upwards() -> None:
    with pytest.raises(InvalidRequest):
        fill_url("https://shop.example/orders/{a}{b}/", {"a": ".", "b": "."})
    with pytest.raises(InvalidRequest):
        fill_url("https://shop.example/orders/.{a}/", {"a": "."})


def test_it_leaves_pairs_without_a_value_out_and_repeats_lists() -> None:
    url = "https://shop.example/?a={a}&b={b}&tag={tags}&none={none}&mixed=x{c}y&flag"
    filled = fill_url(url, {"b": None, "tags": ["x y", 2, True], "none": []})
    assert filled == "https://shop.example/?tag=x%20y&tag=2&tag=true&mixed=xy&flag"


def test_it_writes_arguments_as_a_query() -> None:
    assert query_of(
        {"q": "a b&c", "n": 1.5, "on": False, "no": None, "l": [1, "二"], "o": {"a": 1}}
    ) == ("q=a%20b%26c&n=1.5&on=false&l=1&l=%E4%BA%8C&o=%7B%22a%22%3A1%7D")


# --- Headers -------------------------------------------------------------------------------------


def test_it_fills_headers_with_secrets_as_they_are() -> None:
    line = fill_header("Bearer {key} for {who}", {"who": "Zoë 50%"}, verbatim={"key": "s%k=/+"})
    assert line == "Bearer s%k=/+ for Zo%C3%AB 50%25"


@pytest.mark.parametrize("value", NASTY)
def test_it_keeps_a_value_in_one_line_of_ascii(value: str) -> None:
    line = fill_header("x-{value}-y", {"value": value, "name": "NO"}, verbatim={"secret": "NO"})
    assert line.isascii()
    assert line.isprintable()
    assert line.startswith("x-")
    assert line.endswith("-y")
    assert "NO" not in line


@pytest.mark.parametrize("secret", ["a\r\nX-Other: b", "sécret", "\0"])
def test_it_sends_no_secret_that_is_no_line(secret: str) -> None:
    assert fill_header("{key}", {}, verbatim={"key": "plain"}) == "plain"
    with pytest.raises(InvalidRequest) as raised:
        fill_header("{key}", {}, verbatim={"key": secret})
    assert secret not in raised.value.message


def test_it_needs_the_values_of_headers() -> None:
    with pytest.raises(InvalidRequest, match=r"\{key\}"):
        fill_header("Bearer {key}", {}, verbatim={})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Authorization", True), ("X-Api-Key", True), ("apikey", True), ("Cookie", True),
        ("X-Auth", True), ("X-Amz-Security-Token", True), ("Ocp-Apim-Subscription-Key", True),
        ("X-Secret", True), ("Proxy-Authorization", True), ("X-Session-Id", True),
        ("Accept", False), ("Content-Type", False), ("X-Author", False), ("X-Keyboard", False),
        ("Accept-Language", False), ("X-Request-Id", False),
    ],
)  # fmt: skip
def test_it_knows_headers_that_hold_secrets(name: str, expected: bool) -> None:
    assert is_sensitive(name) is expected


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "a b", "", "x:y"])
def test_it_refuses_headers_that_are_ours_or_none(name: str) -> None:
    assert header_problem("X-Order") is None
    assert header_problem(name)


def test_it_keeps_a_credential_from_view_also_without_its_scheme() -> None:
    assert list(secret_parts("plain")) == ["plain"]
    assert list(secret_parts("Bearer abc")) == ["Bearer abc", "abc"]
    assert list(secret_parts("Basic dXNlcjpwYXNz")) == [
        "Basic dXNlcjpwYXNz",
        "dXNlcjpwYXNz",
        "pass",
    ]
    assert list(secret_parts("Basic not base64")) == ["Basic not base64", "not base64"]


# --- Bodies --------------------------------------------------------------------------------------


def test_it_fills_json() -> None:
    template = '{"id": "{id}", "n": {n}, "tags": {tags}, "note": "for {who}: {n}", "x": {x}}'
    body = fill_json(template, {"id": 'a"b', "n": 3, "tags": ["t", {"k": None}], "who": "Zoë\n"})
    assert json.loads(body) == {
        "id": 'a"b',
        "n": 3,
        "tags": ["t", {"k": None}],
        "note": "for Zoë\n: 3",
        "x": None,
    }


@pytest.mark.parametrize("value", [*NASTY[:-1], '", "admin": true, "x": "', "\\", '\\"'])
def test_it_keeps_a_value_in_its_text_or_place(value: str) -> None:
    body = fill_json(
        '{"text": "<{value}>", "plain": {value}, "escaped": "\\"{value}"}',
        {"value": value, "name": "NO", "secret": "NO"},
    )
    assert json.loads(body) == {"text": f"<{value}>", "plain": value, "escaped": f'"{value}'}


@pytest.mark.parametrize("template", ['{"a": "{a}"', "{a}{a}", "{'a': {a}}", '"{a}', "[" * 100_000])
def test_it_refuses_a_body_that_is_not_json(template: str) -> None:
    assert json.loads(fill_json("{a}", {"a": 1})) == 1
    with pytest.raises(InvalidRequest) as raised:
        fill_json(template, {"a": "x"})
    assert raised.value.param == "http_body"
