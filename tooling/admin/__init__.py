"""Tools, their services, MCP servers and autotests in the console."""

from __future__ import annotations

from tooling.admin import mcp, models, runs, scenarios, schedules, services, tools

__all__ = ["mcp", "models", "runs", "scenarios", "schedules", "services", "tools"]
