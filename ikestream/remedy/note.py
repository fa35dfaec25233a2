"""Finding, Names, attempts -> text: the note to the other company.

Facts 06 4.7: what their engineer needs to find our attempts in their own log, and one request. It holds no resource
ids or names of ours, and nothing about keys: those are for the telephone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from textwrap import fill

from ikestream.events import Proposal
from ikestream.finding import ActionOn, Cause, Confidence, FailedStep, Finding, Mismatch, Parameter
from ikestream.incident import Row
from ikestream.offers import Phase, spell, strongest, target
from ikestream.remedy.names import Names, Words, choose_words

MAX_VALUES = 8
MAX_VALUE = 48

_REACHED = {
    FailedStep.SA_INIT: "IKE_SA_INIT (phase 1) did not complete",
    FailedStep.AUTH: "phase 1 algorithms were agreed; IKE_AUTH did not complete",
    FailedStep.CHILD_SA: "authentication succeeded; the IPsec SA (phase 2) was not agreed",
    FailedStep.REKEY: "the tunnel was up; a rekey failed",
    FailedStep.ESTABLISHED: "the tunnel was up and ended",
    FailedStep.BGP: "the tunnel is up; the BGP session in it is not",
    None: "not known",
}
_TURN = {
    ActionOn.AZURE: "ours",
    ActionOn.PEER: "yours",
    ActionOn.PATH: "the network between us",
    ActionOn.BOTH: "both of us",
    ActionOn.UNKNOWN: "not known yet",
}
_PARAMETERS = {
    Parameter.IKE_ENCRYPTION: "phase 1 encryption",
    Parameter.IKE_INTEGRITY: "phase 1 integrity",
    Parameter.DH_GROUP: "phase 1 Diffie-Hellman group",
    Parameter.IPSEC_ENCRYPTION: "phase 2 encryption",
    Parameter.IPSEC_INTEGRITY: "phase 2 integrity",
    Parameter.PFS_GROUP: "phase 2 PFS group",
    Parameter.LOCAL_SELECTORS: "prefixes on our side",
    Parameter.REMOTE_SELECTORS: "prefixes on your side",
}
_PHASES = {"IkePolicyMismatch": Phase.IKE, "IpsecPolicyMismatch": Phase.IPSEC, "PfsMismatch": Phase.IPSEC}
_LOOK = "Please tell us what your log says about these attempts."
_REQUESTS = {
    "PreSharedKeyMismatch": "Please tell us whether your log says authentication failed or ID mismatch, and whom we can"
    " call to compare the settings.",
    "CertificateAuthenticationFailed": "Please check the validity and chain of both certificates, and tell us what your log"
    " says about ours.",
    "TrafficSelectorMismatch": "Please tell us which prefixes (selectors, proxy IDs) this tunnel has on your device.",
    "PeerNotResponding": "Please check that the device is up, that its public address is the one above, and that UDP 500,"
    " UDP 4500 and ESP from our addresses reach it.",
    "PeerStoppedResponding": "Please tell us whether the device or its access line failed at that time, and restart this"
    " tunnel only.",
    "NatTraversalBlocked": "Please check that UDP 4500, fragments included, passes in both directions.",
    "IkeVersionMismatch": "Please tell us which IKE version this tunnel has on your device; we use the one above.",
    "PeerAddressMismatch": "Please tell us the public address of your device today, by telephone.",
    "PeerDisconnected": "Please tell us whether somebody cleared the tunnel, or an idle timeout ended it.",
    "RekeyFailed": "Please tell us the PFS group and the lifetimes of this tunnel on your device.",
    "BgpPeerDown": "Please check ASN, BGP addresses and TCP 179 inside the tunnel.",
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One negotiation: its time in ms since 1970 UTC (None without a clock) and its SPIs as 16 hex digits or ''."""

    at: int | None
    initiator_spi: str
    responder_spi: str = ""


