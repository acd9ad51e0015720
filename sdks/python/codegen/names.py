"""Which operations the package has, under which names. An operation that is not here is not in it.

A resource's class has a method for each operation: `name: "METHOD path"`, with the kind of body in
parentheses where the operation takes several.
"""

from __future__ import annotations

Operations = dict[str, str]


def _rows(path: str, *names: str) -> Operations:
    """The usual operations of a resource, those of `names`."""
    usual = {
        "list": f"GET {path}",
        "create": f"POST {path}",
        "get": f"GET {path}/{{id}}",
        "update": f"PATCH {path}/{{id}}",
        "delete": f"DELETE {path}/{{id}}",
    }
    return {name: usual[name] for name in names or usual}


_BASES = "/api/v1/knowledge-bases"
_DOCUMENTS = f"{_BASES}/{{base_id}}/documents"

RESOURCES: dict[str, Operations] = {
    "Assistants": {
        **_rows("/api/v1/assistants"),
        "config": "GET /api/v1/assistants/{id}/config",
        "opener_audio": "GET /api/v1/assistants/{id}/opener-audio",
        "generate_opener_audio": "POST /api/v1/assistants/{id}/opener-audio/generate",
    },
    "Llm": {
        **_rows("/api/v1/llm"),
        "chat": "POST /api/v1/llm/{id}/chat",
        "preview": "POST /api/v1/llm/{id}/preview",
        "test": "POST /api/v1/llm/{id}/test",
    },
    "Asr": {
        **_rows("/api/v1/asr"),
        "transcribe": "POST /api/v1/asr/{id}/transcribe",
        "preview": "POST /api/v1/asr/{id}/preview",
        "test": "POST /api/v1/asr/{id}/test",
    },
    "Voices": {
        **_rows("/api/v1/voices"),
        "preview": "POST /api/v1/voices/{id}/preview",
        "test": "POST /api/v1/voices/{id}/test",
    },
    "KnowledgeBases": {
        **_rows(_BASES),
        "search": f"POST {_BASES}/{{id}}/search",
    },
    "Documents": {
        "list": f"GET {_DOCUMENTS}",
        "upload": f"POST {_DOCUMENTS} (multipart/form-data)",
        "create": f"POST {_DOCUMENTS} (application/json)",
        "get": f"GET {_DOCUMENTS}/{{id}}",
        "delete": f"DELETE {_DOCUMENTS}/{{id}}",
        "cancel": f"POST {_DOCUMENTS}/{{id}}/cancel",
        "reindex": f"POST {_DOCUMENTS}/{{id}}/reindex",
    },
    "History": {
        **_rows("/api/v1/history", "list", "get", "update", "delete"),
        "stats": "GET /api/v1/history/stats",
    },
    "Tools": {
        "list": "GET /api/v1/tools/list",
        "get": "GET /api/v1/tools/list/{tool_id}",
        "health": "GET /api/v1/tools/health",
        "autotest": "POST /api/v1/tools/autotest",
        "autotest_one": "POST /api/v1/tools/autotest/{kind}/{subject_id}",
        "test_message": "POST /api/v1/tools/test-message",
    },
    "ToolResources": _rows("/api/v1/tools/resources"),
    "AutotestRuns": _rows("/api/v1/tools/autotest/runs", "list", "get"),
    "AutotestScenarios": _rows("/api/v1/tools/autotest/scenarios"),
    "Tasks": {
        "send": "POST /api/v1/messages",
        "list": "GET /api/v1/tasks",
        "get": "GET /api/v1/tasks/{task_id}",
        "cancel": "POST /api/v1/tasks/{task_id}/cancel",
        "list_models": "GET /api/v1/models",
    },
    "TaskConversations": {
        "list": "GET /api/v1/conversations",
        "create": "POST /api/v1/conversations",
        "get": "GET /api/v1/conversations/{conversation_id}",
        "delete": "DELETE /api/v1/conversations/{conversation_id}",
    },
    "Files": {
        "list": "GET /api/v1/files",
        "upload": "POST /api/v1/files/upload",
        "download": "GET /api/v1/files/download",
        "delete": "DELETE /api/v1/files",
    },
    "Prompts": {
        "list": "GET /api/v1/prompts",
        "get": "GET /api/v1/prompts/{name}",
        "save": "POST /api/v1/prompts",
        "delete": "DELETE /api/v1/prompts/{name}",
    },
    "Personalizations": {
        "list": "GET /api/v1/personalizations",
        "get": "GET /api/v1/personalizations/{name}",
        "save": "POST /api/v1/personalizations",
        "delete": "DELETE /api/v1/personalizations/{name}",
    },
    "Chat": {
        "stop": "POST /api/v1/chat/stop",
        "upload": "POST /api/v1/upload",
    },
    "Agents": {
        "list": "GET /api/v1/agent",
        "create": "POST /api/v1/agent",
        "update": "PUT /api/v1/agent",
        "delete": "DELETE /api/v1/agent",
        "search": "POST /api/v1/agent/search",
    },
    "Dialogs": {
        "list": "GET /api/v1/dialog/list",
        "create": "POST /api/v1/dialog",
        "rename": "PUT /api/v1/dialog",
        "delete": "DELETE /api/v1/dialog",
    },
    "McpServers": {
        "list": "GET /api/v1/mcp_server",
        "create": "POST /api/v1/mcp_server",
        "update": "PUT /api/v1/mcp_server",
        "delete": "DELETE /api/v1/mcp_server",
        "tools": "GET /api/v1/mcp_tools",
        "approve_tools": "POST /api/v1/mcp_tools/approve",
        "refresh_tools": "POST /api/v1/mcp_tools/refresh",
    },
    "Memory": {"list": "GET /api/v1/memory", "delete": "DELETE /api/v1/memory"},
    "ApiKeys": _rows("/api/v1/api-keys"),
    "Gateway": {"usage": "GET /api/v1/gateway/usage"},
    "GatewayKeys": _rows("/api/v1/gateway/keys"),
    "GatewayModels": _rows("/api/v1/gateway/models"),
    "GatewayRequests": {
        "list": "GET /api/v1/gateway/requests",
        "get": "GET /api/v1/gateway/requests/{request_id}",
    },
    "VoiceTickets": {"create": "POST /api/v1/voice/tickets"},
}

