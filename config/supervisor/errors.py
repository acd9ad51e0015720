"""The one error of starting up."""

from __future__ import annotations


class StartError(Exception):
    """The product cannot start; the message is one line for the operator."""
