"""Vectors, asked for and answered, as numbers and packed."""

from __future__ import annotations

import base64
import json
from typing import Any, Literal

import httpx2
import numpy as np
import openai
import pytest

from core.errors import InvalidRequest
from gateway.dialects.embeddings.decode import Vectors, decode_answer, decode_error
from gateway.dialects.embeddings.encode import encode_answer
from gateway.dialects.embeddings.relay import relay_answer, relay_request
from gateway.dialects.embeddings.schema import Asked, parse
from gateway.neutral import Failed, Usage

Format = Literal["float", "base64"]
VECTORS = [[0.25, -1.5, 3.0], [0.5, 2.0, -0.125]]


def asking(**fields: Any) -> bytes:
    return json.dumps({"model": "p", "input": ["a", "b"], **fields}).encode()


def asked(**fields: Any) -> Asked:
    return parse(asking(**fields))


def base64_of(vector: list[float]) -> str:
    return base64.b64encode(np.array(vector, dtype="<f4").tobytes()).decode()


def answered(*vectors: Any, **fields: Any) -> bytes:
    """An upstream's answer, with a blank here and there."""
    data = [
        {"object": "embedding", "index": index, "embedding": vector}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": 4, "total_tokens": 4}
    body = {"object": "list", "data": data, "model": "upstream", "usage": usage, **fields}
    return json.dumps(body, indent=1).encode()


def relayed(body: bytes, **fields: Any) -> tuple[bytes, Usage | None]:
    out = relay_answer(body, asked(**fields), public_model="p")
    assert not isinstance(out, Failed)
    return out


class TestRequests:
    @pytest.mark.parametrize(
        ("given", "texts", "count"),
        [
            ("a", ["a"], 1),
            (["a", "b"], ["a", "b"], 2),
            ([1, 2, 3], None, 1),
            ([[1, 2], [3]], None, 2),
            (["a"] * 2048, ["a"] * 2048, 2048),
        ],
    )
    def test_inputs_of_all_four_kinds_are_taken(
        self, given: Any, texts: list[str] | None, count: int
    ) -> None:
        assert (asked(input=given).texts, asked(input=given).count) == (texts, count)

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"input": ""}, "input"),
            ({"input": []}, "input"),
            ({"input": None}, "input"),
            ({"input": ["a", ""]}, "input[1]"),
            ({"input": [[1], []]}, "input[1]"),
            ({"input": ["a", 1]}, "input[1]"),
            ({"input": [-1]}, "input[0]"),
            ({"input": ["a"] * 2049}, "input"),
            ({"encoding_format": "int8"}, "encoding_format"),
            ({"dimensions": 0}, "dimensions"),
            ({"model": 1}, "model"),
        ],
    )
    def test_it_names_the_parameter_that_is_wrong(self, fields: Any, param: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            asked(**fields)
        assert caught.value.param == param

    def test_the_models_name_is_changed_and_nothing_else(self) -> None:
        body = asking(dimensions=3)
        pieces = relay_request(body, parse(body), model="upstream")
        assert b"".join(pieces) == body.replace(b'"p"', b'"upstream"')


class TestAnswers:
    @pytest.mark.parametrize("encoding", [None, "float", "base64"])
    @pytest.mark.parametrize("vectors", [VECTORS, np.array(VECTORS, dtype=np.float32)])
    def test_what_is_written_is_read_again(self, encoding: Format | None, vectors: Any) -> None:
        body = encode_answer(vectors, model="p", encoding=encoding, usage=Usage(4))
        again = decode_answer(body)
        assert isinstance(again, Vectors)
        assert [vector.tolist() for vector in again.vectors] == VECTORS
        assert again.usage == Usage(4)
        first = json.loads(body)["data"][0]["embedding"]
        assert first == (base64_of(VECTORS[0]) if encoding == "base64" else VECTORS[0])

    @pytest.mark.parametrize("encoding", ["float", "base64", None])
    def test_the_official_client_reads_it(self, encoding: Format | None) -> None:
        def answer(request: httpx2.Request) -> httpx2.Response:
            wanted = parse(request.content)
            body = encode_answer(
                VECTORS, model=wanted.model, encoding=wanted.encoding_format, usage=Usage(4)
            )
            return httpx2.Response(200, content=body, headers={"content-type": "application/json"})

        http_client = httpx2.Client(transport=httpx2.MockTransport(answer))
        with openai.OpenAI(
            api_key="k", base_url="http://gateway/v1", http_client=http_client
        ) as client:
            # Without a format, the client asks for base64 and unpacks it.
            how: Any = {} if encoding is None else {"encoding_format": encoding}
            read = client.embeddings.create(model="p", input=["a", "b"], **how)
        expected: Any = VECTORS if encoding != "base64" else [base64_of(each) for each in VECTORS]
        assert [item.embedding for item in read.data] == expected
        assert [item.index for item in read.data] == [0, 1]
        assert read.usage.prompt_tokens == 4

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html>",
            b"{}",
            b'{"data":[]}',
            b'{"data":[{"embedding":"%%%"}]}',
            b'{"data":[{"embedding":["a"]}]}',
            b'{"data":[{"embedding":{}}]}',
            b'{"data":[{"embedding":"AAA="}]}',
            b'{"error":{"message":"no"}}',
        ],
    )
    def test_what_has_no_vectors_failed(self, body: bytes) -> None:
        assert isinstance(decode_answer(body), Failed)

    def test_errors_are_shown_as_clients_can_use_them(self) -> None:
        assert decode_error(401, b"").status == 502
        assert decode_error(400, b'{"error":{"message":"too long"}}').status == 400


