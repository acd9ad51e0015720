"""What all models of answers have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """An object of the API. Fields that a newer server adds are kept, in `model_extra`."""

    model_config = ConfigDict(populate_by_name=True, extra="allow", protected_namespaces=())
