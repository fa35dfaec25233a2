"""seed -> Lab: what every scenario starts from: one gateway, its log, addresses and a clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from ikestream.lab.ends import Azure, Leg, Peer, documentation_address, instances
from ikestream.lab.log import Log
from ikestream.lab.policy import Policy, custom_policy, default_policy, matching_policy
from ikestream.lab.site import Site
from ikestream.lab.story import Story, Truth

START = 1_772_445_600_000
"""2026-03-02T10:00:00Z."""


@dataclass(slots=True)
class Lab:
    """A gateway to write a story about. Everything random comes from `seed`; None for an option: the seed decides."""

    seed: int
    tunnel_log: bool | None = None
    virtual_wan: bool | None = None
    start: int = START
    random: Random = field(init=False)
    log: Log = field(init=False)
    taken: set[str] = field(init=False)
    strangers: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)  # noqa: S311 - a story, no secret
        tunnel_log, wan = self.random.random() < 0.5, self.random.random() < 0.25
        self.tunnel_log = tunnel_log if self.tunnel_log is None else self.tunnel_log
        self.virtual_wan = wan if self.virtual_wan is None else self.virtual_wan
        kind = "vpnGateways" if self.virtual_wan else "virtualNetworkGateways"
        gateway = (
            f"/subscriptions/00000000-0000-0000-0000-{self.seed % 10**12:012d}/resourceGroups/rg-lab"
            f"/providers/Microsoft.Network/{kind}/vng-{self.seed}"
        ).upper()
        self.log = Log(gateway, self.random, self.tunnel_log)
        self.taken, self.strangers = set(), set()

    def address(self) -> str:
        """Return a fresh documentation address."""
        return documentation_address(self.random, self.taken)

    def policy(self, *, custom: bool | None = None, pfs: str | None = None) -> Policy:
        """Return Azure's policy: the default of this type of gateway or a custom one."""
        if custom or (custom is None and self.random.random() < 0.4):
            return custom_policy(self.random, pfs=pfs)
        return default_policy(self.log.gateway_id)

    def site(self, *, azure: Azure | None = None, peer: Peer | None = None, active_active: bool | None = None) -> Site:
        """Return a tunnel between two ends that match, unless given others; one leg, or two with active-active."""
        azure = azure or Azure(self.policy())
        peer = peer or Peer(self.address(), matching_policy(self.random, azure.policy))
        first, second = instances()
        legs = [Leg(self.address(), first)]
        if active_active or (active_active is None and self.random.random() < 0.4):
            legs.append(Leg(self.address(), second))
        return Site(self.log, azure, peer, legs, self.start, session_lives_on=self.random.random() < 0.5)

    def tell(self, name: str, *truths: Truth) -> Story:
        """Close the book."""
        return Story(name, self.log.gateway_id, tuple(self.log.records), truths, frozenset(self.strangers))