class TestPassingOn:
    @pytest.mark.parametrize("encoding", ["float", "base64"])
    def test_the_models_name_is_changed_and_nothing_else(self, encoding: Format) -> None:
        packed = [base64_of(vector) for vector in VECTORS]
        body = answered(*(packed if encoding == "base64" else VECTORS))
        out, usage = relayed(body, encoding_format=encoding)
        assert out == body.replace(b'"upstream"', b'"p"')
        assert usage == Usage(4)

    def test_numbers_are_packed_for_a_client_that_asked_for_it(self) -> None:
        out, usage = relayed(answered(*VECTORS), encoding_format="base64")
        read = json.loads(out)
        assert [each["embedding"] for each in read["data"]] == [base64_of(v) for v in VECTORS]
        assert (read["model"], usage) == ("p", Usage(4))

    def test_vectors_are_unpacked_for_a_client_that_wants_numbers(self) -> None:
        out, _ = relayed(answered(*(base64_of(vector) for vector in VECTORS)))
        assert [each["embedding"] for each in json.loads(out)["data"]] == VECTORS

    def test_vectors_are_put_in_the_order_of_the_inputs(self) -> None:
        data = [{"index": 1, "embedding": VECTORS[1]}, {"index": 0, "embedding": VECTORS[0]}]
        out, _ = relayed(answered(data=data))
        read = json.loads(out)["data"]
        assert [(each["index"], each["embedding"]) for each in read] == list(enumerate(VECTORS))

    def test_a_name_that_is_missing_is_added(self) -> None:
        data = [{"index": 0, "embedding": VECTORS[0]}, {"index": 1, "embedding": VECTORS[1]}]
        out, usage = relayed(json.dumps({"data": data}).encode())
        assert json.loads(out) == {"model": "p", "data": data}
        assert usage is None

    @pytest.mark.parametrize("vectors", [[], VECTORS[:1], [*VECTORS, VECTORS[0]]])
    def test_another_number_of_vectors_than_inputs_failed(self, vectors: Any) -> None:
        out = relay_answer(answered(*vectors), asked(), public_model="p")
        assert isinstance(out, Failed)
        assert out.status == 502
