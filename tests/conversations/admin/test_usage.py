"""What answers took: the figures, the chart, the page."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from assistants.models import Assistant
from conversations.admin.charts import Day, day_chart, short
from conversations.models import Conversation, Message, Role
from conversations.reports.figures import Taken, figures_of
from tests.conversations.admin.pages import queries_of, text_of
from tests.conversations.made import conversation

NOON = timezone.localtime().replace(hour=12, minute=0)


def answer(row: Conversation, days_ago: int = 0, model: str = "qwen", **fields: Any) -> None:
    values: dict[str, Any] = {"role": Role.ASSISTANT, "input_tokens": 100, "output_tokens": 10}
    Message.objects.create(
        conversation=row,
        turn=1,
        seq=row.messages.count() + 1,
        model_name=model,
        created_at=NOON - dt.timedelta(days=days_ago),
        **{**values, **fields},
    )


@pytest.mark.django_db
def test_it_sums_by_day_model_assistant_and_user(alice: User, bob: User, ada: Assistant) -> None:
    mine, his = conversation(alice, ada, id="a"), conversation(bob, ada, id="b")
    nobodys = conversation(alice, None, id="c")
    Conversation.objects.filter(pk="c").update(owner=None)
    answer(mine)
    answer(mine, days_ago=6, model="gpt", input_tokens=1000)
    answer(his, days_ago=2)
    answer(nobodys, days_ago=2, input_tokens=1)
    answer(mine, days_ago=7)
    answer(mine, model="")
    answer(mine, role=Role.USER)
    figures = figures_of(7)
    assert [taken.answers for _day, taken in figures.days] == [1, 0, 0, 0, 2, 0, 1]
    assert figures.days[-1][0] == timezone.localdate()
    assert figures.total == Taken(4, 1201, 40)
    assert [(row.name, row.taken) for row in figures.models] == [
        ("gpt", Taken(1, 1000, 10)),
        ("qwen", Taken(3, 201, 30)),
    ]
    assert [(row.key, row.name, row.taken.answers) for row in figures.assistants] == [
        (ada.pk, "Ada", 3),
        ("gone", "Gone", 1),
    ]
    assert [(row.key, row.name, row.taken.answers) for row in figures.users] == [
        (str(alice.pk), "alice", 2),
        (str(bob.pk), "bob", 1),
        ("", "", 1),
    ]


@pytest.mark.django_db
def test_the_page_has_its_ranges_and_one_query_for_all_of_it(
    operator: Client, alice: User, bob: User, ada: Assistant
) -> None:
    assert "Nothing was answered in this time." in text_of(operator.get("/admin/usage/"))
    row = conversation(alice, ada)
    answer(row, days_ago=40, input_tokens=12_340)
    assert "Nothing was answered" in text_of(operator.get("/admin/usage/?days=30"))
    page = text_of(operator.get("/admin/usage/?days=90"))
    assert "12.3k" in page
    assert f"/admin/accounts/user/{alice.pk}/change/" in page
    assert page.count('class="day"') == 2 * 90
    few = queries_of(operator, "/admin/usage/?days=90")
    for number in range(30):
        other = conversation(bob, None, id=f"c{number}", assistant_key=f"a{number}")
        answer(other, days_ago=number, model=f"m{number}")
    assert queries_of(operator, "/admin/usage/?days=90") == few
    assert operator.get("/admin/usage/?days=x").context["days"] == 30
    client = Client()
    client.force_login(bob)
    assert "/login/" in client.get("/admin/usage/")["Location"]


def test_a_chart_stacks_values_from_below_within_its_room() -> None:
    first = dt.date(2026, 5, 1)
    days = [
        Day(first + dt.timedelta(days=number), values, "")
        for number, values in enumerate([(0, 0), (60, 40), (10, 0)])
    ]
    chart = day_chart(days, kinds=("read", "written"))
    assert [len(column.parts) for column in chart.columns] == [0, 2, 1]
    read, written = chart.columns[1].parts
    assert (read.kind, written.kind) == ("read", "written")
    assert read.y + read.height == pytest.approx(chart.baseline)
    assert written.y + written.height == pytest.approx(read.y, abs=0.11)
    assert written.y == pytest.approx(chart.top, abs=0.11)
    assert [line.label for line in chart.lines] == ["50", "100"]
    assert chart.columns[-1].label_x is not None
    assert day_chart([], kinds=()).columns == ()
    assert day_chart(days[:1], kinds=("a", "b")).columns[0].parts == ()


def test_numbers_are_short() -> None:
    shown = [short(number) for number in (0, 999, 1000, 12_345, 3_200_000, 5 * 10**9)]
    assert shown == ["0", "999", "1k", "12.3k", "3.2M", "5G"]
