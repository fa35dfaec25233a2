"""The two ends of a tunnel: what is configured at each, and what lies between them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from ikestream.events import Selector
from ikestream.lab.policy import Policy

ANY = (Selector("0.0.0.0", "255.255.255.255"),)  # noqa: S104 - a selector, nobody listens


class Side(StrEnum):
    """Who begins a negotiation."""

    AZURE = "Azure"
    PEER = "Peer"


@dataclass(frozen=True, slots=True)
class Azure:
    """The connection as configured in Azure. `key` stands for a pre-shared key: only equality counts."""

    policy: Policy
    key: str = "one"
    selectors: tuple[Selector, ...] = ANY  # its own side
    remote_selectors: tuple[Selector, ...] = ANY
    narrow: bool = False  # UsePolicyBasedTrafficSelectors: takes nothing but its own
    initiates: bool = True
    method: str = "PreShared Key"
    lifetime: int = 28_800  # s, IKE
    child_lifetime: int = 27_000  # s


@dataclass(frozen=True, slots=True)
class Peer:
    """The device at the other end, and the path to it."""

    address: str
    policy: Policy
    key: str = "one"
    selectors: tuple[Selector, ...] = ANY
    remote_selectors: tuple[Selector, ...] = ANY
    narrow: bool = False  # policy-based: takes nothing but its own
    initiates: bool = True
    answers: bool = True  # False: Azure's packets to it are lost, as behind NAT or with the device off
    heard: bool = True  # False: its packets to Azure are lost
    nat: bool = False  # both move to UDP 4500; its source port is rewritten
    passes_4500: bool = True
    wants_cookie: bool = False
    guesses_group: str = ""  # its first KE payload is of this group, although it accepts others


@dataclass(slots=True)
class Leg:
    """One of Azure's addresses, and the instance that owns it at the moment."""

    local: str
    instance: str


def instances() -> tuple[str, str]:
    """Return the names of a gateway's two instances (DG)."""
    return "GatewayTenantWorker_IN_0", "GatewayTenantWorker_IN_1"


def documentation_address(random: Random, taken: set[str]) -> str:
    """Return an address of the ranges reserved for documentation (RFC 5737), not used before."""
    while True:
        address = f"{random.choice(('192.0.2', '198.51.100', '203.0.113'))}.{random.randint(1, 254)}"
        if address not in taken:
            taken.add(address)
            return address
