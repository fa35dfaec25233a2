"""seed -> what two ends accept: default, custom and Virtual WAN policies, and peers that miss them by a known parameter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random

from ikestream.events import Proposal
from ikestream.offers import Phase, Role, default_offers


@dataclass(frozen=True, slots=True)
class Policy:
    """What one end offers and accepts, in its order of preference. `group` of an ESP proposal is its PFS group."""

    ike: tuple[Proposal, ...]
    esp_offered: tuple[Proposal, ...]  # as initiator
    esp_accepted: tuple[Proposal, ...]  # as responder


@dataclass(frozen=True, slots=True)
class Difference:
    """The parameter that keeps the two ends apart: what Azure accepts for it, what the peer offers."""

    parameter: str
    azure: tuple[str, ...]
    peer: tuple[str, ...]


def default_policy(gateway_id: str) -> Policy:
    """Return what Azure uses where nobody set a policy (facts 01), by the type of the gateway."""
    return Policy(
        ike=default_offers(gateway_id, Phase.IKE, Role.INITIATOR),
        esp_offered=default_offers(gateway_id, Phase.IPSEC, Role.INITIATOR),
        esp_accepted=default_offers(gateway_id, Phase.IPSEC, Role.RESPONDER),
    )


def custom_policy(random: Random, *, pfs: str | None = None) -> Policy:
    """Return a custom policy: exactly one proposal per phase, which replaces the default in both roles."""
    ike = Proposal(
        random.choice(("AES256", "AES192", "AES128")),
        random.choice(("SHA384", "SHA256", "SHA1")),
        random.choice(("DHGroup2", "DHGroup14", "ECP256", "ECP384", "DHGroup24")),
    )
    encryption, integrity = random.choice(
        (("AES256", "SHA256"), ("AES256", "SHA1"), ("GCMAES256", "GCMAES256"), ("AES128", "SHA256"))
    )
    group = pfs if pfs is not None else random.choice(("None", "PFS2048", "PFS2", "ECP256"))
    return one_of_each(ike, Proposal(encryption, integrity, group))


def one_of_each(ike: Proposal, esp: Proposal) -> Policy:
    """Return the policy of an end that knows one proposal per phase."""
    return Policy((ike,), (esp,), (esp,))


def matching_policy(random: Random, azure: Policy) -> Policy:
    """Return what a well-configured peer holds: one proposal per phase that Azure takes in either role."""
    both = [p for p in azure.esp_offered if p in azure.esp_accepted]
    return one_of_each(random.choice(azure.ike), random.choice(both))


_FOREIGN = {
    "encryption": ("AES192", "AES256", "DES", "AES128", "CAMELLIA256"),
    "integrity": ("SHA384", "SHA512", "MD5", "SHA256", "SHA1"),
    "group": ("DHGroup14", "DhGroup5", "ECP256", "ECP384", "DHGroup24", "DhGroup16"),
}
_FOREIGN_ESP = {
    "encryption": ("AES192", "CAMELLIA256"),
    "integrity": ("SHA384", "SHA512", "MD5"),
    "group": ("PFS2048", "ECP384", "ECP256"),
}
_NAMES = {
    Phase.IKE: {"encryption": "IkeEncryption", "integrity": "IkeIntegrity", "group": "DhGroup"},
    Phase.IPSEC: {"encryption": "IpsecEncryption", "integrity": "IpsecIntegrity", "group": "PfsGroup"},
}


def miss(
    random: Random,
    accepted: Sequence[Proposal],
    phase: Phase,
    fields: Iterable[str] = ("encryption", "integrity", "group"),
) -> tuple[tuple[Proposal, ...], Difference]:
    """Return offers of a peer that fail by one parameter, and that parameter.

    Built so that the nearest proposal is beyond doubt: the peer keeps one of Azure's combinations but for one
    value that no combination of Azure's holds, so whatever lies one step away lies away in just that parameter.
    """
    plain = [p for p in accepted if not p.encryption.startswith("GCM")]
    near = random.choice(plain)
    field = random.choice(list(fields))
    used = {getattr(p, field) for p in accepted}
    foreign = [v for v in (_FOREIGN if phase is Phase.IKE else _FOREIGN_ESP)[field] if v not in used]
    values = random.sample(foreign, random.randint(1, min(2, len(foreign))))
    peer = [replace(near, **{field: value}) for value in values]
    # No line prints PFS: what the log can show of phase 2 is encryption and integrity.
    printed = (
        ("encryption", "integrity", "group") if phase is Phase.IKE or field == "group" else ("encryption", "integrity")
    )
    others = [f for f in printed if f != field]
    azure = [getattr(p, field) for p in plain if all(getattr(p, f) == getattr(near, f) for f in others)]
    if phase is Phase.IKE and random.random() < 0.5:  # something farther away, before or after
        peer.insert(random.choice((0, len(peer))), Proposal("CAST128", "SHA512", "DhGroup18"))
    return tuple(peer), Difference(_NAMES[phase][field], tuple(dict.fromkeys(azure)), tuple(values))


def choose(offered: Sequence[Proposal], accepted: Sequence[Proposal], *, with_group: bool) -> Proposal | None:
    """Return the responder's choice: its first proposal that is offered as a whole combination, None if there is none.

    Without `with_group` the group does not count: IKE_AUTH carries no KE payload (RFC 7296 1.2), so PFS cannot matter.
    """
    for own in accepted:
        for theirs in offered:
            same = (own.encryption, own.integrity) == (theirs.encryption, theirs.integrity)
            if same and (not with_group or own.group == theirs.group):
                return own
    return None
