"""PeerNotResponding: Azure knocks and nothing at all comes back (facts 2.7, 1.5).

Certain is that no packet of this address reached any instance of the gateway for five minutes although Azure sent
SA_INIT again and again. Why cannot be seen from one end: the address may be wrong, something on the way may drop
UDP 500, the device or its line may be off. A single line received from the peer is enough to rule this cause out. A
tunnel that was up until dead peer detection ended it is named by its own rule, before this one.

The table takes one call that Azure closed as timed out for enough. Here it is so only in lines without a time: a gateway whose
tunnel is down calls again within seconds, and one that called once in five minutes may hold a tunnel from before the log.

That several peers of the gateway fell silent at once is told by the incident of the gateway, where they had been up; it is not
counted here, and the first hypothesis says to look for it.

A peer behind NAT that always began itself is not expected to answer: Azure waits for it (FAQ: a device behind NAT must
initiate). Then the text says so, and the cause is less sure.
"""

from __future__ import annotations

from ikestream.episode import Situation
from ikestream.events import Kind
from ikestream.finding import ActionOn, Cause, Confidence, FailedStep, Finding, Hypothesis
from ikestream.negotiation import Initiator, Negotiation
from ikestream.rules.peer_address_mismatch import lead
from ikestream.rules.signature import closed_by_time, count, prove, timed_out
from ikestream.timeline import Outcome

PROOF = (Kind.CLOSED, Kind.ERROR, Kind.SA_INIT_SENT, Kind.IKE_SENT)
IKE_PORT = 500


def judge(situation: Situation) -> Finding | None:
    """Return the finding if Azure's newest attempts, and everything around them, show no sign of the peer."""
    newest = next((n for n in situation.newest if _is_unanswered(n)), None)
    if newest is None:
        return None
    heard = _last_heard(situation, situation.conclusions[newest].at)
    if heard is not None and (newest.start <= heard or situation.until - heard < situation.times.silence):
        return None
    # All of them: which ones came after the peer was last heard is lost once equal ones are folded.
    knocks = [n for n in situation.failed if _is_unanswered(n)]
    attempts = count(situation, knocks)
    lasted = max(n.end for n in knocks) - min(n.start for n in knocks)
    if attempts < 2 and lasted < situation.times.stall and not any(map(closed_by_time, knocks)):
        return None
    waits = _waits_for_peer(situation)
    often = f"{attempts} times" if attempts > 1 else "once"
    told = f"Azure called this address {often} and nothing came back, not even a refusal."
    if waits:
        told += (
            " Before, the peer always began, from behind NAT; such a device must initiate itself, so Azure waits for it to"
            " come back."
        )
    else:
        told += " Whether the address is wrong, the way is blocked or the device is off cannot be seen from this end."
    return Finding(
        cause=Cause.PEER_NOT_RESPONDING,
        confidence=Confidence.MEDIUM if waits else Confidence.HIGH,
        explanation=told,
        action_on=ActionOn.PEER,
        failed_step=FailedStep.SA_INIT,
        hypotheses=_hypotheses(situation),
        missing_evidence="Whether Azure's packets arrive: capture UDP 500 at the peer during an attempt. Or make the peer"
        " initiate once: if one line RECEIVED appears in this log, the way from the peer to Azure is open.",
        code=next((c for n in (newest, *knocks) for c in n.codes), None),
        evidence=prove(dict.fromkeys((newest, knocks[0], knocks[-1])), PROOF),
    )


def _is_unanswered(n: Negotiation) -> bool:
    return n.initiator is Initiator.AZURE and n.depth == 0 and timed_out(n)


def _last_heard(situation: Situation, at: int) -> int | None:
    # What ends well afterwards, or is still under way, heals the silence and does not deny that there was one.
    found = [
        n.heard_at
        for n in situation.negotiations
        if n.heard_at is not None
        and not (n.heard_at > at and situation.conclusions[n].outcome in (Outcome.SUCCEEDED, Outcome.PENDING))
    ]
    if found and not situation.times.silence:
        return situation.until  # without a clock there is no "since": any line of the peer counts
    return max(found, default=None)


def _waits_for_peer(situation: Situation) -> bool:
    good = situation.last_good
    return (
        good is not None
        and good.initiator is Initiator.PEER
        and any(e.remote_port not in (0, IKE_PORT) for e in good.events)
    )


def _hypotheses(situation: Situation) -> tuple[Hypothesis, ...]:
    changed = any(
        e.kind is Kind.CONFIGURATION
        and situation.episode.start - situation.times.configuration_lead <= (e.at or 0) <= situation.episode.start
        for e in situation.gateway_events
    )
    site = Hypothesis(
        "The device or its access line is down",
        Confidence.LOW if changed else Confidence.MEDIUM,
        "Ask the owner of the site; if other peers fell silent at the same minute, look at the gateway and a common provider first.",
    )
    address = Hypothesis(
        "The address in Azure is not the peer's public address (any more)",
        Confidence.MEDIUM if changed else Confidence.LOW,
        "Compare the address that Azure calls with the one the owner of the site states by telephone"
        + ("; the configuration was written just before." if changed else "."),
    )
    blocked = Hypothesis(
        "A firewall, route table or network security group drops UDP 500 on the way",
        Confidence.LOW,
        "See that the peer lets UDP 500, UDP 4500 and ESP in from every public address of this gateway.",
    )
    mistyped = lead(situation)
    found = (address, site, blocked) if changed else (site, address, blocked)
    return found if mistyped is None else (mistyped, *found)