def note(
    finding: Finding,
    names: Names,
    *,
    first: int | None = None,
    last: int | None = None,
    initiator: str = "Unknown",
    attempts: Sequence[Attempt] = (),
) -> str:
    """The note as plain text, no line longer than 80 characters but those that list values.

    `first` and `last` are the times of the first and the last failure in ms since 1970 UTC; `initiator` is the column
    of that name. Of `attempts` the first two with an SPI are printed, in both byte orders (facts 06 R12).
    """
    words = choose_words(names)
    lines = [
        "IPsec tunnel to our Azure VPN gateway: not working",
        "",
        f"Our public address:  {', '.join(words.azure_ips) or '<azure-public-ip>'}",
        f"Your public address: {words.peer_ip}",
        f"First failure:       {_time(first)}",
        f"Last failure:        {_time(last)}",
        f"Who initiated:       {_WHO.get(initiator, 'not known')}",
        f"How far it came:     {_REACHED[finding.failed_step]}",
        f"Whose turn:          {_TURN[finding.action_on]}",
        "",
        *_spis(attempts),
        *_offers(finding),
        "We ask you:",
        _wrap(_request(finding, words)),
        "",
        "What we will change:",
        _wrap(_change(finding, words)),
    ]
    return "\n".join(lines) + "\n"


def note_of(row: Row) -> str:
    """The note about the outage that a row of `IkeDiagnosis_CL` tells of; `Mismatch` and `Legs` are read as written there."""
    mismatch = tuple(
        Mismatch(Parameter(m["Parameter"]), tuple(m["Azure"]), tuple(m["Peer"])) for m in row["Mismatch"] or ()
    )
    finding = Finding(
        cause=Cause(row["Cause"]),
        confidence=Confidence(row["Confidence"]),
        explanation=row["Explanation"],
        action_on=ActionOn(row["ActionOn"]),
        failed_step=FailedStep(row["FailedStep"]) if row["FailedStep"] else None,
        mismatch=mismatch,
        azure_offers=_proposals(row["AzureOffers"]),
        peer_offers=_proposals(row["PeerOffers"]),
    )
    names = Names(
        gateway_id=row["GatewayId"],
        remote_ip=row["RemoteIP"],
        azure_ips=tuple(dict.fromkeys(leg["LocalIP"] for leg in row["Legs"] or () if leg["LocalIP"])),
        peer_ip_is_known=True,  # a row of an outage is only ever told about a known peer
    )
    return note(
        finding,
        names,
        first=_instant(row["FirstSeen"]),
        last=_instant(row["LastSeen"]),
        initiator=row["Initiator"] or "Unknown",
        attempts=[Attempt(None, pair["Initiator"] or "", pair["Responder"] or "") for pair in row["IkeSpis"] or ()],
    )


def _instant(text: str | None) -> int | None:
    return None if text is None else int(datetime.fromisoformat(text).timestamp() * 1000)


def _proposals(offers: Sequence[Mapping[str, str]] | None) -> tuple[Proposal, ...]:
    return tuple(Proposal(o.get("Encryption", ""), o.get("Integrity", ""), o.get("Group", "")) for o in offers or ())


def _wrap(sentence: str) -> str:
    return fill(
        sentence, 78, initial_indent="  ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


_WHO = {"Azure": "we", "Peer": "you", "Both": "both of us"}


def _time(at: int | None) -> str:
    # A log's time is data: what no calendar has is no time.
    try:
        return "not known" if at is None else f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, OSError, ValueError):
        return "not known"


def _spis(attempts: Sequence[Attempt]) -> list[str]:
    shown = [a for a in attempts if _hex(a.initiator_spi)][:2]
    if not shown:
        return []
    lines = ["SPIs to search for in your log (initiator / responder; both byte orders):"]
    for attempt in shown:
        pair = (_hex(attempt.initiator_spi), _hex(attempt.responder_spi))
        if attempt.at is not None:
            lines.append(f"  {_time(attempt.at)}")
        lines.append(f"    {_pair(*pair)}")
        lines.append(f"    {_pair(_reverse(pair[0]), _reverse(pair[1]))}")
    return [*lines, ""]


