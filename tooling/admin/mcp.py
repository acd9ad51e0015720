"""MCP servers in the console: connect, see their tools, and approve what changed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.admin.utils import flatten_fieldsets, unquote
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display

from core.console import ConsoleForm, rehearse
from core.errors import ProviderError
from tooling.admin import trying
from tooling.admin.diffs import DiffLine, json_diff, text_diff
from tooling.admin.fields import Column, RowsField, headers_field
from tooling.admin.links import link_to
from tooling.admin.testing import Autotested
from tooling.mcp.endpoints import filled, values_by_server
from tooling.mcp.listing import approve, is_approved, mcp_specs, refresh, rows_of, withheld
from tooling.mcp.names import called
from tooling.mcp.stdio_file import process_of
from tooling.mcp.types import ToolRow
from tooling.mcp_actions import McpServerValues, create_server, delete_server, update_server
from tooling.models import McpServer, Subject, Transport

MAX_LISTED = 10
CONFIG_FIELDS = (
    Column("key", gettext_lazy("Key"), is_required=True, hint="Authorization"),
    Column("label", gettext_lazy("Label"), hint=gettext_lazy("Your API key")),
    Column(
        "target",
        gettext_lazy("Sent as"),
        "choice",
        choices=(("header", gettext_lazy("Header")), ("parameter", gettext_lazy("Argument"))),
    ),
    Column("required", gettext_lazy("Required"), "tick"),
)


class McpServerForm(ConsoleForm):
    """What the actions refuse is said at the field that is to blame."""

    headers = headers_field(
        label=gettext_lazy("Headers"), help_text=gettext_lazy("Sent with every request. Encrypted.")
    )
    config_fields = RowsField(
        CONFIG_FIELDS,
        label=gettext_lazy("Settings of users"),
        required=False,
        help_text=gettext_lazy(
            "What each user may set for the server, such as a key of their own. Models are never "
            "shown these arguments."
        ),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "prefix" in self.fields and self.instance._state.adding:
            self.fields["prefix"].required = False

    def values(self) -> McpServerValues:
        values = {name: value for name, value in self.cleaned_data.items() if name != "owner"}
        return cast(McpServerValues, values)

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or self.cleaned_data
        rehearse(self, store)
        return cleaned


def store(form: McpServerForm) -> McpServer:
    """Saves what a form holds. Raises what the actions raise."""
    # As it is stored: the form has already put its values on its own instance.
    server = McpServer.objects.filter(pk=form.instance.pk).first()
    if server is None:
        owner = form.cleaned_data.get("owner")
        return create_server(owner.pk if owner else None, form.values())
    return update_server(server, form.values())


@dataclasses.dataclass(frozen=True, slots=True)
class ShownTool:
    """A tool of a server as its page draws it."""

    row: ToolRow
    called: str
    is_approved: bool
    words: Sequence[DiffLine]
    parameters: Sequence[DiffLine]

    @property
    def has_changed(self) -> bool:
        return "before" in self.row and not self.is_approved

    @property
    def schema(self) -> str:
        return json.dumps(self.row["input_schema"], indent=2, ensure_ascii=False)

    @property
    def argument_names(self) -> list[str]:
        return list(self.row["input_schema"].get("properties") or {})


def shown_tools(server: McpServer) -> list[ShownTool]:
    """The tools, those that wait for approval first."""
    tools = [_shown(server, row) for row in rows_of(server)]
    return sorted(tools, key=lambda tool: tool.is_approved)


def _shown(server: McpServer, row: ToolRow) -> ShownTool:
    before = row.get("before")
    return ShownTool(
        row=row,
        called=called(server.prefix, row["name"]),
        is_approved=is_approved(server, row),
        words=text_diff(before["description"], row["description"]) if before else (),
        parameters=json_diff(before["input_schema"], row["input_schema"]) if before else (),
    )


class WaitingFilter(admin.SimpleListFilter):
    """Servers of which something waits for approval."""

    title = gettext_lazy("approval")
    parameter_name = "approval"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("waiting", gettext_lazy("Tools wait for approval"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() != "waiting":
            return queryset
        # What waits is told by comparing two lists; there are few servers.
        waiting = [row.pk for row in queryset if withheld(row)]
        return queryset.filter(pk__in=waiting)


@admin.register(McpServer)
class McpServerAdmin(Autotested):
    """Servers whose tools assistants can use."""

    empty_text = gettext_lazy(
        "The tools of an MCP server can be used like any other. Add its address, and they are "
        "listed at once."
    )
    subject = Subject.MCP
    form = McpServerForm
    list_display = [
        "show_name",
        "show_prefix",
        "show_tools",
        "show_owner",
        "show_check",
        "is_enabled",
    ]
    list_display_links = None
    list_filter = [
        WaitingFilter,
        "transport",
        "is_enabled",
        "check_ok",
        ("owner", AutocompleteSelectFilter),
    ]
    list_select_related = ["owner"]
    search_fields = ["name", "prefix", "url"]
    search_help_text = gettext_lazy("Name, prefix or address")
    autocomplete_fields = ["owner"]
    actions = ["list_selected"]
    change_form_outer_before_template = "tooling/mcp_head.html"
    fieldsets = [
        (
            None,
            {"fields": [("name", "prefix"), ("transport", "timeout_ms"), "url", "headers"]},
        ),
        (None, {"fields": [("is_enabled", "owner"), "config_fields"]}),
    ]
    # Their commands are in the operator's file, which is where they are changed.
    stdio_fieldsets = [
        (None, {"fields": [("name", "prefix"), ("show_transport", "timeout_ms"), "is_enabled"]}),
    ]

    # --- the list --------------------------------------------------------------------------------
    @display(description=gettext_lazy("name"), ordering="name")
    def show_name(self, server: McpServer) -> str:
        return format_html(
            '<div><a class="document-name" href="{}">{}</a><span class="row-note">{}</span></div>',
            link_to("tooling_mcpserver_change", server.pk),
            server.name,
            server.url or server.get_transport_display(),
        )

    @display(description=gettext_lazy("prefix"), ordering="prefix")
    def show_prefix(self, server: McpServer) -> str:
        return format_html("<code>{}</code>", server.prefix)

    @display(description=gettext_lazy("tools"), label={"waiting": "warning", "approved": "default"})
    def show_tools(self, server: McpServer) -> tuple[str, str]:
        total, waiting = len(rows_of(server)), len(withheld(server))
        if waiting:
            values = {"total": total, "n": waiting}
            return "waiting", _("%(total)d, %(n)d to approve") % values
        return "approved", str(total)

    @display(
        description=gettext_lazy("connection"),
        label={"passed": "success", "failed": "danger", "never": "default"},
    )
    def show_check(self, server: McpServer) -> tuple[str, str]:
        if server.check_ok is None:
            return "never", _("Not tested")
        return ("passed", _("Works")) if server.check_ok else ("failed", _("Failed"))

    @display(description=gettext_lazy("transport"))
    def show_transport(self, server: McpServer) -> str:
        return server.get_transport_display()

    @admin.action(description=gettext_lazy("Test the connection and list the tools"))
    def list_selected(self, request: HttpRequest, queryset: QuerySet[McpServer]) -> None:
        if queryset.count() > MAX_LISTED:
            text = _("At most %(most)d can be tested at once.") % {"most": MAX_LISTED}
            self.message_user(request, text, messages.ERROR)
            return
        # One after another, while the operator waits.
        for server in queryset:
            self._refresh(request, server)

    # --- one server ------------------------------------------------------------------------------
    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.stdio_fieldsets if _is_stdio(obj) else self.fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        if obj is None:
            return []
        return ["show_transport"] if _is_stdio(obj) else ["owner"]

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        # Fields that the form itself declares are on it whatever the fieldsets say.
        kwargs["fields"] = flatten_fieldsets(self.get_fieldsets(request, obj))
        form = super().get_form(request, obj, change, **kwargs)
        if _is_stdio(obj):
            for name in ("headers", "config_fields"):
                form.base_fields.pop(name, None)
        return form

    def formfield_for_choice_field(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "transport":
            possible = (Transport.STREAMABLE_HTTP, Transport.SSE)
            kwargs["choices"] = [(each.value, each.label) for each in possible]
        return super().formfield_for_choice_field(db_field, request, **kwargs)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"owner": request.user.pk, **super().get_changeform_initial_data(request)}

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {**(extra_context or {})}
        server = self.get_object(request, unquote(object_id))
        if server is not None:
            context["tools"] = shown_tools(server)
            context["waiting"] = withheld(server)
        return super().change_view(request, object_id, form_url, context)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        stored = store(form)
        # What comes after, such as the log of changes, is about the row that was stored.
        obj.pk, obj._state.adding = stored.pk, False
        if stored.listed_at is None and stored.is_enabled:
            # A new server, or one that moved: what it offers is looked at at once.
            self._refresh(request, stored)

    def response_add(
        self, request: HttpRequest, obj: McpServer, post_url_continue: str | None = None
    ) -> HttpResponse:
        """To the tools that were listed."""
        response: HttpResponse = super().response_add(request, obj, post_url_continue)
        if "_popup" in request.POST or "_addanother" in request.POST:
            return response
        return HttpResponseRedirect(link_to("tooling_mcpserver_change", obj.pk))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Those of the operator's file are removed there.
        is_of_file = _is_stdio(obj) and process_of(obj.pk) is not None
        return super().has_delete_permission(request, obj) and not is_of_file

    def delete_model(self, request: HttpRequest, obj: McpServer) -> None:
        delete_server(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[McpServer]) -> None:
        for server in queryset:
            self.delete_model(request, server)

    # --- its tools -------------------------------------------------------------------------------
    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        own = [
            path(
                "<path:object_id>/refresh/",
                view(require_POST(self.refresh_view)),
                name="tooling_mcp_refresh",
            ),
            path(
                "<path:object_id>/approve/",
                view(require_POST(self.approve_view)),
                name="tooling_mcp_approve",
            ),
            path("<path:object_id>/try/", view(self.try_view), name="tooling_mcp_try"),
        ]
        return [*own, *super().get_urls()]

    def refresh_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Asks the server for its tools now."""
        self._refresh(request, self._server(request, object_id))
        return self._back(object_id)

    def approve_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Lets models see the tools that were looked at, in the words that were shown."""
        server = self._server(request, object_id)
        row = approve(server, set(request.POST.getlist("digest")))
        fresh = len({*row.approved_digests} - {*server.approved_digests})
        if fresh:
            text = ngettext("%(n)d tool was approved.", "%(n)d tools were approved.", fresh)
            self.message_user(request, text % {"n": fresh}, messages.SUCCESS)
        else:
            text = _("The list has changed since you looked at it; nothing was approved.")
            self.message_user(request, text, messages.WARNING)
        return self._back(object_id)

    def try_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The form that runs one approved tool once."""
        server = self._server(request, object_id)
        wanted = request.GET.get("tool", "")
        if not any(tool.is_approved and tool.called == wanted for tool in shown_tools(server)):
            raise Http404
        # Before a server is offered to models, it is tried.
        server.is_enabled = True
        specs = mcp_specs([server], request.user.pk, server.owner_id)
        spec = next((spec for spec in specs if spec.id == wanted), None)
        if spec is None:
            self.message_user(request, _why_not(server, request.user.pk), messages.ERROR)
            return self._back(object_id)
        return trying.show_mcp_tool(request, self, server, spec)

    def _server(self, request: HttpRequest, object_id: str) -> McpServer:
        server: McpServer | None = self.get_object(request, unquote(object_id))
        if server is None:
            raise Http404
        return server

    def _refresh(self, request: HttpRequest, server: McpServer) -> None:
        row = refresh(server, user_id=request.user.pk)
        level = messages.SUCCESS if row.check_ok else messages.ERROR
        if row.check_ok and withheld(row):
            level = messages.WARNING
        text = _("%(name)s: %(message)s") % {"name": row.name, "message": row.check_message}
        self.message_user(request, text, level)

    def _back(self, object_id: str) -> HttpResponse:
        url = link_to("tooling_mcpserver_change", unquote(object_id))
        return HttpResponseRedirect(f"{url}#tools")


def _why_not(server: McpServer, user_id: int | None) -> str:
    """Why no tool of the server can be called with what this user, or the owner, has set."""
    values = values_by_server([server], user_id, server.owner_id).get(server.pk)
    try:
        missing = filled(server, values).missing
    except ProviderError as error:
        return error.message
    return _("Not set: %(names)s.") % {"names": ", ".join(missing)}


def _is_stdio(server: McpServer | None) -> bool:
    return server is not None and server.transport == Transport.STDIO
