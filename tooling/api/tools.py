"""The registry of built-in tools, in the tools family."""

from __future__ import annotations

import time
from typing import Any

from django.utils.translation import get_language
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.errors import NotFound
from core.serializers import WireSerializer
from tooling.catalogue import BUILTIN_TOOLS, BuiltinTool, Language, normalise_tool_id


class ToolSerializer(WireSerializer):
    """A tool as its callers see it."""

    name = serializers.CharField()
    description = serializers.CharField()
    parameters = serializers.JSONField(help_text="A JSON Schema object.")


class ToolsSerializer(WireSerializer):
    tools = serializers.DictField(child=ToolSerializer())


class HealthSerializer(WireSerializer):
    status = serializers.CharField()
    timestamp = serializers.FloatField(help_text="Seconds since 1970.")
    tools = serializers.ListField(child=serializers.CharField())


def language_of(request: Request) -> Language:
    """The language that was asked for; Chinese, as this API is published, for who asks for none."""
    if request.headers.get("Accept-Language", "*").strip() in ("", "*"):
        return "zh"
    return "zh" if (get_language() or "").startswith("zh") else "en"


def _rendered(tool: BuiltinTool, language: Language) -> dict[str, Any]:
    return {
        "name": tool.name.get(language),
        "description": tool.description.get(language),
        "parameters": tool.parameters(language),
    }


class ToolListView(APIView):
    @extend_schema(operation_id="tools_list", responses=ToolsSerializer)
    def get(self, request: Request) -> Response:
        """All built-in tools by id."""
        language = language_of(request)
        return Response(
            {"tools": {tool.id: _rendered(tool, language) for tool in BUILTIN_TOOLS.values()}}
        )


class ToolView(APIView):
    @extend_schema(operation_id="tools_retrieve", responses=ToolSerializer)
    def get(self, request: Request, tool_id: str) -> Response:
        """One built-in tool."""
        tool = BUILTIN_TOOLS.get(normalise_tool_id(tool_id))
        if tool is None:
            raise NotFound(_("Tool not found"), code="TOOL_NOT_FOUND")
        return Response(_rendered(tool, language_of(request)))


class HealthView(APIView):
    """Open to everyone, like every health check."""

    authentication_classes = ()
    permission_classes = ()
    throttle_classes = ()

    @extend_schema(responses=HealthSerializer, auth=[])
    def get(self, request: Request) -> Response:
        """Whether the registry answers, and the tools in it."""
        return Response(
            {"status": "healthy", "timestamp": time.time(), "tools": list(BUILTIN_TOOLS)}
        )