def _hex(spi: str) -> str:
    """The SPI as 16 lower-case digits, as most devices print it; '' if it is none or the responder's zero."""
    digits = spi.casefold().removeprefix("0x")
    if not 0 < len(digits) <= 16 or set(digits) - set("0123456789abcdef") or not int(digits, 16):
        return ""
    return digits.zfill(16)


def _reverse(spi: str) -> str:
    return bytes.fromhex(spi)[::-1].hex()


def _pair(initiator: str, responder: str) -> str:
    return f"{initiator} / {responder or '0000000000000000 (no answer)'}"


def _offers(finding: Finding) -> list[str]:
    if not finding.mismatch:
        return []
    lines = ["What differs:"]
    for mismatch in finding.mismatch:
        lines.append(f"  {_PARAMETERS[mismatch.parameter]}:")
        lines.append(f"    we accept:   {_values(mismatch.azure)}")
        lines.append(f"    we received: {_values(mismatch.peer)}")
    return [*lines, ""]


def _values(values: Sequence[str]) -> str:
    shown = [_clean(v) for v in values[:MAX_VALUES]]
    more = len(values) - len(shown)
    return (", ".join(shown) or "nothing") + (f" and {more} more" if more > 0 else "")


def _clean(value: str) -> str:
    """A value a peer may have made up, without anything a terminal or mail program would act on."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._:/-") else "?" for c in value[:MAX_VALUE])
    return kept + ("..." if len(value) > MAX_VALUE else "")


def _proposal(finding: Finding, words: Words) -> tuple[Proposal, ActionOn, Phase] | None:
    phase = _PHASES.get(str(finding.cause))
    chosen = target(finding.azure_offers, finding.peer_offers, phase, words.kind) if phase else None
    if phase is None or chosen is None or chosen.side_to_change is ActionOn.UNKNOWN:
        return None
    side = finding.action_on
    if side is not chosen.side_to_change and side in (ActionOn.AZURE, ActionOn.PEER):
        # The verdict knew what the tunnel last ran with, which no row holds: the other side still offers it.
        kept = strongest(finding.peer_offers if side is ActionOn.AZURE else finding.azure_offers, phase)
        return (kept, side, phase) if kept is not None else None
    return chosen.proposal, chosen.side_to_change, phase


def _spoken(proposal: Proposal) -> str:
    """For somebody who may not know Azure's words: AES-GCM is named once, and None is a setting."""
    without = spell(proposal.group) == "None"
    values = [proposal.encryption, proposal.integrity if proposal.integrity != proposal.encryption else ""]
    spoken = "/".join(_clean(v) for v in (*values, "" if without else proposal.group) if v)
    return spoken + (", without PFS" if without else "")


def _request(finding: Finding, words: Words) -> str:
    found = _proposal(finding, words)
    if found is not None:
        proposal, side, phase = found
        if side is ActionOn.AZURE:
            other = "phase 2 and PFS" if phase is Phase.IKE else "the PFS group"
            return f"Please keep phase {int(phase)} at {_spoken(proposal)} and tell us {other} of this tunnel."
        return f"Please set phase {int(phase)} of this tunnel to {_spoken(proposal)}."
    if str(finding.cause) in _PHASES:
        return "Please tell us the IKE version, phase 1, phase 2 and PFS settings of this tunnel on your device."
    return _REQUESTS.get(str(finding.cause), _LOOK)


def _change(finding: Finding, words: Words) -> str:
    found = _proposal(finding, words)
    if found is not None and found[1] in (ActionOn.AZURE, ActionOn.BOTH):
        return f"Phase {int(found[2])} to {_spoken(found[0])}, on <date and time, UTC>."
    if str(finding.cause) == "PreSharedKeyMismatch":
        return "What we agree by telephone, both ends in one call, on <date and time, UTC>."
    return "Nothing for now; if that changes: <what, date and time, UTC>."
