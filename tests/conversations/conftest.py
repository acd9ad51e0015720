from __future__ import annotations

import pytest

from accounts.models import User
from assistants.models import Assistant


@pytest.fixture
def ada(alice: User) -> Assistant:
    return Assistant.objects.create(name="Ada", owner=alice)
