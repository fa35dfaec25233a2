"""Proposals of both sides -> Comparison, Target: what differs, and who should change.

Offers are combinations: every value may be acceptable somewhere and still no combination fits. What is
documented about Azure's side (default offers, values of a custom policy, order of strength) is data with its
sources in `data/azure_offers.json`; nothing here knows a number that is not there or in an RFC.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from ikestream.events import Proposal
from ikestream.finding import ActionOn, Mismatch, Parameter

CACHE = 512
"""Pairs of lists whose comparison is remembered: a tunnel shows the same few, attempt after attempt."""
MAX_COMPARED = 32
"""Distinct proposals looked at on either side: the columns hold no more, and 32 x 32 pairs cost nothing."""

_DATA: dict[str, Any] = json.loads((files("ikestream") / "data" / "azure_offers.json").read_text("utf-8"))


class Phase(IntEnum):
    """Which security association is negotiated, as the Azure portal counts them."""

    IKE = 1
    IPSEC = 2


class Role(StrEnum):
    """Azure's role in the negotiation."""

    INITIATOR = "initiator"
    RESPONDER = "responder"


class GatewayKind(StrEnum):
    """The resource type of a gateway; each has its own default offers and custom policy values."""

    VPN_GATEWAY = "virtualNetworkGateways"
    VIRTUAL_WAN = "vpnGateways"


_ALIASES: dict[str, str] = {name.casefold(): known for name, known in _DATA["aliases"].items()}
_STRENGTH: dict[str, tuple[str, ...]] = {k: tuple(_DATA["strength"][k]) for k in ("encryption", "integrity", "group")}
_NAMES: dict[str, str] = {
    # Names of Azure only: groups 5 and the like have none, and stay as logged.
    name.casefold(): name
    for kind in _DATA["custom"].values()
    for parameter, names in kind.items()
    if parameter != "source"
    for name in names
}
_WEAK: frozenset[str] = frozenset(name.casefold() for name in _DATA["weak"]["anywhere"])
_NEVER: frozenset[str] = frozenset(name.casefold() for name in _DATA["never_proposed"]["values"])


@cache
def parameters(phase: Phase) -> tuple[Parameter, Parameter, Parameter]:
    """The parameters of a phase, in the order of a `Proposal`'s fields."""
    if phase is Phase.IKE:
        return Parameter.IKE_ENCRYPTION, Parameter.IKE_INTEGRITY, Parameter.DH_GROUP
    return Parameter.IPSEC_ENCRYPTION, Parameter.IPSEC_INTEGRITY, Parameter.PFS_GROUP


def gateway_kind(gateway_id: str) -> GatewayKind:
    """The resource type in `gateway_id`, in any case; an id without one (a file's name) counts as VPN Gateway."""
    return GatewayKind.VIRTUAL_WAN if "/vpngateways/" in gateway_id.casefold() else GatewayKind.VPN_GATEWAY


def default_offers(gateway_id: str, phase: Phase, role: Role) -> tuple[Proposal, ...]:
    """What Azure offers without a custom policy, in Azure's order (facts 01; source of each list in the data)."""
    return _defaults(gateway_kind(gateway_id), phase, role)


@cache
def _defaults(kind: GatewayKind, phase: Phase, role: Role) -> tuple[Proposal, ...]:
    return tuple(Proposal(*row) for row in _DATA["defaults"][kind][phase.name.lower()][role])


def is_default(proposals: Iterable[Proposal], gateway_id: str, phase: Phase, role: Role) -> bool:
    """Whether logged offers of Azure are the documented default, in any order (facts 06 R3).

    A group that a line does not print agrees with every group. A list that is shorter is not the default: exactly
    one proposal is a custom policy.
    """
    logged = {_key(p, phase) for p in proposals}
    documented = {_key(p, phase) for p in default_offers(gateway_id, phase, role)}
    if logged and not any(group for *_, group in logged):
        documented = {(encryption, integrity, "") for encryption, integrity, _ in documented}
    return logged == documented


