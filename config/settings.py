"""The only settings module. Every variable is read through `config.env.read`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import environ
from django.core.management.utils import get_random_secret_key
from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _

from config.env import (
    as_bool,
    as_count,
    as_field_keys,
    as_list,
    as_log_level,
    as_networks,
    as_ports,
    as_time_zone,
    positive,
    read,
    url_with,
    use_runtime_file,
)

BASE_DIR = Path(__file__).resolve().parent.parent

# --- Where it runs -----------------------------------------------------------------------------
DATA_DIR = read(
    "DATA_DIR",
    lambda text: (BASE_DIR / text).resolve(),
    default="var",
    help="Folder for the embedded database, Redis, uploads and generated secrets.",
)
# What `manage.py up` generated or started is written there, so that other commands find it.
use_runtime_file(DATA_DIR / "runtime.env")

HOST = read("HOST", str, default="127.0.0.1", help="Address the web processes listen on.")
PORTS = read(
    "PORTS", as_ports, default="8000,8080,8091", help="Ports, comma-separated; each serves it all."
)
WEB_PROCESSES = read(
    "WEB_PROCESSES", as_count, default="0", help="Web processes; 0 means one per processor core."
)
WORKER_THREADS = read(
    "WORKER_THREADS", positive, default="20", help="Background jobs that wait on the network."
)
RUN_CAPACITY = read(
    "RUN_CAPACITY",
    positive,
    default="64",
    help="Tasks that one worker process carries out at once.",
)
PARSE_PROCESSES = read(
    "PARSE_PROCESSES", positive, default="1", help="Background processes that parse documents."
)
LOG_LEVEL = read(
    "LOG_LEVEL", as_log_level, default="INFO", help="DEBUG, INFO, WARNING or ERROR, on stderr."
)

# --- Security ----------------------------------------------------------------------------------
DEBUG = read("DEBUG", as_bool, default="false", help="Development only: tracebacks in answers.")
SECRET_KEY = (
    read(
        "SECRET_KEY",
        str,
        default="",
        help="Signs sessions, tokens and links. `manage.py up` generates one in DATA_DIR.",
        is_secret=True,
    )
    # Commands that need no stable key (up, makemigrations, check) run with one of their own.
    or get_random_secret_key()
)
FIELD_KEYS = read(
    "FIELD_KEYS",
    as_field_keys,
    default="",
    help="Fernet keys for stored secrets, newest first. `manage.py up` generates one.",
    is_secret=True,
)
ALLOWED_HOSTS = read(
    "ALLOWED_HOSTS",
    as_list,
    default="localhost,127.0.0.1,[::1]",
    help="Host names that the server answers to; `*` for any.",
)
HTTPS = read(
    "HTTPS",
    as_bool,
    default="false",
    help="True behind a TLS proxy: secure cookies, HSTS, redirect; trusts X-Forwarded-Proto.",
)
CSRF_TRUSTED_ORIGINS = read(
    "CSRF_TRUSTED_ORIGINS",
    as_list,
    default="",
    help="Further origins of the console, as `https://host`, comma-separated.",
)
TRUSTED_PROXIES = read(
    "TRUSTED_PROXIES",
    as_networks,
    default="127.0.0.1",
    help="Proxies whose X-Forwarded-For and -Proto are believed: addresses or CIDR, by commas.",
)
OUTBOUND_ALLOW = read(
    "OUTBOUND_ALLOW",
    as_list,
    default="",
    help="Private addresses that outbound requests may reach: CIDR[:port], comma-separated.",
)
MCP_STDIO_FILE = read(
    "MCP_STDIO_FILE",
    str,
    default="",
    help="JSON file of MCP servers that are run as processes here; nothing else can name one.",
)
# A callable that adds what operators allowed in the console (core must not import providers).
OUTBOUND_RULES_SOURCE = "providers.outbound.operator_rules"

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
X_FRAME_OPTIONS = "DENY"

# --- Limits ------------------------------------------------------------------------------------
PLATFORM_REQUESTS_PER_MINUTE = read(
    "PLATFORM_REQUESTS_PER_MINUTE",
    positive,
    default="100",
    help="Requests a minute per credential on /api/v1, unless its key says otherwise.",
)
GATEWAY_REQUESTS_PER_MINUTE = read(
    "GATEWAY_REQUESTS_PER_MINUTE",
    positive,
    default="60",
    help="Requests a minute per key on the gateway (/v1), unless the key says otherwise.",
)
GATEWAY_RECORD_RETENTION_DAYS = read(
    "GATEWAY_RECORD_RETENTION_DAYS",
    positive,
    default="90",
    help="Days that the record of a request on the gateway is kept; sums by day stay.",
)
VOICE_SOCKETS_PER_USER = read(
    "VOICE_SOCKETS_PER_USER", positive, default="10", help="Concurrent voice sockets per user."
)
VOICE_INACTIVITY_S = read(
    "VOICE_INACTIVITY_S", positive, default="60", help="A silent voice socket is closed after this."
)
FILE_LINK_HOURS = read(
    "FILE_LINK_HOURS", positive, default="24", help="Hours that a signed link to a file lasts."
)
UPLOAD_KEEP_DAYS = read(
    "UPLOAD_KEEP_DAYS", positive, default="30", help="Days that a file sent to /upload is kept."
)
USER_FILES_QUOTA_MB = read(
    "USER_FILES_QUOTA_MB",
    positive,
    default="1024",
    help="Megabytes that the files of one user's folder may have in all.",
)
RUN_RETENTION_DAYS = read(
    "RUN_RETENTION_DAYS",
    positive,
    default="30",
    help="Days that the log of a task or chat is kept after its end; messages stay.",
)
PARSE_TIMEOUT_S = read(
    "PARSE_TIMEOUT_S", positive, default="120", help="Seconds that reading a document may take."
)
PARSE_MEMORY_MB = read(
    "PARSE_MEMORY_MB",
    positive,
    default="1024",
    help="Megabytes of memory that reading a document may take.",
)
PARSE_MAX_PAGES = read(
    "PARSE_MAX_PAGES", positive, default="5000", help="Pages, slides or sheets of a document."
)
PARSE_MAX_CHARS = read(
    "PARSE_MAX_CHARS", positive, default="20000000", help="Characters of a document's text."
)
OCR_TIMEOUT_S = read(
    "OCR_TIMEOUT_S", positive, default="1800", help="As PARSE_TIMEOUT_S, where OCR reads."
)
OCR_MEMORY_MB = read(
    "OCR_MEMORY_MB", positive, default="3072", help="As PARSE_MEMORY_MB, where OCR reads."
)
METRICS_TOKEN = read(
    "METRICS_TOKEN",
    str,
    default="",
    help="Bearer token with which Prometheus may read /metrics; empty: operators only.",
    is_secret=True,
)
ACCESS_TOKEN_LIFETIME_S = 86_400
REFRESH_TOKEN_LIFETIME_S = 30 * 86_400

# --- Model vendors that a start adds, once each ------------------------------------------------
OPENAI_API_KEY = read("OPENAI_API_KEY", str, default="", help="Adds OpenAI, once.", is_secret=True)
OPENAI_BASE_URL = read(
    "OPENAI_BASE_URL", str, default="", help="With OPENAI_API_KEY: another address that speaks it."
)
OPENAI_MODEL = read(
    "OPENAI_MODEL", str, default="gpt-4.1-mini", help="The language model to add at OpenAI."
)
OPENAI_ASR_MODEL = read(
    "OPENAI_ASR_MODEL",
    str,
    default="gpt-4o-mini-transcribe",
    help="The recogniser to add there. With OPENAI_BASE_URL: none, unless set.",
)
OPENAI_TTS_MODEL = read(
    "OPENAI_TTS_MODEL",
    str,
    default="gpt-4o-mini-tts",
    help="The voice model to add there. With OPENAI_BASE_URL: none, unless set.",
)
ANTHROPIC_API_KEY = read(
    "ANTHROPIC_API_KEY", str, default="", help="Adds Anthropic, once.", is_secret=True
)
DASHSCOPE_API_KEY = read(
    "DASHSCOPE_API_KEY", str, default="", help="Adds DashScope, once.", is_secret=True
)
OLLAMA_BASE_URL = read(
    "OLLAMA_BASE_URL", str, default="", help="Adds Ollama, once, e.g. http://127.0.0.1:11434"
)
OLLAMA_MODEL = read(
    "OLLAMA_MODEL", str, default="llama3.2", help="The language model to add at Ollama."
)

# --- Stores ------------------------------------------------------------------------------------
DATABASE_URL = read(
    "DATABASE_URL",
    url_with("postgres", "postgresql"),
    default="postgres://app@127.0.0.1:5432/app",
    help="An own Postgres (16+) with pgvector; without it `manage.py up` starts an embedded one.",
    is_secret=True,
)
REDIS_URL = read(
    "REDIS_URL",
    url_with("redis", "rediss", "unix"),
    default="redis://127.0.0.1:6379/0",
    help="An own Redis or Valkey (6.2+); without it `manage.py up` starts an embedded one.",
    is_secret=True,
)
# Connections of one process; the embedded server's limit follows from it (config.supervisor.up).
DATABASE_POOL_SIZE = 24
_database: dict[str, Any] = environ.Env.db_url_config(DATABASE_URL)
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        **_database,
        "ENGINE": "core.postgres",
        # Under ASGI every request runs in a thread of its own, so connections can't be kept by
        # threads; a pool of the process keeps them. A dead one is noticed when it is taken.
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            # Of a server whose machine is gone, nothing tells the kernel for a quarter of an hour.
            "connect_timeout": 10,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
            **_database.get("OPTIONS", {}),
            "pool": {"min_size": 1, "max_size": DATABASE_POOL_SIZE, "timeout": 5},
        },
    }
}
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}
}
MEDIA_ROOT = DATA_DIR / "media"
USER_FILES_DIR = read(
    "USER_FILES_DIR",
    lambda text: (BASE_DIR / text).resolve() if text else DATA_DIR / "user_files",
    default="",
    help="Folder of the users' own folders; empty: `user_files` in DATA_DIR.",
)

# What was answered on the gateway lies here until it is in the database.
GATEWAY_JOURNAL_DIR = DATA_DIR / "gateway"

# --- Django ------------------------------------------------------------------------------------
INSTALLED_APPS = [
    # Only the development server needs it, and it takes 15 MB of every process.
    *(["daphne"] if "runserver" in sys.argv else []),
    "unfold",
    "unfold.contrib.filters",
    "django.forms",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "channels",
    "django_celery_beat",
    "core",
    "accounts",
    "providers",
    "knowledge",
    "tooling",
    "assistants",
    "conversations",
    "realtime",
    "gateway",
    # Last, so that it can take back admin pages that other apps registered.
    "config.apps.ConfigConfig",
]
MIDDLEWARE = [
    "core.middleware.FamilyErrorMiddleware",
    "core.inline.Security",
    "config.static_files.StaticFilesMiddleware",
    "core.inline.Session",
    "core.inline.Locale",
    "core.inline.Common",
    "core.inline.Csrf",
    "core.inline.Authentication",
    "core.inline.Messages",
    "core.inline.XFrameOptions",
]
# They look for Django's middleware by its name; those of core.inline are the same classes.
SILENCED_SYSTEM_CHECKS = ["security.W001", "security.W002", "security.W003"]
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
APPEND_SLASH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
# Widgets may have templates in our own folder.
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"
LOGIN_REDIRECT_URL = "/admin/"
AUTH_USER_MODEL = "accounts.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
FORMAT_MODULE_PATH = ["config.formats"]
TIME_ZONE = read(
    "TIME_ZONE", as_time_zone, default="UTC", help="Time zone of the console and of assistants."
)
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = DEBUG
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 2**20

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.authentication.CredentialAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.permissions.HasScope"],
    "DEFAULT_THROTTLE_CLASSES": ["accounts.limits.CredentialThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [
        "core.rest.StrictJSONParser",
        "rest_framework.parsers.FormParser",
        "rest_framework.parsers.MultiPartParser",
    ],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "core.rest.LenientNegotiation",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "core.schema.FamilySchema",
    "EXCEPTION_HANDLER": "core.families.exception_handler",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "AI Video Assistant",
    "DESCRIPTION": "Assistants that talk, see and act.",
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    # Fields of one name with different choices.
    "ENUM_NAME_OVERRIDES": {
        "AssistantLanguageEnum": "assistants.models.Language.choices",
        "RecogniserLanguageEnum": "providers.models.AsrLanguage.choices",
        "KnowledgeBaseStatusEnum": "knowledge.overview.BaseState.choices",
        "DocumentStatusEnum": "knowledge.api.words.DOCUMENT_WORDS",
        "FileStatusEnum": "knowledge.api.words.AGENTCHAT_WORDS",
        "VectorSpaceStatusEnum": "knowledge.models.SpaceStatus.choices",
        "DocumentStageEnum": "knowledge.models.DocumentStatus.choices",
        "StageEnum": "knowledge.models.Stage.choices",
        "CallStatusEnum": "conversations.models.CallStatus.choices",
        "TaskStatusEnum": "conversations.models.RunStatus.choices",
        "ConversationStateEnum": "conversations.api.tasks_serializers.CONVERSATION_STATES",
        "RunModeEnum": "conversations.background.guidance.RUN_MODES",
        "KnowledgeModeEnum": "assistants.models.KnowledgeMode.choices",
    },
}


def _page(title: Any, icon: str, name: str) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": reverse_lazy(f"admin:{name}")}


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "AI Video Assistant",
    "SITE_HEADER": "AI Video Assistant",
    "SITE_SYMBOL": "graphic_eq",
    "SITE_URL": "/admin/",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("favicon.svg")}
    ],
    "STYLES": [lambda request: static("console/console.css")],
    "SHOW_LANGUAGES": True,
    "DASHBOARD_CALLBACK": "config.console.dashboard",
    "COMMAND": {"search_models": True},
    "COLORS": {
        "primary": {
            "50": "oklch(97.1% .014 220)",
            "100": "oklch(94.1% .030 220)",
            "200": "oklch(89.0% .058 220)",
            "300": "oklch(81.5% .095 221)",
            "400": "oklch(71.5% .125 222)",
            "500": "oklch(61.5% .126 224)",
            "600": "oklch(52.5% .108 226)",
            "700": "oklch(45.5% .092 227)",
            "800": "oklch(40.0% .078 228)",
            "900": "oklch(35.5% .066 229)",
            "950": "oklch(26.0% .050 230)",
        }
    },
    "SIDEBAR": {
        "show_search": True,
        "command_search": True,
        "navigation": [
            {
                "items": [_page(_("Home"), "home", "index")],
            },
            {
                "title": _("Assistants"),
                "items": [
                    _page(_("Assistants"), "support_agent", "assistants_assistant_changelist"),
                ],
            },
            {
                "title": _("Conversations"),
                "items": [
                    _page(_("Conversations"), "forum", "conversations_conversation_changelist"),
                    _page(_("Tasks"), "task", "conversations_run_changelist"),
                    _page(_("Tool calls"), "data_object", "conversations_tooluse_changelist"),
                    _page(_("Memories"), "bookmark", "conversations_memory_changelist"),
                    _page(_("Feedback"), "thumbs_up_down", "conversations_feedback_changelist"),
                    {"title": _("Usage"), "icon": "bar_chart", "link": reverse_lazy("usage")},
                ],
            },
            {
                "title": _("Guidance"),
                "items": [
                    _page(_("Prompts"), "edit_note", "conversations_prompt_changelist"),
                    _page(
                        _("Personalizations"), "tune", "conversations_personalization_changelist"
                    ),
                ],
            },
            {
                "title": _("Tools"),
                "items": [
                    _page(_("Tools"), "construction", "tooling_tool_changelist"),
                    _page(_("MCP servers"), "hub", "tooling_mcpserver_changelist"),
                    _page(_("Services of tools"), "dns", "tooling_toolbackend_changelist"),
                ],
            },
            {
                "title": _("Knowledge"),
                "items": [
                    _page(_("Knowledge bases"), "menu_book", "knowledge_knowledgebase_changelist"),
                    _page(_("Documents"), "description", "knowledge_document_changelist"),
                    _page(_("Search"), "manage_search", "knowledge_searchrecord_changelist"),
                    _page(_("Uploads"), "upload_file", "knowledge_upload_changelist"),
                ],
            },
            {
                "title": _("Models"),
                "items": [
                    _page(_("Language models"), "psychology", "providers_llm_changelist"),
                    _page(_("Speech recognisers"), "hearing", "providers_asr_changelist"),
                    _page(_("Voices"), "record_voice_over", "providers_voice_changelist"),
                    _page(_("Embedding models"), "scatter_plot", "providers_embedder_changelist"),
                    _page(_("Rerank models"), "sort", "providers_reranker_changelist"),
                    _page(_("Providers"), "cloud", "providers_provider_changelist"),
                ],
            },
            {
                "title": _("Gateway"),
                "items": [
                    _page(_("Public models"), "storefront", "gateway_publicmodel_changelist"),
                    _page(_("Requests"), "swap_vert", "gateway_usagerecord_changelist"),
                    {
                        "title": _("Usage and cost"),
                        "icon": "payments",
                        "link": reverse_lazy("gateway-usage-page"),
                    },
                ],
            },
            {
                "title": _("Autotests"),
                "items": [
                    _page(_("Runs"), "experiment", "tooling_autotestrun_changelist"),
                    _page(_("Schedules"), "schedule", "tooling_autotestschedule_changelist"),
                    _page(_("Test conversations"), "rule", "tooling_scenario_changelist"),
                ],
            },
            {
                "title": _("Access"),
                "items": [
                    _page(_("Users"), "group", "accounts_user_changelist"),
                    _page(_("API keys"), "key", "accounts_apikey_changelist"),
                    _page(
                        _("Allowed private addresses"),
                        "lan",
                        "providers_outboundrule_changelist",
                    ),
                ],
            },
        ],
    },
}

# --- Background work ---------------------------------------------------------------------------
CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "chat"
CELERY_TASK_ROUTES = {
    "knowledge.prepare": {"queue": "parse"},
    "knowledge.prepare_with_ocr": {"queue": "ocr"},
    "knowledge.*": {"queue": "ingest"},
}
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# kombu looks for abandoned messages every 100 s unless told otherwise, and hands a message to a
# second worker when the first needs longer than the visibility time-out.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 12 * 3600,
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
}
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_SCHEDULE = {
    "conversations.close_lost_calls": {
        "task": "conversations.close_lost_calls",
        "schedule": 15.0,
        # A run that found no worker in time is superseded by the next one.
        "options": {"expires": 12.0},
    },
    "conversations.sweep_runs": {
        "task": "conversations.sweep_runs",
        "schedule": 10.0,
        "options": {"expires": 8.0},
    },
    "conversations.delete_old_runs": {
        "task": "conversations.delete_old_runs",
        "schedule": 3600.0,
        "options": {"expires": 600.0},
    },
    "gateway.delete_old_records": {
        "task": "gateway.delete_old_records",
        "schedule": 3600.0,
        "options": {"expires": 600.0},
    },
    "knowledge.sweep": {
        "task": "knowledge.sweep",
        "schedule": 10.0,
        "options": {"expires": 8.0},
    },
    "knowledge.tidy": {
        "task": "knowledge.tidy",
        "schedule": 3600.0,
        "options": {"expires": 600.0},
    },
    "tooling.sweep": {
        "task": "tooling.sweep",
        "schedule": 15.0,
        "options": {"expires": 12.0},
    },
    "tooling.refresh_mcp_lists": {
        "task": "tooling.refresh_mcp_lists",
        "schedule": 60.0,
        "options": {"expires": 50.0},
    },
}
CELERY_TIMEZONE = TIME_ZONE

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "%(asctime)s %(levelname)s %(name)s%(request_mark)s %(message)s"},
    },
    "filters": {"request_id": {"()": "core.logs.RequestIdFilter"}},
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["request_id"],
        }
    },
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    # Libraries that write a line for every request, task or connection.
    "loggers": {
        name: {"level": LOG_LEVEL if LOG_LEVEL in {"DEBUG", "ERROR"} else level}
        for name, level in (
            ("celery", "WARNING"),
            ("django_celery_beat", "WARNING"),
            ("kombu", "WARNING"),
            # Each failed attempt to connect; what needed the connection says so itself.
            ("psycopg.pool", "ERROR"),
            ("uvicorn", "WARNING"),
        )
    }
    # Its lines quote addresses and arguments, which hold users' secrets; what fails is said by us.
    | {"mcp": {"level": "CRITICAL"}}
    # uvicorn asks whether anybody listens, and otherwise makes no line for a request.
    | {"uvicorn.access": {"handlers": [], "propagate": False}}
    # Theirs hold the address of every request; some services want their key in it.
    | {name: {"level": "WARNING"} for name in ("httpx", "httpx2", "httpcore", "httpcore2")},
}
