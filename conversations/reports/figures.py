"""What all answers of the last days took, for operators, worked out by the database in one pass."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

from django.db import connection
from django.utils import timezone

# Of models, assistants and users, those that took most.
MAX_PLACES = 20

# Summed first by what an index has (message_usage), so that a million messages, of which none is
# read, become some thousand rows before anything is looked up; then by day, model, assistant and
# user at once.
_READ = """
with used as (
  select (created_at at time zone %(zone)s)::date as day, model_name, conversation_id,
    count(*) as answers, sum(input_tokens) as taken, sum(output_tokens) as given
  from conversations_message
  where role = 'assistant' and model_name <> '' and created_at >= %(since)s
  group by 1, 2, 3
), summed as (
  select grouping(u.day) as days, grouping(u.model_name) as models,
    grouping(c.assistant_key) as assistants, grouping(c.owner_id) as owners,
    u.day, u.model_name, c.assistant_key, max(c.assistant_name) as assistant_name, c.owner_id,
    sum(u.answers)::bigint as answers, sum(u.taken)::bigint as taken,
    sum(u.given)::bigint as given
  from used u join conversations_conversation c on c.id = u.conversation_id
  group by grouping sets ((u.day), (u.model_name), (c.assistant_key), (c.owner_id))
), placed as (
  select *, row_number() over (
    partition by days, models, assistants, owners order by taken + given desc, answers desc
  ) as place
  from summed
)
select p.days, p.models, p.assistants, p.owners, p.day, p.model_name, p.assistant_key,
  p.assistant_name, p.owner_id, u.username, p.answers, p.taken, p.given
from placed p left join accounts_user u on u.id = p.owner_id
where p.days = 0 or p.place <= %(most)s
order by p.days, p.day, p.place
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """Answers, and the tokens that were read and written for them."""

    answers: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


@dataclasses.dataclass(frozen=True, slots=True)
class Share:
    """What one model, assistant or user took. A user without an account has no key."""

    key: str
    name: str
    taken: Taken


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """The days, oldest first, without a gap; the others by what they took, at most MAX_PLACES."""

    days: tuple[tuple[datetime.date, Taken], ...]
    models: tuple[Share, ...]
    assistants: tuple[Share, ...]
    users: tuple[Share, ...]

    @property
    def total(self) -> Taken:
        return Taken(
            sum(taken.answers for _day, taken in self.days),
            sum(taken.input_tokens for _day, taken in self.days),
            sum(taken.output_tokens for _day, taken in self.days),
        )


def figures_of(days: int) -> Figures:
    """The figures of so many days, today's included."""
    today = timezone.localdate()
    first = today - datetime.timedelta(days=days - 1)
    zone = timezone.get_current_timezone()
    since = datetime.datetime.combine(first, datetime.time.min, zone)
    values: dict[str, Any] = {"zone": str(zone), "since": since, "most": MAX_PLACES}
    by_day: dict[datetime.date, Taken] = {}
    models: list[Share] = []
    assistants: list[Share] = []
    users: list[Share] = []
    with connection.cursor() as cursor:
        cursor.execute(_READ, values)
        for row in cursor.fetchall():
            no_day, no_model, no_assistant, _no_owner = row[:4]
            day, model, key, name, owner_id, username, *sums = row[4:]
            taken = Taken(*sums)
            if not no_day:
                by_day[day] = taken
            elif not no_model:
                models.append(Share(model, model, taken))
            elif not no_assistant:
                assistants.append(Share(key, name, taken))
            else:
                users.append(Share(str(owner_id or ""), username or "", taken))
    whole = (first + datetime.timedelta(days=number) for number in range(days))
    return Figures(
        tuple((day, by_day.get(day, Taken())) for day in whole),
        tuple(models),
        tuple(assistants),
        tuple(users),
    )