def custom_values(kind: GatewayKind, parameter: Parameter) -> tuple[str, ...]:
    """What a custom policy of this kind of gateway can hold for `parameter`; () for selectors."""
    return tuple(_DATA["custom"][kind].get(parameter, ()))


def spell(value: str) -> str:
    """Azure's own name of `value` (`3des` is `DES3`, `DHGroup2048` is `DHGroup14`); an unknown name stays as logged."""
    return _NAMES.get(_fold(value), value)


def weak(value: str, parameter: Parameter | None = None) -> bool:
    """Whether `value` is weak (facts 06 2.22, RFC 8247). `None` is weak as encryption or integrity, never as PFS."""
    name = _fold(value)
    if name == "none":
        return parameter is not None and parameter not in (Parameter.DH_GROUP, Parameter.PFS_GROUP)
    return name in _WEAK


def weak_values(proposal: Proposal, phase: Phase) -> tuple[tuple[Parameter, str], ...]:
    """The weak values of one combination, in the order encryption, integrity, group."""
    values = (proposal.encryption, proposal.integrity, proposal.group)
    return tuple((p, spell(v)) for p, v in zip(parameters(phase), values, strict=True) if v and weak(v, p))


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two lists of proposals have in common, or the nearest pair and what differs in it.

    `nearest` is (Azure's, the peer's). `mismatch` is empty exactly if something is common or one side is empty.
    `cut` says that a side had more than `MAX_COMPARED` distinct proposals: then a missing common one proves nothing.
    """

    common: tuple[Proposal, ...] = ()
    nearest: tuple[Proposal, Proposal] | None = None
    mismatch: tuple[Mismatch, ...] = ()
    cut: bool = False


def compare(azure: Sequence[Proposal], peer: Sequence[Proposal], phase: Phase) -> Comparison:
    """Compare combinations (facts 06 R9); each side in its own order of preference, duplicates do not count.

    A value that a line does not print ('') is not compared. Nearest is the pair with the fewest differing parameters;
    of several the first in Azure's order, then in the peer's. Where two AES-GCM ciphers differ that is one difference,
    but encryption and integrity are both named, because Azure wants the two equal.
    """
    return _compare(tuple(azure), tuple(peer), phase)


@lru_cache(CACHE)
def _compare(azure: tuple[Proposal, ...], peer: tuple[Proposal, ...], phase: Phase) -> Comparison:
    ours, more_ours = _distinct(azure, phase)
    theirs, more_theirs = _distinct(peer, phase)
    cut = more_ours or more_theirs
    common = {
        _key(both, phase): both for a in ours for p in theirs if not _differing(a, p, phase) for both in (_merge(a, p),)
    }
    if common:
        return Comparison(common=tuple(common.values()), cut=cut)
    if not ours or not theirs:
        return Comparison(cut=cut)
    # min() keeps the first of equals, so the loops' order is the rule for ties.
    pairs = ((a, p) for a in ours for p in theirs)
    near_a, near_p = min(pairs, key=lambda pair: _distance(pair[0], pair[1], phase))
    mismatch = tuple(
        Mismatch(
            parameters(phase)[i],
            _given(ours, _merge(near_a, near_p), i, phase),
            _given(theirs, _merge(near_p, near_a), i, phase),
        )
        for i in _differing(near_a, near_p, phase)
    )
    return Comparison(nearest=(near_a, near_p), mismatch=mismatch, cut=cut)


@dataclass(frozen=True, slots=True)
class Agreed:
    """The combinations last seen to work, or the peer's only offer for the other phase; None where unknown.

    A custom policy always holds both phases (facts 06 4.2): what is None here becomes a placeholder there.
    """

    ike: Proposal | None = None
    ipsec: Proposal | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """The combination both ends should use, and who has to change for it (facts 06 4.1).

    `proposal` never holds a weak value; '' where the log does not tell. `side_to_change` is `UNKNOWN` where both sides
    already offer it. `interim` is set only if the peer offers
    nothing but weak values and Azure already accepts no better: something that would connect at once and is no end.
    `ran_before` says that the proposal is what the tunnel last ran with.
    """

    proposal: Proposal
    side_to_change: ActionOn
    interim: Proposal | None = None
    ran_before: bool = False


def target(
    azure: Sequence[Proposal],
    peer: Sequence[Proposal],
    phase: Phase,
    kind: GatewayKind,
    agreed: Proposal | None = None,
) -> Target | None:
    """Choose common values and the side that changes; None if one side's offers are unknown.

    In this order: `agreed`, what the tunnel last ran with, if it is strong and one side still offers it -> the other one, which
    changed (Azure only if that takes nothing from what it accepts now: a change that strengthened it stands); a strong proposal of the peer that an Azure custom policy can hold and that is no weaker than
    something Azure accepts today -> Azure; a strong proposal of Azure -> the peer (both if it has PFS and Azure runs the
    default, which never offers PFS itself); else both move to the strongest
    values Azure has, keeping what the peer already showed. Azure is never weakened to meet a peer.
    """
    return _target(tuple(azure), tuple(peer), phase, kind, agreed)


@lru_cache(CACHE)
def _target(
    azure: tuple[Proposal, ...], peer: tuple[Proposal, ...], phase: Phase, kind: GatewayKind, agreed: Proposal | None
) -> Target | None:
    ours, _ = _distinct(azure, phase)
    theirs, _ = _distinct(peer, phase)
    if not ours or not theirs:
        return None
    shared = [p for p in compare(ours, theirs, phase).common if not weak_values(p, phase)]
    if shared:
        return Target(_strongest(shared, phase), ActionOn.UNKNOWN)
    back = _go_back(agreed, ours, theirs, phase, kind)
    if back is not None:
        return back
    settable = [p for p in theirs if supports(kind, p, phase) and any(_no_weaker(p, a, phase) for a in ours)]
    strong = [p for p in settable if not weak_values(p, phase)]
    if strong:
        return Target(_strongest(strong, phase), ActionOn.AZURE)
    own = [a for a in ours if not weak_values(a, phase) and a.encryption]
    if own:
        # Of Azure's strong proposals the one that takes least away from the peer, then the smallest change.
        chosen = max(own, key=lambda a: (*_kept(a, theirs, phase), _rank(a, phase)))
        return Target(chosen, ActionOn.BOTH if _answers_only(chosen, ours, phase, kind) else ActionOn.PEER)
    interim = [p for p in settable if not _never_proposed(p)] if all(weak_values(p, phase) for p in theirs) else []
    return Target(_ideal(theirs, phase, kind), ActionOn.BOTH, _strongest(interim, phase) if interim else None)


def _go_back(
    agreed: Proposal | None, ours: Sequence[Proposal], theirs: Sequence[Proposal], phase: Phase, kind: GatewayKind
) -> Target | None:
    """To what the tunnel last ran with, by the side that no longer offers it; None where that is not known or is weak."""
    if agreed is None or weak_values(agreed, phase) or not agreed.encryption:
        return None
    held = [a for a in ours if not _differing(agreed, a, phase)]
    offered = [p for p in theirs if not _differing(agreed, p, phase)]
    if held and not offered:
        return Target(_merge(held[0], agreed), ActionOn.PEER, ran_before=True)
    if offered and not held:
        wanted = _merge(offered[0], agreed)
        if supports(kind, wanted, phase) and any(_no_weaker(wanted, a, phase) for a in ours):
            return Target(wanted, ActionOn.AZURE, ran_before=True)
    return None


def side_to_change(azure: Sequence[Proposal], peer: Sequence[Proposal], phase: Phase, gateway_id: str) -> ActionOn:
    """Which end has to change for `target`; `UNKNOWN` if offers are unknown or already have something in common."""
    chosen = target(azure, peer, phase, gateway_kind(gateway_id))
    return chosen.side_to_change if chosen else ActionOn.UNKNOWN


def strongest(proposals: Sequence[Proposal], phase: Phase) -> Proposal | None:
    """The strongest combination without a weak value, None if there is none."""
    strong = [p for p in _distinct(proposals, phase)[0] if not weak_values(p, phase)]
    return _strongest(strong, phase) if strong else None


def supports(kind: GatewayKind, proposal: Proposal, phase: Phase) -> bool:
    """Whether a custom policy can hold every printed value; AES-GCM in phase 2 wants itself as integrity."""
    encryption, integrity, group = (spell(v) for v in _fields(proposal, phase))
    values = zip(parameters(phase), (encryption, integrity, group), strict=True)
    if not encryption or not all(not value or value in custom_values(kind, p) for p, value in values):
        return False
    if phase is Phase.IPSEC and _combined(integrity):
        return integrity == encryption
    return True


def _fold(value: str) -> str:
    """The name to compare by: aliases resolved, case ignored."""
    name = value.strip().casefold()
    return _ALIASES.get(name, name).casefold()


def _combined(value: str) -> bool:
    return _fold(value).startswith("gcmaes")


def _fields(proposal: Proposal, phase: Phase) -> tuple[str, str, str]:
    """The three values with AES-GCM made plain: phase 2 repeats the cipher, phase 1 has no integrity of its own.

    In phase 1 the integrity beside AES-GCM is the PRF (facts 01, rules); a line that repeats the cipher there, or
    prints nothing, does not tell the PRF.
    """
    encryption, integrity = proposal.encryption, proposal.integrity
    if _combined(encryption):
        if phase is Phase.IPSEC:
            integrity = encryption
        elif _combined(integrity):
            integrity = ""
    return encryption, integrity, proposal.group


@lru_cache(maxsize=4096)  # 32 x 32 pairs ask for the same 64 keys; bounded, because a peer chooses its values
def _key(proposal: Proposal, phase: Phase) -> tuple[str, str, str]:
    encryption, integrity, group = _fields(proposal, phase)
    return _fold(encryption), _fold(integrity), _fold(group)


def _distinct(proposals: Iterable[Proposal], phase: Phase) -> tuple[tuple[Proposal, ...], bool]:
    """The first `MAX_COMPARED` different proposals in Azure's spelling, and whether there were more."""
    seen: dict[tuple[str, str, str], Proposal] = {}
    for proposal in proposals:
        key = _key(proposal, phase)
        if key in seen or not any(key):
            continue
        if len(seen) == MAX_COMPARED:
            return tuple(seen.values()), True
        seen[key] = Proposal(*(spell(v) for v in _fields(proposal, phase)))
    return tuple(seen.values()), False


