"""The private addresses that operators allowed in the console."""

from __future__ import annotations

import ipaddress
import logging

from providers.models import OutboundRule

logger = logging.getLogger(__name__)


def operator_rules() -> tuple[str, ...]:
    """The rules as `OUTBOUND_ALLOW` writes them: CIDR[:port], IPv6 as [address]/bits:port."""
    rules = []
    for network, port in OutboundRule.objects.values_list("network", "port"):
        try:
            rules.append(written_rule(network, port))
        except ValueError:
            # One row that cannot be read must not stop every request of the product.
            logger.error("Ignored the allowed private address %r: not an address", network)
    return tuple(rules)


def written_rule(network: str, port: int | None) -> str:
    """One rule. Raises ValueError for what is no address or network."""
    parsed = ipaddress.ip_network(network.strip(), strict=False)
    if port is None:
        return str(parsed)
    if parsed.version == 6:
        return f"[{parsed.network_address}]/{parsed.prefixlen}:{port}"
    return f"{parsed}:{port}"
