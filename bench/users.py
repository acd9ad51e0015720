"""Users of the running product with keys of their own, and a model that all of them may use.

    DATA_DIR=… python -m bench.users 100 http://127.0.0.1:9100/v1

Prints one JSON object: the id of the model, and the keys. A user has one task at a time, so that a
measurement of many needs many.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.programs import ROOT

_REQUESTS_PER_MINUTE = 1_000_000


@dataclass(frozen=True)
class Users:
    """Keys, one per user, and the model's id."""

    model_id: str
    keys: list[str]


def make_users(data: Path, count: int, vendor_url: str) -> Users:
    """Makes them in the product whose data folder this is."""
    environment = {**os.environ, "DATA_DIR": str(data), "LOG_LEVEL": "ERROR"}
    for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "FIELD_KEYS"):
        environment.pop(name, None)
    output = subprocess.run(
        [sys.executable, "-m", "bench.users", str(count), vendor_url],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout
    return Users(**json.loads(output))


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django

    django.setup()
    # These need the loaded app registry.
    from accounts.models import ApiKey, User
    from providers.models import Llm

    count, vendor_url = int(sys.argv[1]), sys.argv[2]
    model = Llm.objects.create(
        name="Bench",
        vendor="openai_compatible",
        base_url=vendor_url,
        model_name="bench",
        api_key="k",
    )
    keys: list[str] = []
    for number in range(count):
        user = User(username=f"bench{number}")
        user.set_unusable_password()
        user.save()
        row = ApiKey(owner=user, name="bench", requests_per_minute=_REQUESTS_PER_MINUTE)
        keys.append(ApiKey.generate())
        row.set_key(keys[-1])
        row.save()
    print(json.dumps({"model_id": model.pk, "keys": keys}))


if __name__ == "__main__":
    main()
