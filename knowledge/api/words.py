"""The words that the two families have for how far a document is."""

from __future__ import annotations

from typing import Literal, assert_never

from knowledge.models import DocumentStatus

PlatformWord = Literal["pending", "processing", "completed", "failed", "cancelled"]
AgentChatWord = Literal["process", "success", "fail"]
AGENTCHAT_WORDS: tuple[AgentChatWord, ...] = ("process", "success", "fail")
DOCUMENT_WORDS: tuple[PlatformWord, ...] = (
    "pending",
    "processing",
    "completed",
    "failed",
    "cancelled",
)


def platform_word(status: DocumentStatus) -> PlatformWord:
    match status:
        case DocumentStatus.UPLOADED:
            return "pending"
        case DocumentStatus.PARSING | DocumentStatus.CHUNKING | DocumentStatus.EMBEDDING:
            return "processing"
        case DocumentStatus.READY:
            return "completed"
        case DocumentStatus.FAILED:
            return "failed"
        case DocumentStatus.CANCELLED:
            return "cancelled"
    assert_never(status)


def agentchat_word(status: DocumentStatus) -> AgentChatWord:
    match platform_word(status):
        case "pending" | "processing":
            return "process"
        case "completed":
            return "success"
        case "failed" | "cancelled":
            return "fail"


def statuses_called(word: str) -> list[DocumentStatus]:
    """The statuses that the platform family calls so."""
    return [status for status in DocumentStatus if platform_word(status) == word]
