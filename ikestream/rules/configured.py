"""Situation -> what Azure holds by its configuration: the offers of either phase, and the selectors.

An inventory says what Azure offers even if no line of the log does: a custom policy is one and the same for both roles,
and without one the documented default is no assumption any more. What a line shows goes before it, because that is what
was sent; unless the configuration was read anew after that line and is another.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from ikestream.events import Proposal, Selector
from ikestream.finding import Confidence, Hypothesis, OffersSource
from ikestream.inventory import Connection, Mode, Version
from ikestream.negotiation import Negotiation
from ikestream.offers import Phase, Role, compare, default_offers, is_default

ANY = {4: Selector("0.0.0.0", "255.255.255.255"), 6: Selector("::", "ffff:" * 7 + "ffff")}  # noqa: S104 - nobody listens


def assumed(
    version: Version | None, gateway: str, phase: Phase, role: Role
) -> tuple[tuple[Proposal, ...], OffersSource]:
    """Return what Azure offers where no line shows it, and how that is known: it is configured so, or the default.

    `gateway` is the resource id, which tells the type.
    """
    default = default_offers(gateway, phase, role)
    if version is None:
        return default, OffersSource.ASSUMED_DEFAULT
    custom = version.connection.ike if phase is Phase.IKE else version.connection.ipsec
    return (default if custom is None else (custom,)), OffersSource.CONFIGURED


def protocol(version: Version | None) -> str:
    """Return the IKE version that the connection is set to, '' if nobody knows."""
    return version.connection.protocol if version is not None and version.until is None else ""


def authentication(version: Version | None) -> str:
    """Return how the connection authenticates, in the words of `Negotiation.auth_method`; '' if nobody knows."""
    method = version.connection.method.casefold() if version is not None else ""
    return {"psk": "psk", "certificate": "certificate"}.get(method, "")


def no_connection(version: Version | None, confidence: Confidence) -> Hypothesis:
    """Return that the peer may not know this Azure address, or this version of IKE: it says no to either alike (R11)."""
    ours = protocol(version)
    told = f", as connection {version.connection.name} in Azure has it" if ours and version is not None else ""
    return Hypothesis(
        "The peer has no connection for this Azure address, or one for the other IKE version",
        confidence,
        f"Check at the peer that a connection exists for exactly this Azure public IP address, with {ours or 'IKEv2'}{told}.",
    )


def contradicts(version: Version | None, logged: Iterable[Proposal], gateway: str) -> str:
    """Say so where Azure was seen to offer another phase 1 than the connection is configured to, '' where it was not."""
    if version is None or version.until is not None:
        return ""
    custom, offered = version.connection.ike, tuple(logged)
    if custom is None:
        agrees = is_default(offered, gateway, Phase.IKE, Role.INITIATOR)
    else:  # a line does not print everything, so what it prints is compared
        agrees = len(offered) == 1 and bool(compare(offered, (custom,), Phase.IKE).common)
    if agrees:
        return ""
    held = "no policy of its own" if custom is None else "another policy"
    return f" What is configured was read as {held}: that reading and this log are of different times."


def waiting(version: Version | None) -> str:
    """Say so where Azure is set to wait for the peer, '' where it is not, or nobody knows."""
    if version is None or version.connection.mode is not Mode.RESPONDER_ONLY:
        return ""
    return " The connection is set to ResponderOnly: Azure waits for the peer to call."


def outdates(version: Version | None, logged: Negotiation) -> bool:
    """Whether the connection was seen to be configured anew after these lines."""
    return version is not None and version.since > logged.end


def selectors(connection: Connection) -> tuple[tuple[Selector, ...], tuple[Selector, ...]]:
    """Return what Azure proposes as its own side and as the peer's, () where the configuration alone does not tell.

    Custom selectors are both; with policy-based selectors the site's prefixes are the peer's side, and Azure's own is
    that of its virtual network, which no inventory lists. All else is any-to-any.
    """
    if connection.selectors:
        return (
            _ranges(p for pair in connection.selectors for p in pair.local),
            _ranges(p for pair in connection.selectors for p in pair.remote),
        )
    if connection.policy_based:
        return (), _ranges(connection.prefixes)
    return (ANY[4],), (ANY[4],)


def _ranges(prefixes: Iterable[str]) -> tuple[Selector, ...]:
    networks = [ip_network(prefix) for prefix in prefixes]
    return tuple(Selector(str(n.network_address), str(n.broadcast_address)) for n in networks)
