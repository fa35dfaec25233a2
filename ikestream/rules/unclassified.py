"""Unclassified: a known tunnel stays down and no other rule says why (facts 2.21).

It carries what is known: how far the newest attempts came, who should speak next, every code and notify, what either
side offered. A close that also occurs in health (roles benign and replaced) never makes an outage by itself: then the facts
hold no failed attempt and no TunnelDisconnected, and this rule answers None.

That one end does not accept who the other is (13834, 13869, INVALID_ID_INFORMATION in main mode), or how it authenticates
(13889), is known from the code's own words (inferred, facts 1.3) and is no cause of the list: it is told as the first
hypothesis, with the setting to compare. The table would have Medium for it; the cause stays Low, because no cause is named.
"""

from __future__ import annotations

from ikestream import codes
from ikestream.episode import Situation
from ikestream.events import Kind, Proposal
from ikestream.finding import ActionOn, Cause, Confidence, FailedStep, Finding, Hypothesis, OffersSource
from ikestream.negotiation import UNABLE, Initiator
from ikestream.rules.configured import protocol
from ikestream.rules.signature import next_to_act, prove, reached, refuses_identity, stopped_after


def judge(situation: Situation) -> Finding | None:
    """Return what is known about why the tunnel is down; None if only closes that also occur in health took it down."""
    disconnects = [c.mark for c in situation.downs if c.mark is not None and c.mark.kind is Kind.TUNNEL_DOWN]
    if not situation.newest and not disconnects:
        return None
    told: list[str] = []
    evidence = list(disconnects)
    code = None
    for mark in disconnects:
        reason = f", reason given: '{mark.text}'" if mark.text else ", without a reason"
        told.append(f"Azure logged TunnelDisconnected{reason}.")
        code = code or mark.code
    for n in situation.newest:
        seen = [f"{c} ({found.message.rstrip('.')})" for c in n.codes if (found := codes.CODES.get(c)) is not None]
        seen += [f"notify {name}" for name in sorted(n.sent_notifies | n.received_notifies)]
        told.append(
            f"Newest attempt: {stopped_after(n)}"
            + (f"; seen: {', '.join(seen)}." if seen else "; no error was logged.")
        )
        code = next(iter(n.codes), code)
    evidence += prove(situation.newest)
    newest = situation.newest[0] if situation.newest else None
    azure, peer = _offers(situation)
    if newest is not None:
        missing = "The peer's log at the time and SPI given here"
        missing += "." if newest.refusal else "; a packet capture on the connection shows who is silent."
    else:
        missing = "No IKE attempt is in this log. Switch on IKEDiagnosticLog on this gateway: it shows why the tunnel does not come back."
    return Finding(
        cause=Cause.UNCLASSIFIED,
        confidence=Confidence.LOW,
        explanation=" ".join(told),
        action_on=_turn(situation),
        failed_step=reached(newest) if newest is not None else FailedStep.ESTABLISHED,
        azure_offers=azure,
        peer_offers=peer,
        offers_source=OffersSource.LOGGED if azure else None,
        hypotheses=_hypotheses(situation),
        missing_evidence=missing,
        code=code,
        evidence=tuple(evidence[:12]),
    )


def _offers(situation: Situation) -> tuple[tuple[Proposal, ...], tuple[Proposal, ...]]:
    """Return what Azure and the peer offered last, in the phase in which the newest attempt stopped."""
    failed = situation.failed[::-1]
    if situation.newest and reached(situation.newest[0]) is FailedStep.CHILD_SA:
        azure = (n.azure_esp for n in failed if n.azure_esp)
        peer = (n.peer_esp for n in failed if n.peer_esp)
    else:
        azure = (n.azure_ike for n in failed if n.azure_ike)
        peer = (n.peer_ike for n in failed if n.peer_ike)
    return next(azure, ()), next(peer, ())


NO_POLICY = frozenset({13825, 13850, 13883})
"""Azure's words for a peer it has no policy for (facts 1.3)."""


def _turn(situation: Situation) -> ActionOn:
    if any({INVALID_POLICY, *UNABLE} & set(n.codes) for n in situation.newest):
        return ActionOn.AZURE
    return next_to_act(situation.newest[0]) if situation.newest else ActionOn.UNKNOWN


INVALID_POLICY = 13861
"""Azure's own policy (facts 1.3, by the code's text)."""
METHOD = 13889
IDENTITY = frozenset({13834, 13869})
"""Authentication method, or identity, refused (facts 1.3)."""


def _hypotheses(situation: Situation) -> tuple[Hypothesis, ...]:
    """What else the codes of the newest attempts may mean: they speak of who the peer is, or that nobody knows it."""
    found: list[Hypothesis] = []
    if any(INVALID_POLICY in n.codes for n in situation.newest):
        found.append(_OWN_POLICY)
    if any(UNABLE & set(n.codes) for n in situation.newest):
        found.append(_BUSY)
    if any(METHOD in n.codes for n in situation.newest):
        found.append(_OTHER_METHOD)
    if any(IDENTITY & set(n.codes) or refuses_identity(n) for n in situation.newest):
        found += _OTHER_IDENTITY
    # Why Azure says that it has no policy for a peer that has a connection. With IKEv1 no line says who began.
    if any(n.initiator is not Initiator.AZURE and NO_POLICY & set(n.codes) for n in situation.newest):
        found += _no_policy(situation)
    return tuple(found)


_OWN_POLICY = Hypothesis(
    "The configuration of this connection in Azure is not valid",
    Confidence.MEDIUM,
    "Read the IPsec / IKE policy of the connection and save it again; if it stays, ask Azure support with these lines.",
)
_BUSY = Hypothesis(
    "The gateway itself could not go on: it is overloaded, starting, or its platform has a fault",
    Confidence.MEDIUM,
    "Look in the portal at Resource health and at the metrics of the gateway for this minute, and whether other tunnels suffer.",
)
_OTHER_METHOD = Hypothesis(
    "One end authenticates with a pre-shared key, the other with a certificate",
    Confidence.MEDIUM,
    "Compare the authentication method of the connection in Azure with that of phase 1 at the peer.",
)
_OTHER_IDENTITY = (
    Hypothesis(
        "One end does not accept the identity of the other: its local ID is not the address that the other one knows it by",
        Confidence.MEDIUM,
        "At the peer, local ID is the address in Azure's local network gateway, remote ID the gateway's public IP address.",
    ),
    Hypothesis(
        "The pre-shared keys differ: the key is chosen by the identity, so that a wrong one may fetch another key",
        Confidence.LOW,
        "Compare the length and the first and last two characters of both keys by telephone, never by log or mail.",
    ),
)


def _no_policy(situation: Situation) -> tuple[Hypothesis, ...]:
    ours = protocol(situation.configured)
    return (
        Hypothesis(
            "The peer calls with another IKE version than the connection in Azure has" + (f", {ours}" if ours else ""),
            Confidence.LOW,
            f"Read the IKE version of this tunnel at the peer{'' if ours else ' and of the connection in Azure'}.",
        ),
        Hypothesis(
            "The connection is being changed, or was removed a moment ago",
            Confidence.LOW,
            "See in the activity log whether somebody writes it, and whether the refusals go on after that.",
        ),
    )
