"""PeerAddressMismatch: the configured address is silent, and the site calls from another one (facts 2.13).

Only who knows the connections can say it: to a log alone the site at its new address is a stranger like any scanner.
That it is the site is likely if it began to call when the configured address fell silent, goes on and on from the ports
of a device, and offers exactly what the missing peer offered last, which is none of the lists everybody has; or if a tag
says that the address is the site's. Several that fit, or one that negotiates like a client on a gateway with clients,
are nobody. It is never certain: anybody can send such packets, so no command holds the address, and the first step is a
telephone.
"""

from __future__ import annotations

from collections.abc import Sequence

from ikestream.episode import Situation
from ikestream.events import Proposal
from ikestream.finding import ActionOn, Cause, Confidence, FailedStep, Finding, Hypothesis
from ikestream.negotiation import Initiator, Negotiation
from ikestream.offers import GatewayKind, Phase, Role, default_offers
from ikestream.rules.signature import prove
from ikestream.timeline import Outcome
from ikestream.times import MINUTE
from ikestream.tunnel import Tunnel

TOGETHER = 15 * MINUTE
"""The stranger begins this near the silence."""
PERSISTENT = 10 * MINUTE
ATTEMPTS = 5
REACH = 30 * MINUTE
"""What calls later than this after the silence began is not looked at: the verdict must come to rest."""
PORTS = frozenset({0, 500, 4500})


def judge(situation: Situation) -> Finding | None:
    """Return the finding if exactly one unknown address fits the missing peer."""
    version = situation.configured
    if version is None or version.until is not None or not version.connection.remote or not _is_silent(situation):
        return None
    tagged = [t for t in _callers(situation) if t.remote in version.connection.also and _calls(situation, t)]
    good = _last_offers(situation)
    fitting = tagged or [t for t in _callers(situation) if good and _offers(situation, t) == good]
    if not tagged and _are_public(good):
        return None
    if len(fitting) != 1:
        return None
    calls = _calls(situation, fitting[0])
    why = (
        "a tag in Azure says that this address is the site's"
        if tagged
        else "it began when the configured address fell silent, goes on, and offers exactly what the site offered last"
    )
    return Finding(
        cause=Cause.PEER_ADDRESS_MISMATCH,
        confidence=Confidence.MEDIUM,
        explanation=f"The configured address {version.connection.remote} is silent, and {fitting[0].remote} calls this gateway,"
        f" which has no connection for it: {why}. Who really calls cannot be seen from unauthenticated packets.",
        action_on=ActionOn.AZURE,
        failed_step=FailedStep.SA_INIT,
        peer_offers=() if tagged else good,
        hypotheses=(
            Hypothesis(
                "The device is off or its line is down, and the caller is somebody else",
                Confidence.LOW,
                "Ask the owner of the site by telephone for its public address today.",
            ),
        ),
        missing_evidence="The owner's word: ask by telephone for the public address of the site today.",
        code=next((c for n in situation.newest for c in n.codes), None),
        evidence=prove([*calls[:1], *calls[-1:], *situation.newest]),
    )


def lead(situation: Situation) -> Hypothesis | None:
    """Return the hypothesis that an unknown address is the peer: it offers the custom policy of the connection.

    For a connection that never came up, as with a mistyped address, there is nothing the peer offered before.
    """
    version = situation.configured
    if version is None or version.connection.ike is None or _are_public((version.connection.ike,)):
        return None
    fitting = [t for t in _callers(situation) if version.connection.ike in _offers(situation, t)]
    if len(fitting) != 1:
        return None
    return Hypothesis(
        f"The configured address is mistyped: {fitting[0].remote}, which has no connection, offers the custom policy of this one",
        Confidence.MEDIUM,
        "Ask the owner of the site by telephone for its public address; never take it from the log.",
    )


def due(situation: Situation) -> tuple[int, ...]:
    """Return the instants at which what others do may make it this cause."""
    start = situation.episode.start
    return (start + PERSISTENT, start + TOGETHER + PERSISTENT, start + REACH)


def _is_silent(situation: Situation) -> bool:
    """Whether nothing came from the configured address since, and whatever Azure tried stayed unanswered."""
    start = situation.episode.start
    heard = [n for n in situation.negotiations if n.heard_at is not None and n.heard_at > start]
    return not heard and all(n.initiator is Initiator.AZURE and n.depth == 0 for n in situation.newest)


def _callers(situation: Situation) -> list[Tunnel]:
    """Addresses without a connection that call on and on like a device, since the configured one is silent."""
    gateway = situation.connections.gateway
    clients = gateway is not None and gateway.p2s
    found = []
    for tunnel in situation.gateway.tunnels.values():
        if tunnel.known() or tunnel.remote in situation.connections.addresses:
            continue
        calls = _calls(situation, tunnel)
        if not calls or (clients and any(n.is_client for n in calls)):
            continue
        first, last = min(n.start for n in calls), max(n.end for n in calls)
        ports = {e.remote_port for n in calls for e in n.events}
        if (
            abs(first - situation.episode.start) <= TOGETHER
            and last - first >= PERSISTENT
            and len({n.identity for n in calls}) >= ATTEMPTS
            and ports <= PORTS
        ):
            found.append(tunnel)
    return found


def _calls(situation: Situation, tunnel: Tunnel) -> list[Negotiation]:
    until = min(situation.until, situation.episode.start + REACH)
    return [n for n in tunnel.recent() if n.initiator is Initiator.PEER and n.start <= until]


def _offers(situation: Situation, tunnel: Tunnel) -> tuple[Proposal, ...]:
    return next((n.peer_ike for n in reversed(_calls(situation, tunnel)) if n.peer_ike), ())


def _last_offers(situation: Situation) -> tuple[Proposal, ...]:
    """What the peer offered when it last went well."""
    good = [
        n
        for n in situation.negotiations
        if n.initiator is Initiator.PEER
        and n.peer_ike
        and situation.conclusions[n].outcome is Outcome.SUCCEEDED
        and situation.conclusions[n].at <= situation.episode.start
    ]
    newest = max(good, key=lambda n: (situation.conclusions[n].at, n.session), default=None)
    return newest.peer_ike if newest is not None else ()


def _are_public(offers: Sequence[Proposal]) -> bool:
    """Whether many would offer just these: nothing but what Azure's documents list as its defaults."""
    defaults = {
        proposal for kind in GatewayKind for role in Role for proposal in default_offers(f"/{kind}/", Phase.IKE, role)
    }
    return set(offers) <= defaults
