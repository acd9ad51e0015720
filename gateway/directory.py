"""Which model a name means for a key: from memory, by word of the database about changes.

Public names go first, then the models of the key's owner, then the system's; among the models of
one, names before other names before ids. A public name that is disabled is off: it hides models of
the same name, which would have neither its price nor its bounds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeAlias

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Prefetch, Q, QuerySet
from django.utils.translation import gettext_lazy as _

from accounts.keyring import KeyRecord
from core import changes
from core.errors import InvalidRequest, NotFound, Unavailable
from core.loops import PerLoop
from core.remembered import Remembered
from core.wire import Origin, parse_origin
from gateway import models
from gateway.types import Dialect, Kind, Price, PublicModel, Target
from providers.models import Llm, LlmType
from providers.profiles import PROFILES
from providers.specs import embedder_spec, is_usable, llm_spec
from providers.types import Endpoint

# What Anthropic's own client says, beside its key as a bearer's.
_ANTHROPIC_VERSION = (b"anthropic-version", b"2026-10-21")
_MAX_NAME_LENGTH = 200
_KINDS: dict[str, Kind] = {LlmType.TEXT: "chat", LlmType.EMBEDDING: "embedding"}
_Owner: TypeAlias = int


async def find(record: KeyRecord, name: str) -> PublicModel:
    """The model that the name means for the key, with at least one target.

    Raises NotFound with the code model_not_found, alike for unknown names and for those that the
    key may not use; Unavailable for a name behind which nothing is enabled.
    """
    # Refusals are kept in memory for a while, under the name that was asked for.
    if len(name) > _MAX_NAME_LENGTH or not is_allowed(record, name):
        raise not_found(name)
    return await _DIRECTORIES.get().models.get((record.principal.user_id, name))


def cached(record: KeyRecord, name: str) -> PublicModel | None:
    """What `find` would return, if it is in memory; None: ask `find`."""
    if not is_allowed(record, name):
        return None
    return _DIRECTORIES.get().models.peek((record.principal.user_id, name))


async def listed(record: KeyRecord) -> tuple[PublicModel, ...]:
    """The models that the key may use, in the order of precedence, without their targets.

    Other names of a model are models of their own here; ids are not listed.
    """
    all_models = await _DIRECTORIES.get().lists.get(record.principal.user_id)
    return tuple(model for model in all_models if is_allowed(record, model.name))


def is_allowed(record: KeyRecord, name: str) -> bool:
    """Whether the key's list has the name, or the key has no list."""
    return not record.allowed_models or name in record.allowed_models


def not_found(name: str) -> NotFound:
    """The one answer about names that are unknown, disabled or not for this key."""
    text = _("The model “%(name)s” does not exist, or the key may not use it.")
    shown = name if len(name) <= _MAX_NAME_LENGTH else f"{name[:_MAX_NAME_LENGTH]}…"
    return NotFound(str(text) % {"name": shown}, code="model_not_found", param="model")


def problem_of(row: models.PublicModel) -> str:
    """Why no request to the public name can be answered, for its operator; "" where some can."""
    routes = list(row.routes.with_models())
    if not routes:
        return str(_("No route leads to a model."))
    problems = [problem_of_route(route) for route in routes]
    return "" if "" in problems else " ".join(dict.fromkeys(problems))


def known_names(owner_id: _Owner, names: Collection[str]) -> set[str]:
    """Those of the names that mean a model to the owner, be it enabled or not."""
    wanted = [name for name in names if "\0" not in name]
    public = models.PublicModel.objects.filter(name__in=wanted).values_list("name", flat=True)
    rows = Llm.objects.visible_to(owner_id, is_operator=False).filter(type__in=_KINDS)
    rows = rows.filter(Q(name__in=wanted) | Q(aliases__overlap=wanted) | Q(pk__in=wanted))
    own = rows.values_list("pk", "name", "aliases")
    return set(wanted) & {*public, *(each for pk, name, more in own for each in (pk, name, *more))}


class _Directory:
    """What one event loop knows: models by owner and name, lists by owner."""

    def __init__(self) -> None:
        self.models: Remembered[tuple[_Owner, str], PublicModel] = Remembered(
            _model_of, kind="Public models"
        )
        self.lists: Remembered[_Owner, tuple[PublicModel, ...]] = Remembered(
            _list_of, kind="Lists of public models", most=1_000
        )
        changes.subscribe("models", lambda _what: self._doubt_all(), self._doubt_all)

    def _doubt_all(self) -> None:
        self.models.doubt_all()
        self.lists.doubt_all()

    async def close(self) -> None:
        """Ends what is being read."""
        await self.models.close()
        await self.lists.close()


async def _close(directory: _Directory) -> None:
    await directory.close()


_DIRECTORIES = PerLoop(_Directory, _close)


# --- One name ----------------------------------------------------------------------------------


def _model_of(asked: tuple[_Owner, str]) -> PublicModel:
    owner_id, name = asked
    if not name or "\0" in name:
        raise not_found(name)
    routes = models.Route.objects.with_models().order_by("priority", "pk")
    row = (
        models.PublicModel.objects.filter(name=name)
        .prefetch_related(Prefetch("routes", routes))
        .first()
    )
    if row is None:
        return _own_or_system_model(owner_id, name)
    if not row.is_enabled:
        raise not_found(name)
    usable = (route for route in row.routes.all() if not problem_of_route(route))
    targets = tuple(_target(route.llm, route) for route in usable)
    if not targets:
        text = _("The model “%(name)s” leads nowhere at present; its operator can change that.")
        raise Unavailable(str(text) % {"name": name})
    return _public(row, targets)


