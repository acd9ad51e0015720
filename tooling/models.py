"""Tools: the system's own rows and those that users define; MCP servers; autotests."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django_celery_beat.models import PeriodicTask

from core.crypto import EncryptedJSONField, EncryptedTextField
from core.ids import prefixed_id, short_id
from core.models import OwnedQuerySet, OwnedRow, Timestamped

# --- Tools ---------------------------------------------------------------------------------------


class Category(models.TextChoices):
    QUERY = "query", _("Query (runs on the server)")
    SYSTEM = "system", _("System (runs on the client)")


class Method(models.TextChoices):
    GET = "GET"
    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"
    DELETE = "DELETE"


def new_tool_id() -> str:
    return prefixed_id("tool")[:13]


def empty_object_schema() -> dict[str, Any]:
    return {"type": "object", "properties": {}, "required": []}


class Tool(OwnedRow):
    """Something an assistant can do. System rows (no owner) are written by the first start.

    A query tool of a user is a request to a service; `http_headers` may hold secrets and are never
    shown as they are.
    """

    id = models.CharField(max_length=64, primary_key=True, default=new_tool_id, editable=False)
    name = models.CharField(_("name"), max_length=100)
    function_name = models.CharField(
        _("function name"),
        max_length=64,
        blank=True,
        help_text=_("What the model calls it by. Empty: the id."),
    )
    description = models.CharField(
        _("description"),
        max_length=1000,
        blank=True,
        help_text=_("The model reads it to decide when to use the tool."),
    )
    category = models.CharField(_("runs on"), max_length=8, choices=Category.choices)
    icon = models.CharField(_("icon"), max_length=64, blank=True, default="Wrench")
    logo_url = models.CharField(_("logo"), max_length=1000, blank=True)
    http_method = models.CharField(
        _("method"), max_length=8, choices=Method.choices, default=Method.GET
    )
    http_url = models.CharField(
        _("address"),
        max_length=2000,
        blank=True,
        help_text=_("{name} inserts an argument or a secret."),
    )
    http_headers = EncryptedJSONField(_("headers"), default=dict, blank=True)
    http_body = models.TextField(
        _("body"),
        blank=True,
        help_text=_("A template for the JSON body. Empty: an object of all arguments."),
    )
    http_timeout_ms = models.PositiveIntegerField(
        _("time limit (ms)"),
        default=10_000,
        validators=[MinValueValidator(1000), MaxValueValidator(60_000)],
    )
    result_pointer = models.CharField(
        _("part of the answer"),
        max_length=500,
        blank=True,
        help_text=_("A JSON pointer such as /data/items. Empty: all of it."),
    )
    parameter_schema = models.JSONField(_("parameters"), default=empty_object_schema)
    parameter_defaults = models.JSONField(_("default arguments"), default=dict, blank=True)
    wait_for_response = models.BooleanField(
        _("wait for response"),
        default=False,
        help_text=_("Tools of the client only: the answer waits for what the client returns."),
    )
    is_enabled = models.BooleanField(_("enabled"), default=True)
    # The last trial or autotest, for the operator.
    checked_at = models.DateTimeField(_("last tested"), null=True, editable=False)
    check_ok = models.BooleanField(_("works"), null=True, editable=False)
    check_message = models.CharField(_("test result"), max_length=500, blank=True, editable=False)

    objects = OwnedQuerySet.as_manager()

    class Meta:
        verbose_name = _("tool")
        verbose_name_plural = _("tools")
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["owner", "function_name"],
                condition=~models.Q(function_name=""),
                name="tool_function_once",
                nulls_distinct=False,
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def called(self) -> str:
        """What models call it by, as far as no other tool of the assistant has that name."""
        return self.function_name or self.pk


class ToolSecret(models.Model):
    """A value for `{name}` in a tool's request. It goes to the host it was entered for only."""

    id = models.BigAutoField(primary_key=True)
    tool = models.ForeignKey(Tool, models.CASCADE, related_name="secrets")
    name = models.CharField(_("name"), max_length=64)
    value = EncryptedTextField(_("value"))
    host = models.CharField(_("host"), max_length=255, editable=False)

    class Meta:
        verbose_name = _("secret")
        verbose_name_plural = _("secrets")
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tool", "name"], name="tool_secret_once")
        ]

    def __str__(self) -> str:
        return self.name


