"""The private addresses that operators allowed in the console."""

from __future__ import annotations

from providers.models import OutboundRule


def operator_rules() -> tuple[str, ...]:
    """The rules as `OUTBOUND_ALLOW` writes them: CIDR[:port], IPv6 with a port in brackets."""
    return tuple(
        _written(network, port)
        for network, port in OutboundRule.objects.values_list("network", "port")
    )


def _written(network: str, port: int | None) -> str:
    if port is None:
        return network
    return f"[{network}]:{port}" if ":" in network else f"{network}:{port}"
