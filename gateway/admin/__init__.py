"""The gateway in the console: what it offers, to whom, and what was asked of it."""

from gateway.admin import keys, public_models, records, usage

__all__ = ["keys", "public_models", "records", "usage"]