# What each is, as the docstring of its class says.
DESCRIPTIONS = {
    "Assistants": "What assistants are: prompt, models, voice, knowledge, tools.",
    "Llm": "Language, embedding and rerank models.",
    "Asr": "Speech recognisers.",
    "Voices": "Voices that assistants speak with.",
    "KnowledgeBases": "Knowledge bases, and what it takes to fill and search them.",
    "Documents": "The documents of a knowledge base.",
    "History": "Conversations of every channel, with what was said.",
    "Tools": "The built-in tools, and tests of what the product is connected to.",
    "ToolResources": "Tools of your own.",
    "AutotestRuns": "What tests found.",
    "AutotestScenarios": "Conversations that a test holds, and what it expects of them.",
    "Tasks": "Messages that are answered in the background.",
    "TaskConversations": "Conversations that tasks belong to.",
    "Files": "The user's folder, which tasks read and write.",
    "Prompts": "Prompts that tasks name.",
    "Personalizations": "How tasks address the user, and what they prefer.",
    "Chat": "Chats in writing, answered piece by piece.",
    "Agents": "Assistants as the chat knows them.",
    "Dialogs": "Conversations with an agent in writing.",
    "McpServers": "Servers of tools, by the Model Context Protocol.",
    "Memory": "What assistants remember of the user.",
    "ApiKeys": "Keys of the user.",
    "Gateway": "The gateway of models, for who runs it.",
    "GatewayKeys": "Keys of the gateway, with their limits and budgets.",
    "GatewayModels": "Models that the gateway offers, and where they lead.",
    "GatewayRequests": "What the gateway was asked.",
    "VoiceTickets": "Tickets that let a browser talk to an assistant once, without a key.",
}

# Resources that belong to another, as its attributes.
PARTS: dict[str, dict[str, str]] = {
    "KnowledgeBases": {"documents": "Documents"},
    "Tools": {
        "resources": "ToolResources",
        "runs": "AutotestRuns",
        "scenarios": "AutotestScenarios",
    },
    "Tasks": {
        "conversations": "TaskConversations",
        "files": "Files",
        "prompts": "Prompts",
        "personalizations": "Personalizations",
    },
    "Chat": {
        "agents": "Agents",
        "dialogs": "Dialogs",
        "mcp_servers": "McpServers",
        "memory": "Memory",
    },
    "Gateway": {"keys": "GatewayKeys", "models": "GatewayModels", "requests": "GatewayRequests"},
}

# Besides GET, PUT, PATCH and DELETE, these may be sent again when nobody knows if they were done.
REPEATABLE = {
    "POST /api/v1/agent/search",
    "POST /api/v1/asr/{id}/preview",
    "POST /api/v1/asr/{id}/transcribe",
    "POST /api/v1/chat/stop",
    "POST /api/v1/knowledge-bases/{base_id}/documents/{id}/cancel",
    "POST /api/v1/knowledge-bases/{id}/search",
    "POST /api/v1/personalizations",
    "POST /api/v1/prompts",
    "POST /api/v1/tasks/{task_id}/cancel",
}

# Arguments whose name on the wire is none in Python.
PARAMETERS = {"from": "offset"}

# What the usual operations do.
USUAL = {
    "list": "One page of them.",
    "create": "Makes one.",
    "get": "One of them.",
    "update": "Changes what is given.",
    "delete": "Deletes one.",
}

# Models that the hand-written part needs, beyond those that operations answer with.
EXTRA_MODELS = ("TaskEventShape",)

# Types whose name in the schema says too little, or what they are to the server.
_RENAMED = {
    "Case": "AutotestCase",
    "Config": "AssistantConfig",
    "ConversationCreatedShape": "ConversationCreated",
    "ConversationDataShape": "TaskConversation",
    "Health": "ToolsHealth",
    "ListedShape": "GuidanceEntry",
    "ManagedShape": "ListedTaskConversation",
    "MemoryShape": "MemoryEntry",
    "ModelShape": "TaskModel",
    "Note": "AssistantNote",
    "PersonalizationShape": "SavedPersonalization",
    "PublicModel": "GatewayModel",
    "Record": "GatewayRecord",
    "Reply": "LlmReply",
    "Result": "SearchResult",
    "Results": "SearchResults",
    "SpokenShape": "SpokenMessage",
    "Stage": "DocumentStage",
    "Summary": "AutotestSummary",
    "Timings": "SearchTimings",
    "Transcript": "Transcription",
    "UsageShape": "GatewayUsage",
}


def type_name(component: str) -> str:
    """What a component of the schema is called in Python."""
    return _RENAMED.get(component) or component.removesuffix("Shape")
