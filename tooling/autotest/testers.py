"""The testers of this floor and those below; what lies above registers its own."""

from __future__ import annotations

from tooling.autotest import language_models, mcp_servers, speech, tools, vectors
from tooling.autotest.engine import register
from tooling.models import Subject


def register_all() -> None:
    """Makes models and tools testable."""
    register(Subject.LLM, language_models.TESTER)
    register(Subject.ASR, speech.RECOGNISER_TESTER)
    register(Subject.VOICE, speech.SPEAKER_TESTER)
    register(Subject.EMBEDDER, vectors.EMBEDDER_TESTER)
    register(Subject.RERANKER, vectors.RERANKER_TESTER)
    register(Subject.TOOL, tools.TESTER)
    register(Subject.MCP, mcp_servers.TESTER)