def _merge(one: Proposal, other: Proposal) -> Proposal:
    """One combination out of two that agree: what one line does not print the other may."""
    return Proposal(one.encryption or other.encryption, one.integrity or other.integrity, one.group or other.group)


def _differing(a: Proposal, p: Proposal, phase: Phase) -> tuple[int, ...]:
    """Indices of the parameters that both print and that differ; [encryption, integrity] together with AES-GCM."""
    pairs = zip(_key(a, phase), _key(p, phase), strict=True)
    return tuple(i for i, (x, y) in enumerate(pairs) if x and y and x != y)


def _distance(a: Proposal, p: Proposal, phase: Phase) -> int:
    differing = _differing(a, p, phase)
    both_combined = phase is Phase.IPSEC and _combined(a.encryption) and _combined(p.encryption)
    return len(differing) - (1 if both_combined and 0 in differing else 0)


def _given(side: Sequence[Proposal], near: Proposal, index: int, phase: Phase) -> tuple[str, ...]:
    """The values `side` offers for the parameter at `index` together with the other values of `near`, in its order.

    `near` is the side's own nearest proposal, with what its line does not print taken from the other side's.
    """
    if phase is Phase.IPSEC and _combined(near.encryption) and index < 2:
        fitting = (o for o in side if _combined(o.encryption) and not set(_differing(o, near, phase)) - {0, 1})
    else:
        fitting = (o for o in side if not set(_differing(o, near, phase)) - {index})
    values = ((o.encryption, o.integrity, o.group)[index] for o in fitting)
    return tuple(dict.fromkeys(v for v in values if v))