class ToolBackend(Timestamped):
    """The service behind one of the built-in tools. Set by operators."""

    class Vendor(models.TextChoices):
        OPEN_METEO = "open_meteo", "Open-Meteo"
        SEARXNG = "searxng", "SearXNG"
        TAVILY = "tavily", "Tavily"

    tool = models.OneToOneField(
        Tool, models.CASCADE, primary_key=True, related_name="backend", verbose_name=_("tool")
    )
    vendor = models.CharField(_("service"), max_length=32, choices=Vendor.choices)
    base_url = models.CharField(_("address"), max_length=1000)
    api_key = EncryptedTextField(_("API key"), blank=True, default="")
    is_enabled = models.BooleanField(_("enabled"), default=True)

    class Meta:
        verbose_name = _("service of a tool")
        verbose_name_plural = _("services of tools")

    def __str__(self) -> str:
        return f"{self.tool_id}: {self.get_vendor_display()}"


# --- MCP -----------------------------------------------------------------------------------------


class Transport(models.TextChoices):
    STREAMABLE_HTTP = "streamable_http", _("Streamable HTTP")
    SSE = "sse", "SSE"
    STDIO = "stdio", _("stdio (from the operator's file)")


class McpServer(OwnedRow):
    """A server whose tools assistants can use.

    Rows with stdio are written from the operator's file; the API makes none. `tools` is what the
    server listed last: `{name, description, input_schema, digest}`. A tool whose digest is not
    among the `approved_digests` is not offered to models until somebody who may edit the server
    approves it.
    """

    name = models.CharField(_("name"), max_length=100)
    prefix = models.CharField(
        _("prefix"),
        max_length=32,
        help_text=_("Models call its tools prefix__tool."),
    )
    transport = models.CharField(
        _("transport"),
        max_length=16,
        choices=Transport.choices,
        default=Transport.STREAMABLE_HTTP,
    )
    url = models.CharField(_("address"), max_length=2000, blank=True)
    headers = EncryptedJSONField(_("headers"), default=dict, blank=True)
    logo_url = models.CharField(_("logo"), max_length=1000, blank=True)
    # What each user may set: rows {key, label, target: "header"|"parameter", required}.
    config_fields = models.JSONField(_("settings of users"), default=list, blank=True)
    timeout_ms = models.PositiveIntegerField(
        _("time limit of a call (ms)"),
        default=30_000,
        validators=[MinValueValidator(1000), MaxValueValidator(120_000)],
    )
    is_enabled = models.BooleanField(_("enabled"), default=True)

    tools = models.JSONField(_("tools"), default=list, blank=True, editable=False)
    approved_digests = models.JSONField(_("approved"), default=list, editable=False)
    listed_at = models.DateTimeField(_("tools listed"), null=True, editable=False)
    checked_at = models.DateTimeField(_("last tested"), null=True, editable=False)
    check_ok = models.BooleanField(_("works"), null=True, editable=False)
    check_message = models.CharField(_("test result"), max_length=500, blank=True, editable=False)

    objects = OwnedQuerySet.as_manager()

    class Meta:
        verbose_name = _("MCP server")
        verbose_name_plural = _("MCP servers")
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["owner", "prefix"], name="mcp_prefix_once", nulls_distinct=False
            )
        ]

    def __str__(self) -> str:
        return self.name


class McpUserConfig(Timestamped):
    """What one user set for a server: values of its `config_fields` by key."""

    id = models.CharField(max_length=64, primary_key=True, default=short_id, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    server = models.ForeignKey(McpServer, models.CASCADE, related_name="user_configs")
    values = EncryptedJSONField(_("values"), default=dict, blank=True)

    class Meta:
        verbose_name = _("MCP setting of a user")
        verbose_name_plural = _("MCP settings of users")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["owner", "server"], name="mcp_config_once")
        ]


# --- Autotests -----------------------------------------------------------------------------------


class Subject(models.TextChoices):
    LLM = "llm", _("Language model")
    ASR = "asr", _("Speech recogniser")
    VOICE = "voice", _("Voice")
    EMBEDDER = "embedder", _("Embedding model")
    RERANKER = "reranker", _("Rerank model")
    TOOL = "tool", _("Tool")
    MCP = "mcp", _("MCP server")
    ASSISTANT = "assistant", _("Assistant")


