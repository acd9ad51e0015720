"""A dialog is kept by whoever answers in it, however slow, and by nobody who is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from django.db import connection

from conversations.models import Conversation, Message, Run, RunStatus
from conversations.runs import processes, sweeper
from core.db import in_db
from providers.fakes import FakeUpstream, Step
from tests.conversations.chats.conftest import Client, last_run

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not processes._place(), reason="there is no /proc to tell"),
]


@pytest.fixture
def claimer(dialog: Conversation) -> Iterator[subprocess.Popen[str]]:
    """Another process, which has begun to answer in the dialog."""
    address, _slash, _name = os.environ["DATABASE_URL"].rpartition("/")
    database = connection.settings_dict["NAME"]
    variables = {
        "DATABASE_URL": f"{address}/{database}",
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "tests.conversations.chats.claimer", dialog.pk],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "claimed\n"
            yield process
        finally:
            process.kill()


def kill(process: subprocess.Popen[str]) -> None:
    """As the kernel does when memory runs out; its parent has not taken leave of it yet."""
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


async def test_a_dialog_is_free_as_soon_as_its_process_is_gone(
    alices: Client,
    dialog: Conversation,
    claimer: subprocess.Popen[str],
    upstream: FakeUpstream,
) -> None:
    upstream.script("chat", Step(text="Yes"))
    left = await last_run(dialog)
    # It lives, and does nothing whatever.
    claimer.send_signal(signal.SIGSTOP)
    refused = await alices.post("chat", user_input="Hi", dialog_id=dialog.pk)
    assert refused.json()["status_code"] == 409
    assert (await last_run(dialog)).status == RunStatus.RUNNING
    kill(claimer)
    assert (await alices.chat(dialog, "Hi")).text == "Yes"
    ended = await in_db(Run.objects.get, pk=left.pk)
    assert (ended.status, ended.error_code) == (RunStatus.FAILED, "process_lost")
    said = await in_db(
        lambda: list(Message.objects.order_by("seq").values_list("text", "is_interrupted"))
    )
    assert said == [
        ("Are you there?", False),
        ("I am", True),
        ("Hi", False),
        ("Yes", False),
    ]


async def test_of_many_who_find_it_free_one_is_answered(
    alices: Client,
    dialog: Conversation,
    claimer: subprocess.Popen[str],
    upstream: FakeUpstream,
) -> None:
    upstream.script("chat", Step(text="one two three", hang_after=1))
    kill(claimer)
    body = {"user_input": "Hi", "dialog_id": dialog.pk}

    async def is_answered() -> bool:
        async with alices.http.stream("POST", "chat", json=body) as response:
            has_begun = response.headers["Content-Type"].startswith("text/event-stream")
            if not has_begun:
                assert '"status_code":409' in (await response.aread()).decode().replace(" ", "")
                refused.release()
                return False
            # Until all others were refused.
            for _ in range(4):
                await refused.acquire()
            return True

    refused = asyncio.Semaphore(0)
    answers = await asyncio.gather(*(is_answered() for _ in range(5)))
    assert sorted(answers) == [False] * 4 + [True]


async def test_a_stop_after_its_process_is_gone_counts(
    alices: Client,
    dialog: Conversation,
    claimer: subprocess.Popen[str],
    upstream: FakeUpstream,
) -> None:
    upstream.script("chat", Step(text="Yes"))
    left = await last_run(dialog)
    kill(claimer)
    assert (await alices.post("chat/stop", dialog_id=dialog.pk)).json()["data"]["stopped"]
    assert (await alices.chat(dialog, "Hi")).text == "Yes"
    assert (await in_db(Run.objects.get, pk=left.pk)).status == RunStatus.CANCELED


async def test_the_sweeper_need_not_wait_for_its_silence(
    dialog: Conversation, claimer: subprocess.Popen[str]
) -> None:
    assert await in_db(sweeper.recover_lost) == 0
    kill(claimer)
    assert await in_db(sweeper.recover_lost) == 1
    assert (await last_run(dialog)).status == RunStatus.FAILED