def _level(value: str, index: int) -> int:
    """Strength of one value, more is stronger; 0 is unprinted or weak and unknown."""
    order = _STRENGTH[("encryption", "integrity", "group")[index]]
    name = spell(value)
    if name in order:
        return len(order) - order.index(name)
    # Integrity that comes with AES-GCM is no step down; nor do we call DHGroup16 or SHA512 weaker than what Azure has.
    return 0 if not name or weak(name) else len(order)


def _levels(proposal: Proposal) -> tuple[int, int, int]:
    return _level(proposal.encryption, 0), _level(proposal.integrity, 1), _level(proposal.group, 2)


def _rank(proposal: Proposal, phase: Phase) -> tuple[int, tuple[int, int, int]]:
    """Order of strength (facts 06 4.1): fewest weak values, then encryption, integrity, group."""
    return -len(weak_values(proposal, phase)), _levels(proposal)


def _strongest(proposals: Sequence[Proposal], phase: Phase) -> Proposal:
    return max(proposals, key=lambda p: _rank(p, phase))  # max() keeps the first of equals


def _no_weaker(new: Proposal, now: Proposal, phase: Phase) -> bool:
    """Whether moving from `now` to `new` loses nothing."""
    if weak_values(now, phase) and not weak_values(new, phase):
        return True
    pairs = zip((new.encryption, new.integrity, new.group), (now.encryption, now.integrity, now.group), strict=True)
    return all(not x or not y or _level(x, i) >= _level(y, i) for i, (x, y) in enumerate(pairs))


