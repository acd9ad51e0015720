"""The Python libraries in a process of their own: reads calls from stdin, a line of JSON each.

A call is {"library", "address", "key", "options", "name", "body"}; its answer {"value", "pieces",
"request_id"}, or {"error": {"classes", "status", "message"}} with the pieces that came before it.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from typing import Any

import anthropic
import openai

PATIENCE_S = 20


def client(call: Any) -> Any:
    options = {"api_key": call["key"], "timeout": PATIENCE_S, **call["options"]}
    if call["library"] == "anthropic":
        return anthropic.Anthropic(base_url=call["address"], **options)
    return openai.OpenAI(base_url=call["address"] + "/v1", **options)


def messages_create(sdk: Any, body: Any, answer: Any) -> None:
    answer["value"] = sdk.messages.create(**body)


def messages_stream(sdk: Any, body: Any, answer: Any) -> None:
    with sdk.messages.stream(**body) as stream:
        for event in stream:
            if event.type == "text":
                answer["pieces"].append(event.text)
        answer["value"] = stream.get_final_message()


def messages_count(sdk: Any, body: Any, answer: Any) -> None:
    answer["value"] = sdk.messages.count_tokens(**body)


def chat_create(sdk: Any, body: Any, answer: Any) -> None:
    answer["value"] = sdk.chat.completions.create(**body)


def chat_stream(sdk: Any, body: Any, answer: Any) -> None:
    """The library's own accumulator reads it; the pieces are the chunks themselves."""
    with sdk.chat.completions.stream(**body) as stream:
        for event in stream:
            if event.type == "chunk":
                answer["pieces"].append(event.chunk.to_dict())
        answer["value"] = stream.get_final_completion()


def embeddings_create(sdk: Any, body: Any, answer: Any) -> None:
    answer["value"] = sdk.embeddings.create(**body)


def models_list(sdk: Any, body: Any, answer: Any) -> None:
    answer["pieces"] = [model.to_dict() for model in sdk.models.list(**body)]


def models_retrieve(sdk: Any, body: Any, answer: Any) -> None:
    answer["value"] = sdk.models.retrieve(body["id"])


def program(_sdk: Any, body: Any, answer: Any) -> None:
    """Runs a program of its own; the piece is what it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(body["source"], "sample", "exec"), {"__name__": "__main__"})
    answer["pieces"].append(printed.getvalue())


CALLS = {
    "messages.create": messages_create,
    "messages.stream": messages_stream,
    "messages.count_tokens": messages_count,
    "chat.create": chat_create,
    "chat.stream": chat_stream,
    "embeddings.create": embeddings_create,
    "models.list": models_list,
    "models.retrieve": models_retrieve,
    "program": program,
}


def answered(call: Any) -> Any:
    answer: dict[str, Any] = {"value": None, "pieces": []}
    try:
        with client(call) as sdk:
            CALLS[call["name"]](sdk, call["body"], answer)
    except (anthropic.APIError, openai.APIError) as error:
        status = getattr(error, "status_code", None)
        classes = [each.__name__ for each in type(error).__mro__]
        told = {"classes": classes, "status": status, "message": str(error)}
        answer["error"] = told
    value = answer["value"]
    if value is not None:
        answer["request_id"] = getattr(value, "_request_id", None)
        answer["value"] = value.to_dict()
    return answer


def say(value: Any) -> None:
    sys.stdout.write(json.dumps(value, default=str) + "\n")
    sys.stdout.flush()


def main() -> None:
    say({"anthropic": anthropic.__version__, "openai": openai.__version__})
    for line in sys.stdin:
        say(answered(json.loads(line)))


if __name__ == "__main__":
    main()