class RunStatus(models.TextChoices):
    QUEUED = "queued", _("Waiting")
    RUNNING = "running", _("Running")
    PASSED = "passed", _("Passed")
    FAILED = "failed", _("Failed")
    BROKEN = "broken", _("Broken off")

    @classmethod
    def open(cls) -> list[RunStatus]:
        """Of runs that have not ended."""
        return [cls.QUEUED, cls.RUNNING]


class Trigger(models.TextChoices):
    API = "api", _("API")
    CONSOLE = "console", _("Console")
    SCHEDULE = "schedule", _("Schedule")


class AutotestRun(models.Model):
    """One run of the tests of one thing. `cases` grows while it runs.

    A case is `{name, passed, message, duration_ms}`. The name of what was tested is kept, so that
    history stays readable after it is gone.
    """

    id = models.CharField(max_length=64, primary_key=True, default=short_id, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("owner"),
    )
    subject = models.CharField(_("kind"), max_length=16, choices=Subject.choices)
    subject_id = models.CharField(_("id"), max_length=64)
    subject_name = models.CharField(_("name"), max_length=200, blank=True)
    trigger = models.CharField(_("started by"), max_length=16, choices=Trigger.choices)
    status = models.CharField(
        _("status"), max_length=16, choices=RunStatus.choices, default=RunStatus.QUEUED
    )
    cases = models.JSONField(_("cases"), default=list)
    cases_expected = models.PositiveIntegerField(default=0, editable=False)
    passed = models.PositiveIntegerField(_("passed"), default=0)
    failed = models.PositiveIntegerField(_("failed"), default=0)
    error = models.CharField(_("error"), max_length=500, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    started_at = models.DateTimeField(_("started"), null=True)
    finished_at = models.DateTimeField(_("finished"), null=True)
    duration_ms = models.PositiveIntegerField(_("duration (ms)"), null=True)
    heartbeat_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = _("autotest")
        verbose_name_plural = _("autotests")
        ordering: ClassVar = ["-created_at"]
        indexes: ClassVar = [
            models.Index(fields=["subject", "subject_id", "-created_at"], name="autotest_history"),
            models.Index(fields=["-created_at"], name="autotest_latest"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["owner", "subject", "subject_id"],
                condition=models.Q(status__in=["queued", "running"]),
                name="autotest_once_at_a_time",
                nulls_distinct=False,
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_subject_display()} {self.subject_name}"


class AutotestSchedule(Timestamped):
    """Tests one thing again and again. The periodic task is the scheduler's side of it."""

    class Every(models.IntegerChoices):
        QUARTER_HOUR = 15, _("15 minutes")
        HOUR = 60, _("hour")
        SIX_HOURS = 360, _("6 hours")
        DAY = 1440, _("day")
        WEEK = 10080, _("week")

    id = models.BigAutoField(primary_key=True)
    subject = models.CharField(_("kind"), max_length=16, choices=Subject.choices)
    subject_id = models.CharField(_("id"), max_length=64)
    every_minutes = models.PositiveIntegerField(
        _("every"), choices=Every.choices, default=Every.DAY
    )
    is_enabled = models.BooleanField(_("enabled"), default=True)
    periodic_task = models.OneToOneField(
        PeriodicTask, models.SET_NULL, null=True, editable=False, related_name="+"
    )

    class Meta:
        verbose_name = _("autotest schedule")
        verbose_name_plural = _("autotest schedules")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["subject", "subject_id"], name="schedule_once")
        ]

    def __str__(self) -> str:
        return f"{self.get_subject_display()} {self.subject_id}"


class Scenario(OwnedRow):
    """A scripted conversation that tests an assistant.

    `steps` are rows `{say, expect_words: [..], forbid_words: [..], expect_tools: [..]}`. A step
    passes when the answer has every expected word (a word may be alternatives: "yes|sure"), none of
    the forbidden, and every expected tool was called without an error.
    """

    name = models.CharField(_("name"), max_length=100)
    # The assistant's id: what tests it lies on a higher floor.
    assistant_id = models.CharField(_("assistant"), max_length=64, db_index=True)
    steps = models.JSONField(_("steps"), default=list)

    objects = OwnedQuerySet.as_manager()

    class Meta:
        verbose_name = _("test conversation")
        verbose_name_plural = _("test conversations")
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name
