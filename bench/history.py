"""How fast the history is listed and summed up when it has a million conversations.

    make bench BENCH=history

Fills an embedded Postgres with the records of 200 users: one with a fifth of them, one with 5,000
of a million, and the others in between; a year of them, in the order of their time. Then it asks
the views of `/history` as those two and as an operator, who sees all. The times are of the whole
view, answer included; who is asking and how often they may is not looked up. "processor" is what a
question takes of the processors, here and in the database, and thus does not know who else was
busy.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psutil
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIRequestFactory, force_authenticate

from accounts.models import User
from accounts.principals import principal_for_user
from bench.voice import machine, percentile
from conversations.api.platform import CallViewSet

USERS = 200
# Of each thousand rows; the rest belongs to all the others.
_OF_HEAVY, _OF_ORDINARY = 200, 5
_WARM_UP = 2
_A_MONTH_AGO = timezone.now() - datetime.timedelta(days=30)

# Row n of count: whose it is, with which of their assistants, when and on which channel.
_CONVERSATIONS = """
insert into conversations_conversation (
  id, owner_id, assistant_key, assistant_name, channel, title, alias, summary, settings, todo,
  remote_id, next_turn, next_seq, created_at, updated_at)
select
  case channel when 'voice' then substr(md5(n::text), 1, 12) when 'chat' then md5(n::text)
    else 'conv_' || to_char(at, 'YYYYMMDD_HH24MISS') || '_' || n end,
  %(first_user)s + place,
  substr(md5(place || ' ' || which), 1, 12), 'Assistant ' || which, channel,
  case channel when 'voice' then '' else 'About the matter number ' || n end,
  '', '', '{}', '[]', '', 4, 10, at, at
from (
  select n, at, channel, place, hashint4(n + 1) & (case place when 0 then 15 else 3 end) as which
  from (
    select n,
      now() - interval '365 days' * (1 - n::float8 / %(count)s) as at,
      case when hashint4(n + 2) & 15 < 8 then 'voice' when hashint4(n + 2) & 15 < 13 then 'chat'
        else 'task' end as channel,
      case when n %% 1000 < %(heavy)s then 0 when n %% 1000 < %(heavy)s + %(ordinary)s then 1
        else 2 + (hashint4(n) & 2147483647) %% %(others)s end as place
    from generate_series(1, %(count)s) as n
  ) as placed
) as rows
order by n
"""
_CALLS = """
insert into conversations_call (
  conversation_id, owner_id, assistant_key, channel, source, status, started_at, ended_at,
  heartbeat_at, cost, metadata, error_code, error_message)
select id, owner_id, assistant_key, channel, 'external',
  case when luck < 90 then 'connected' when luck < 97 or channel <> 'voice' then 'failed'
    else 'missed' end,
  created_at, created_at + interval '1 second' * (luck * 7), created_at, 0, '{}', '', ''
from (
  select *, (hashtext(id) & 2147483647) % 100 as luck from conversations_conversation
) as rows
order by created_at
"""


@dataclasses.dataclass(frozen=True)
class Question:
    """What a client asks, under the name that the table gives it."""

    name: str
    action: str
    query: Mapping[str, str]


QUESTIONS = (
    Question("list, page 1", "list", {}),
    Question("list, page 100", "list", {"page": "100"}),
    Question("list, failed", "list", {"status": "failed"}),
    Question("list, rare keyword", "list", {"keyword": "number 2000"}),
    Question("list, common keyword", "list", {"keyword": "matter"}),
    Question("stats", "stats", {}),
    Question("stats, chats", "stats", {"channel": "chat"}),
    Question("stats, 30 days", "stats", {"start_date": f"{_A_MONTH_AGO:%Y-%m-%d}"}),
)


@dataclasses.dataclass(frozen=True)
class Result:
    """One line of the table."""

    who: str
    records: int
    question: str
    times_ms: list[float]
    processor_ms: float

    def cells(self) -> dict[str, str]:
        """The line, by heading."""
        return {
            "who": self.who,
            "records": f"{self.records:,}",
            "question": self.question,
            "p50": f"{percentile(self.times_ms, 50):.1f} ms",
            "p95": f"{percentile(self.times_ms, 95):.1f} ms",
            "processor": f"{self.processor_ms:.1f} ms",
        }


class Bench:
    """A filled history, and those who ask about it."""

    def __init__(self, *, records: int) -> None:
        self._server = _server()
        users = User.objects.bulk_create(
            User(username=f"bench{number}", password="!") for number in range(USERS)
        )
        operator = User.objects.create(username="operator", password="!", is_staff=True)
        self.askers = {"ordinary user": users[1], "heavy user": users[0], "operator": operator}
        others = {"heavy": _OF_HEAVY, "ordinary": _OF_ORDINARY, "others": USERS - 2}
        with connection.cursor() as cursor:
            cursor.execute(_CONVERSATIONS, {"first_user": users[0].pk, "count": records, **others})
            cursor.execute(_CALLS)
            # As autovacuum does within a minute.
            cursor.execute("vacuum analyze")

    def measure(self, who: str, question: Question, *, repeats: int) -> Result:
        """A line of the table."""
        user = self.askers[who]
        for _ in range(_WARM_UP):
            body = _ask(user, question)
        before_s = _processor_s(self._server)
        times_ms: list[float] = []
        for _ in range(repeats):
            began = time.perf_counter()
            body = _ask(user, question)
            times_ms.append((time.perf_counter() - began) * 1e3)
        processor_ms = (_processor_s(self._server) - before_s) * 1e3 / repeats
        data = body["data"]
        records = data["total" if question.action == "list" else "total_calls"]
        return Result(who, records, question.name, times_ms, processor_ms)


def _ask(user: User, question: Question) -> dict[str, Any]:
    """The answer of the view, rendered."""
    request = APIRequestFactory().get("/api/v1/history", question.query)
    principal: Any = principal_for_user(user, login="bench")
    force_authenticate(request, user, principal)
    # Limits are counted in Redis, which is not there.
    view = CallViewSet.as_view({"get": question.action}, throttle_classes=[])
    response = view(request).render()
    assert response.status_code == 200, response.content
    assert response.content
    body: dict[str, Any] = response.data
    return body


def _server() -> psutil.Process:
    """The parent of all of the database's processes on this machine."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        server = psutil.Process(cursor.fetchone()[0]).parent()
    assert server is not None
    return server


def _processor_s(server: psutil.Process) -> float:
    """What this process and the database, helpers of single queries included, took so far."""
    ended = server.cpu_times()
    alive = (process.cpu_times() for process in server.children())
    database_s = ended.children_user + ended.children_system + sum(t.user + t.system for t in alive)
    return time.process_time() + database_s


def _print_table(results: Sequence[Result]) -> None:
    lines = [result.cells() for result in results]
    print(" | ".join(["", *lines[0], ""]).strip())
    print("|" + " ---: |" * len(lines[0]))
    for line in lines:
        print(" | ".join(["", *line.values(), ""]).strip())


def run(*, records: int, repeats: int) -> list[Result]:
    """Measures and prints; the lines of the table."""
    print(f"machine: {machine()}")
    began = time.monotonic()
    bench = Bench(records=records)
    print(
        f"{records} records, {USERS} users: filled in {time.monotonic() - began:.0f} s", flush=True
    )
    results = [
        bench.measure(who, question, repeats=repeats)
        for who in bench.askers
        for question in QUESTIONS
    ]
    _print_table(results)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=20, help="of each question")
    options = parser.parse_args()
    run(records=options.records, repeats=options.repeats)


if __name__ == "__main__":
    main()
