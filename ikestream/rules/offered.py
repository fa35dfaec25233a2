"""Situation -> both sides' offers and selectors, joined across the sessions of the tunnel.

One session never shows both sides' wishes: Azure's stand in a session Azure initiated, the peer's in one the peer
initiated (facts 1.1, 2.4, 2.6). What is older than a day before the newest refusal is not used, and neither is what
an attempt after the refusal shows that went well: by then one side had been mended. Where the peer is a gateway of this
stream, too, its own log says what it offers, and nobody waits for it to initiate (facts 3.7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from ikestream.episode import Situation
from ikestream.events import IkeEvent, Kind, Proposal, Selector
from ikestream.far_end import FarEnd
from ikestream.finding import ActionOn, Mismatch, OffersSource, Parameter
from ikestream.inventory import Version
from ikestream.negotiation import Initiator, Negotiation, remembered
from ikestream.offers import Agreed, Phase, Role, Target, default_offers, is_default
from ikestream.rules.configured import assumed, outdates
from ikestream.rules.configured import selectors as configured_selectors
from ikestream.selectors import compare_selectors, ranges
from ikestream.timeline import Outcome

MAX_RANGES = 32
"""Ranges named per side and end, as many as the offers columns hold."""


def usable(situation: Situation, refused_at: int) -> tuple[Negotiation, ...]:
    """Return the attempts whose offers say something about the refusal, oldest first.

    Counted back from the refusal: counted from now, a verdict would lose its proof by nothing but the passing of time.
    """
    oldest = refused_at - situation.times.offers_age
    return tuple(
        n for n in situation.negotiations if n.start >= oldest and not _is_later_success(situation, n, refused_at)
    )


def _is_later_success(situation: Situation, n: Negotiation, refused_at: int) -> bool:
    outcome = situation.conclusions[n].outcome
    return outcome is Outcome.PENDING or (outcome is Outcome.SUCCEEDED and n.end > refused_at)


def _newest(found: Iterable[Negotiation]) -> Negotiation | None:
    return max(found, key=lambda n: (n.start, n.session), default=None)


def change_after(situation: Situation, sessions: Iterable[Negotiation]) -> IkeEvent | None:
    """Return a configuration change after the older of `sessions`: what that one shows may be out of date."""
    older = min((n.start for n in sessions), default=situation.until)
    there = situation.far.configurations if situation.far is not None else ()
    return next(
        (
            e
            for e in (*situation.gateway_events, *there)
            if e.kind is Kind.CONFIGURATION and older < (e.at or 0) <= situation.until
        ),
        None,
    )


@dataclass(frozen=True, slots=True)
class Offers:
    """Both sides' offers in one phase as far as known. `sessions` are where the logged ones stand.

    `whole` is whether the peer's list ends where its line ends; a cut one cannot show that nothing is in common. `far` is
    how the peer's are known if they come from its own gateway (VNet-to-VNet), else None.
    """

    azure: tuple[Proposal, ...]
    source: OffersSource
    peer: tuple[Proposal, ...]
    whole: bool
    sessions: tuple[Negotiation, ...]
    far: OffersSource | None = None

    @property
    def surely(self) -> bool:
        """Whether the peer's are its own, and no default that is assumed of it."""
        return self.far is not OffersSource.ASSUMED_DEFAULT


def last_agreed(last_good: Negotiation | None) -> Agreed:
    """Return the combinations that last worked, where the log tells which they were: a custom policy needs both."""
    if last_good is None:
        return Agreed()
    ike = last_good.chosen_ike or last_good.peer_ike
    esp = last_good.chosen_esp or last_good.peer_esp
    return Agreed(ike[0] if len(ike) == 1 else None, esp[0] if len(esp) == 1 else None)


def collect_ike_offers(situation: Situation, refused_at: int) -> Offers:
    """Return both sides' newest phase 1 offers, no older than the rules allow before the newest refusal."""
    seen = usable(situation, refused_at)
    azure, source, where = _azure_offers(seen, situation.configured, situation.gateway.key, Phase.IKE, Role.INITIATOR)
    peer = _newest(n for n in seen if n.peer_ike)
    if peer is not None or situation.far is None:
        sessions = tuple(n for n in (where, peer) if n is not None)
        return Offers(azure, source, peer.peer_ike if peer else (), True, sessions)
    return _with_far(situation, situation.far, azure, source, where, Phase.IKE, refused_at)