def _own_or_system_model(owner_id: _Owner, name: str) -> PublicModel:
    named = Q(name=name) | Q(aliases__contains=[name]) | Q(pk=name)
    found = _usable_rows(owner_id).filter(named).select_related("provider")
    found = found.defer("api_key", "provider__api_key")
    row = min(
        found.order_by("created_at", "pk"),
        key=lambda each: (each.is_system, each.name != name, name not in each.aliases),
        default=None,
    )
    if row is None:
        raise not_found(name)
    if problem := _problem_of_row(row):
        raise Unavailable(problem)
    is_id = name != row.name and name not in row.aliases
    return _named(row, row.name if is_id else name, (_target(row, None),))


def _usable_rows(owner_id: _Owner) -> QuerySet[Llm]:
    is_enabled = Q(is_enabled=True) & (Q(provider=None) | Q(provider__is_enabled=True))
    shared = Llm.objects.visible_to(owner_id, is_operator=False)
    return shared.filter(is_enabled, type__in=_KINDS)


# --- All names ---------------------------------------------------------------------------------


def _list_of(owner_id: _Owner) -> tuple[PublicModel, ...]:
    named: dict[str, PublicModel | None] = {}
    routes = models.Route.objects.filter(is_enabled=True).with_models()
    for public in models.PublicModel.objects.prefetch_related(Prefetch("routes", routes)):
        leads_somewhere = any(_fits(route) for route in public.routes.all())
        is_on = public.is_enabled and leads_somewhere
        named[public.name] = _public(public, ()) if is_on else None
    rows = list(_usable_rows(owner_id).defer("api_key").order_by("name", "created_at", "pk"))
    for is_system in (False, True):
        group = [row for row in rows if row.is_system == is_system]
        _add(named, ((row, row.name) for row in group))
        _add(named, ((row, alias) for row in group for alias in row.aliases))
    return tuple(model for model in named.values() if model is not None)


def _add(named: dict[str, PublicModel | None], rows: Iterable[tuple[Llm, str]]) -> None:
    for row, name in rows:
        if name not in named:
            named[name] = _named(row, name, ())


# --- From rows to snapshots --------------------------------------------------------------------


def _public(row: models.PublicModel, targets: tuple[Target, ...]) -> PublicModel:
    return PublicModel(
        name=row.name,
        kind="chat" if row.kind == models.Kind.CHAT else "embedding",
        targets=targets,
        display_name=row.name,
        created=int(row.created_at.timestamp()),
        max_tokens_cap=row.max_tokens_cap,
        price=Price(row.price_input, row.price_output, row.price_cache_read),
        cache_s=row.cache_s,
    )


def _named(row: Llm, name: str, targets: tuple[Target, ...]) -> PublicModel:
    return PublicModel(
        name=name,
        kind=_KINDS[row.type],
        targets=targets,
        display_name=row.name,
        created=int(row.created_at.timestamp()),
        owner_id=row.owner_id,
    )


def _fits(route: models.Route) -> bool:
    return is_usable(route.llm) and _KINDS.get(route.llm.type) == route.model.kind


def problem_of_route(route: models.Route) -> str:
    """Why no request can take the route; "" where one can."""
    name = {"name": route.llm.name}
    if not route.is_enabled:
        return str(_("The route to “%(name)s” is disabled.")) % name
    if not is_usable(route.llm):
        return str(_("“%(name)s” or its provider is disabled.")) % name
    if not _fits(route):
        return str(_("“%(name)s” is a model of another kind.")) % name
    return _problem_of_row(route.llm)


def _problem_of_row(row: Llm) -> str:
    try:
        _address(row)
    except InvalidRequest:
        return str(_("“%(name)s” has no address that can be asked.")) % {"name": row.name}
    except ImproperlyConfigured:
        text = _("The stored key of “%(name)s” cannot be decrypted; it has to be entered anew.")
        return str(text) % {"name": row.name}
    return ""


def _target(row: Llm, route: models.Route | None) -> Target:
    """The model, ready to be asked. Raises InvalidRequest where its address cannot be read."""
    spec = llm_spec(row) if row.type == LlmType.TEXT else embedder_spec(row)
    dialect, origin, path = _address(row)
    return Target(
        row_id=row.pk,
        route_id=route.pk if route else None,
        dialect=dialect,
        origin=origin,
        model_name=spec.endpoint.model_name,
        spec=spec,
        headers=_headers(dialect, spec.endpoint),
        priority=route.priority if route else 0,
        weight=route.weight if route else 1,
        path=path,
    )


def _address(row: Llm) -> tuple[Dialect, Origin | None, str]:
    """In what the model is asked, and where.

    Raises InvalidRequest, and ImproperlyConfigured where its key cannot be decrypted.
    """
    profile = PROFILES[row.vendor]
    base_url = llm_spec(row).endpoint.base_url.rstrip("/")
    if profile.protocol == "builtin":
        return "builtin", None, ""
    if row.type == LlmType.EMBEDDING:
        return "embeddings", parse_origin(base_url), profile.embeddings_path
    if profile.protocol == "anthropic_messages":
        # People paste the address with and without it.
        return "messages", parse_origin(base_url.removesuffix("/v1")), "/v1/messages"
    return "chat_completions", parse_origin(base_url), "/chat/completions"


def _headers(dialect: Dialect, endpoint: Endpoint) -> tuple[tuple[bytes, bytes], ...]:
    # Blanks around a pasted key would break the header.
    key = endpoint.api_key.strip()
    bearer = ((b"authorization", f"Bearer {key}".encode()),) if key else ()
    return (*bearer, _ANTHROPIC_VERSION) if dialect == "messages" else bearer