def _kept(azure: Proposal, theirs: Sequence[Proposal], phase: Phase) -> tuple[int, int]:
    """For a peer that moves to `azure`: how many parameters lose nothing, and how few change (negative)."""
    near = min(theirs, key=lambda p: _distance(azure, p, phase))
    levels = zip(_levels(azure), _levels(near), strict=True)
    return sum(new >= old for new, old in levels), -_distance(azure, near, phase)


def _answers_only(chosen: Proposal, ours: Sequence[Proposal], phase: Phase, kind: GatewayKind) -> bool:
    """Whether `chosen` has PFS and Azure runs the default: it takes PFS from a peer, but starts its own rekeys without."""
    if phase is Phase.IKE or chosen.group in ("", "None"):
        return False
    return is_default(ours, f"/{kind}/", phase, Role.RESPONDER)


def _never_proposed(proposal: Proposal) -> bool:
    """Whether it holds what is not proposed even for an hour: MD5, DES, group 1, no encryption or integrity."""
    values = {_fold(proposal.encryption), _fold(proposal.integrity), _fold(proposal.group)}
    return bool(values & _NEVER) or "none" in (_fold(proposal.encryption), _fold(proposal.integrity))


def _ideal(theirs: Sequence[Proposal], phase: Phase, kind: GatewayKind) -> Proposal:
    """The strongest values Azure can hold, keeping per parameter what the peer showed and Azure supports."""
    encryption_of, integrity_of, group_of = parameters(phase)
    # AES-GCM for IKE is missing in IKEv1 and on many devices: not asked for unless the peer showed it.
    start = "AES256" if phase is Phase.IKE else ""
    encryption = _best(kind, encryption_of, 0, [p.encryption for p in theirs], start)
    integrity = encryption
    if not (phase is Phase.IPSEC and _combined(encryption)):
        integrity = _best(kind, integrity_of, 1, [p.integrity for p in theirs])
    # A group that no line prints (PFS inside IKE_AUTH) is unknown and has to be asked for.
    group = _best(kind, group_of, 2, [p.group for p in theirs]) if any(p.group for p in theirs) else ""
    return Proposal(encryption, integrity, group)


def _best(kind: GatewayKind, parameter: Parameter, index: int, shown: Sequence[str], otherwise: str = "") -> str:
    """The strongest strong value of `shown` that Azure supports; without one `otherwise`, or the strongest of all."""
    possible = [
        v
        for v in custom_values(kind, parameter)
        if v != "None" and not weak(v, parameter) and not (index == 1 and _combined(v))
    ]
    fitting = [v for v in possible if v in {spell(s) for s in shown}]
    if otherwise and not fitting:
        return otherwise
    return max(fitting or possible, key=lambda v: _level(v, index))