def collect_offers(situation: Situation, refused: list[Negotiation], *, with_group: bool) -> Offers:
    """Return the phase 2 offers that were held against each other in `refused`.

    Azure without a custom policy takes more as responder than it offers as initiator (facts 01), so its role in the
    refusal decides which default is meant. `with_group` is False where PFS is not negotiated: inside IKE_AUTH.
    """
    refused_at = max(situation.conclusions[n].at for n in refused)
    seen = usable(situation, refused_at)
    peer = _newest(n for n in refused if n.peer_esp)
    role = Role.INITIATOR if peer is None else Role.RESPONDER
    peer = peer or _newest(n for n in seen if n.peer_esp)
    azure, source, where = _azure_offers(seen, situation.configured, situation.gateway.key, Phase.IPSEC, role)
    if peer is not None or situation.far is None:
        sessions = tuple(n for n in (where, peer) if n is not None)
        whole = peer is None or not _cut(peer, Kind.ESP_RECEIVED)
        found = Offers(azure, source, peer.peer_esp if peer else (), whole, sessions)
    else:
        found = _with_far(situation, situation.far, azure, source, where, Phase.IPSEC, refused_at)
    if with_group:
        return found
    return replace(found, azure=without_group(found.azure), peer=without_group(found.peer))


def _with_far(
    situation: Situation,
    far: FarEnd,
    azure: tuple[Proposal, ...],
    source: OffersSource,
    where: Negotiation | None,
    phase: Phase,
    refused_at: int,
) -> Offers:
    """Return the offers with the peer's as its own gateway holds them: it was the responder, or its offer would be here."""
    oldest = refused_at - situation.times.offers_age
    seen = tuple(n for n in far.until(refused_at) if n.start >= oldest)
    peer, how, there = _azure_offers(seen, far.configured, far.key, phase, Role.RESPONDER)
    return Offers(azure, source, peer, True, tuple(n for n in (where, there) if n is not None), how)


def _azure_offers(
    seen: Iterable[Negotiation], version: Version | None, gateway: str, phase: Phase, role: Role
) -> tuple[tuple[Proposal, ...], OffersSource, Negotiation | None]:
    """Return what an Azure gateway offers in `role`, how that is known, and where it is logged.

    A line that was cut lists only the beginning; where that is the default's beginning, so is the rest.
    """
    offered, source = assumed(version, gateway, phase, role)
    logged = _newest(n for n in seen if (n.azure_ike if phase is Phase.IKE else n.azure_esp))
    if logged is None or outdates(version, logged):
        return offered, source, None
    if phase is Phase.IKE:
        default = default_offers(gateway, phase, role)
        if not (logged.azure_ike_cut and logged.azure_ike == default[: len(logged.azure_ike)]):
            return logged.azure_ike, OffersSource.LOGGED, logged
        return (offered, source, logged) if offered == default else (default, OffersSource.ASSUMED_DEFAULT, logged)
    if (
        source is OffersSource.CONFIGURED
        and not any(p.group for p in logged.azure_esp)
        and set(logged.azure_esp) == set(without_group(offered))
    ):
        return offered, source, logged  # the line prints no PFS; what is configured agrees with it and says it
    if not _begins_default(logged, gateway):
        # Not the default: a custom policy, one and the same for both roles (facts 06 R3).
        return logged.azure_esp, OffersSource.LOGGED, logged
    if role is Role.INITIATOR and not _cut(logged, Kind.ESP_SENT):
        source = OffersSource.LOGGED
    return offered, source, logged


def tell_far(situation: Situation, offers: Offers) -> str:
    """Say where the peer's offers come from, if not from this gateway's log."""
    if situation.far is None or offers.far is None:
        return ""
    how = {
        OffersSource.LOGGED: "its own log",
        OffersSource.CONFIGURED: "its own configuration",
        OffersSource.ASSUMED_DEFAULT: "the documented default of its type, which is assumed",
    }[offers.far]
    return f" The peer is gateway {situation.far.name} of this stream; what it accepts is known from {how}."


def tell_before(cure: Target) -> str:
    """Say what the tunnel last ran with, and which side no longer offers it."""
    p = cure.proposal
    ran = "/".join(v for v in (p.encryption, p.integrity, p.group) if v)
    stays, moved = ("the peer", "Azure") if cure.side_to_change is ActionOn.AZURE else ("Azure", "the peer")
    return f" Until then it ran with {ran}, which {stays} still offers and {moved} does not."


def without_group(proposals: Iterable[Proposal]) -> tuple[Proposal, ...]:
    """Return the combinations without PFS, each once, in order."""
    return tuple(dict.fromkeys(replace(p, group="") for p in proposals))


def _begins_default(n: Negotiation, gateway: str) -> bool:
    default = without_group(default_offers(gateway, Phase.IPSEC, Role.INITIATOR))
    if _cut(n, Kind.ESP_SENT):
        return without_group(n.azure_esp) == default[: len(n.azure_esp)]
    return is_default(n.azure_esp, gateway, Phase.IPSEC, Role.INITIATOR)


