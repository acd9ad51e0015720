"""Servers that speak the Model Context Protocol: our side of it."""
