"""What is configured: gateways, their connections and the sites at the other end, now and before.

The core only ever sees the value (`connections`); where it comes from, files or Azure Resource Manager, is the business
of the other modules.
"""

from __future__ import annotations

from ikestream.inventory.connections import Connection, Connections, Ended, Inventory, Mode, Version, VpnGateway, renew

__all__ = ["Connection", "Connections", "Ended", "Inventory", "Mode", "Version", "VpnGateway", "renew"]