def _cut(n: Negotiation, kind: Kind) -> bool:
    lines = [e for e in n.events if e.kind is kind]
    return bool(lines) and all(e.cut for e in lines)


@dataclass(frozen=True, slots=True)
class Selectors:
    """What each side wants in the tunnel, by end: `local` is behind the gateway, `remote` behind the peer.

    TSi belongs to the initiator (RFC 7296 2.9), so the same payload means the other end when the other side begins.
    """

    azure_local: tuple[Selector, ...]
    azure_remote: tuple[Selector, ...]
    peer_local: tuple[Selector, ...]
    peer_remote: tuple[Selector, ...]
    sessions: tuple[Negotiation, ...]
    configured: bool = False  # whether Azure's are known from its configuration and not from a line

    @property
    def known(self) -> bool:
        """Whether both sides' wishes are in the log."""
        return bool(self.azure_local and self.azure_remote and self.peer_local and self.peer_remote)

    @property
    def disjoint(self) -> bool:
        """Whether at one end nothing is common to both sides, so that no child SA is possible. One end may do: with
        policy-based selectors Azure's configuration tells the peer's end and not its own."""
        return any(compare_selectors(a, p).disjoint for _, a, p in self._ends())

    def _ends(self) -> tuple[tuple[Parameter, tuple[Selector, ...], tuple[Selector, ...]], ...]:
        ends = (
            (Parameter.LOCAL_SELECTORS, self.azure_local, self.peer_local),
            (Parameter.REMOTE_SELECTORS, self.azure_remote, self.peer_remote),
        )
        return tuple(end for end in ends if end[1] and end[2])

    def mismatch(self) -> tuple[Mismatch, ...]:
        """Return the ends at which the two sides' ranges differ, as unions."""
        return tuple(
            Mismatch(end, ranges(azure)[:MAX_RANGES], ranges(peer)[:MAX_RANGES])
            for end, azure, peer in self._ends()
            if not compare_selectors(azure, peer).equal
        )

    def differences(self) -> str:
        """Say per end what the peer lacks and what it has beyond Azure's ranges."""
        told = []
        places = {Parameter.LOCAL_SELECTORS: "behind Azure", Parameter.REMOTE_SELECTORS: "behind the peer"}
        for end, azure, peer in self._ends():
            found = compare_selectors(azure, peer)
            if found.missing:
                told.append(f"the peer lacks {_list(found.missing)} {places[end]}")
            if found.too_wide:
                told.append(f"the peer asks for {_list(found.too_wide)} {places[end]}, which Azure does not have")
        return "; ".join(told)


def _list(texts: tuple[str, ...]) -> str:
    more = f" and {len(texts) - 4} more" if len(texts) > 4 else ""
    return ", ".join(texts[:4]) + more


def collect_selectors(situation: Situation, refused_at: int) -> Selectors:
    """Return the newest selectors of both sides."""
    seen = usable(situation, refused_at)
    azure = _newest(n for n in seen if n.initiator is Initiator.AZURE and _proposed(n))
    peer = _newest(n for n in seen if n.initiator is Initiator.PEER and _requested(n))
    version = situation.configured
    if azure is not None and outdates(version, azure):
        azure = None
    ours = _proposed(azure) if azure else None
    theirs = _requested(peer) if peer else None
    if peer is None and situation.far is not None:  # what the peer proposes is in its own log
        oldest = refused_at - situation.times.offers_age
        peer = _newest(n for n in situation.far.until(refused_at) if n.start >= oldest and _proposed(n))
        theirs = _proposed(peer) if peer else None
    local, remote = configured_selectors(version.connection) if version is not None else ((), ())
    return Selectors(
        azure_local=ours.initiator_selectors if ours else local,
        azure_remote=ours.responder_selectors if ours else remote,
        peer_local=theirs.responder_selectors if theirs else (),
        peer_remote=theirs.initiator_selectors if theirs else (),
        sessions=tuple(n for n in (azure, peer) if n is not None),
        configured=version is not None and ours is None,
    )


def _first(kind: Kind) -> Callable[[Negotiation], IkeEvent | None]:
    """Return how to read a negotiation's longest payload of a kind: a line that was cut lists less, never more."""

    @remembered
    def read(n: Negotiation) -> IkeEvent | None:
        found = [e for e in n.events if e.kind is kind and e.initiator_selectors and e.responder_selectors]
        return max(
            found,
            key=lambda e: (
                len(e.initiator_selectors) + len(e.responder_selectors),
                e.initiator_selectors,
                e.responder_selectors,
            ),
            default=None,
        )

    return read


_proposed, _requested = _first(Kind.TS_PROPOSED), _first(Kind.TS_REQUESTED)
