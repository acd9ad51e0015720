"""The public names that a new installation offers, on the models that are always there."""

from __future__ import annotations

from gateway.models import Kind, PublicModel, Route
from providers.models import Llm

# Published samples ask for them. Each with its kind, and the built-in model behind it.
FIRST_MODELS = {
    "xiaoai-chat-v1": (Kind.CHAT, "builtin-demo"),
    "xiaoai-embed-v1": (Kind.EMBEDDING, "builtin-hashing"),
}
_DESCRIPTION = (
    "Answered by a built-in, offline model. Add routes to models of vendors; "
    "those of a lower priority number are asked first."
)


def create_first_models() -> None:
    """Adds the names that are not there yet. The built-in models must be."""
    for name, (kind, llm_id) in FIRST_MODELS.items():
        if not PublicModel.objects.filter(name=name).exists():
            model = PublicModel.objects.create(name=name, kind=kind, description=_DESCRIPTION)
            Route.objects.create(model=model, llm=Llm.objects.get(pk=llm_id), priority=10)
