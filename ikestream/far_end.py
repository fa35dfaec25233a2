"""Estate, tunnel -> FarEnd: the other end of a VNet-to-VNet tunnel, where its gateway is in this stream, too.

One end's log shows the other end's offers only when that one begins, and never why it refused (facts 06 3.7). A gateway
of this stream writes both in its own log, so nobody has to wait for it to begin.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ikestream.events import IkeEvent, Kind
from ikestream.inventory import Version
from ikestream.negotiation import Negotiation

if TYPE_CHECKING:
    from ikestream.estate import Estate, Scope
    from ikestream.tunnel import Span


@dataclass(frozen=True, slots=True)
class FarEnd:
    """The peer's gateway, as its own log shows it.

    `negotiations` are those of its tunnels to this gateway, oldest first; of folded ones the first and the last.
    """

    key: str  # of the gateway: its resource id in lower case
    name: str
    negotiations: tuple[Negotiation, ...]
    configurations: tuple[IkeEvent, ...]  # when something was written there
    configured: Version | None

    def until(self, at: int) -> tuple[Negotiation, ...]:
        """Return those that had begun by `at`."""
        return tuple(n for n in self.negotiations if n.start <= at)


def find(store: Estate, scope: Scope) -> FarEnd | None:
    """Return the other end of a tunnel, None if no other gateway of the stream owns the peer's address."""
    own = store.gateways[scope.gateway]
    for key in sorted(store.owners(scope.remote) - {scope.gateway}):
        far = store.gateways[key]
        tunnels = [far.tunnels[address] for address in sorted(own.locals & far.tunnels.keys())]
        if not tunnels:
            continue
        shown = {n for t in tunnels for n in (*t.recent(), *_folded(t.spans)) if n.local in ("", scope.remote)}
        connections = store.inventory.of(key)
        versions = [v for t in tunnels if (v := connections.of(t.remote, called=True)) is not None]
        return FarEnd(
            key,
            (far.name[1] if far.name else key).rpartition("/")[2],
            tuple(sorted(shown, key=lambda n: (n.start, n.end, n.session))),
            tuple(e for _, e in sorted(far.marks.items()) if e.kind is Kind.CONFIGURATION),
            versions[0] if len(versions) == 1 else None,
        )
    return None


def _folded(spans: list[Span]) -> Iterator[Negotiation]:
    for span in spans:
        yield span.first
        yield span.last
