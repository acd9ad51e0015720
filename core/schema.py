"""How the OpenAPI schema shows each family's envelope."""

from __future__ import annotations

from drf_spectacular.openapi import AutoSchema


class FamilySchema(AutoSchema):
    """Operations as the view declares them."""
