"""PfsMismatch: the tunnel comes up, and the first renewal of its child SA is refused (facts 2.5).

The child of IKE_AUTH has no key exchange of its own, so PFS is compared for the first time when a child is renewed
(RFC 7296 1.2). A refusal there, on a leg where the same encryption and integrity had been agreed before, points to
PFS. Azure's default offers no PFS when Azure renews and takes none, 1, 2, 14 or 24 when the peer does, so the symptom
depends on who renews first. With IKEv1 PFS is compared in every quick mode, also the first.

The log of a renewal is not published: that its lines look like those of a first child is inferred, and so Medium is the most
without a group that is known. Drops at the period of a child's lifetime, each healed by a new IKE SA while renewals fail, are
not judged here by their rhythm alone: refused renewals are the first rule above, unanswered ones are RekeyFailed, whose first
hypothesis is PFS, and the rhythm is told as PeriodicDrop.

Where no attempt follows the loss of the tunnel, the renewals refused just before it are what is judged.
"""

from __future__ import annotations

from ikestream.episode import Situation
from ikestream.events import Kind
from ikestream.finding import ActionOn, Cause, Confidence, FailedStep, Finding, Hypothesis, OffersSource, Parameter
from ikestream.negotiation import Negotiation
from ikestream.offers import Comparison, Phase, compare
from ikestream.rules.offered import Offers, collect_offers, without_group
from ikestream.rules.signature import (
    DH_CODES,
    POLICY_MATCH,
    collides_around,
    ikev2_is_shown,
    newest_of_each,
    newest_or_before,
    prove,
    refuses_child,
    refuses_selectors,
    rekeys,
)

PROOF = (
    Kind.NOTIFY_SENT,
    Kind.NOTIFY_RECEIVED,
    Kind.CLEANUP_QM,
    Kind.CLOSED,
    Kind.ERROR,
    Kind.ESP_RECEIVED,
    Kind.ESP_SENT,
    Kind.TS_REQUESTED,
    Kind.TS_PROPOSED,
    Kind.TS_FINAL,
)


def judge(situation: Situation) -> Finding | None:
    """Return the finding if a child was refused where only PFS can be the reason."""
    if not ikev2_is_shown(situation):
        return _in_quick_mode(situation)
    refused = [n for n in newest_or_before(situation) if _refuses_renewal(situation, n)]
    if not refused or any(refuses_child(situation, n) and n not in refused for n in situation.newest):
        return None  # refused in IKE_AUTH too: that cannot be PFS
    if collides_around(situation, refused):
        return None
    offers = collect_offers(situation, refused, with_group=True)
    if offers.peer and not compare(without_group(offers.azure), without_group(offers.peer), Phase.IPSEC).common:
        return None  # encryption or integrity differ by now
    compared = compare(offers.azure, offers.peer, Phase.IPSEC) if any(p.group for p in offers.peer) else None
    if compared is not None and compared.common and _groups_are_known(offers):
        return None  # both sides' groups are known and agree
    return _finding(situation, refused, offers, compared)


def _refuses_renewal(situation: Situation, n: Negotiation) -> bool:
    if not rekeys(situation, n) or refuses_selectors(n) or n.refused_authentication:
        return False
    wrong_group = "INVALID_KE_PAYLOAD" in n.sent_notifies | n.received_notifies or bool(DH_CODES & set(n.codes))
    return n.refused_policy or (wrong_group and n.child_agreed_at is None)


def _groups_are_known(offers: Offers) -> bool:
    return all(p.group for p in (*offers.azure, *offers.peer))


def _in_quick_mode(situation: Situation) -> Finding | None:
    refused = [n for n in situation.newest if Kind.CLEANUP_QM in n.kinds and refuses_child(situation, n)]
    if not refused:
        return None
    offers = collect_offers(situation, refused, with_group=True)
    compared = compare(offers.azure, offers.peer, Phase.IPSEC)
    if [m.parameter for m in compared.mismatch] != [Parameter.PFS_GROUP] or not offers.whole:
        return None
    return _finding(situation, refused, offers, compared)


def _finding(situation: Situation, refused: list[Negotiation], offers: Offers, compared: Comparison | None) -> Finding:
    mismatch = compared.mismatch if compared is not None else ()
    # All else was agreed before, so if Azure's group is known the peer's is another one.
    ours = tuple(dict.fromkeys(p.group for p in offers.azure)) if offers.source is OffersSource.CONFIGURED else ()
    renewal = any(rekeys(situation, n) for n in refused)
    told = (
        "The tunnel came up, because PFS is not negotiated with the first child SA; its renewal was refused although the same"
        " encryption and integrity had been agreed before."
        if renewal
        else "Quick mode was refused, and PFS is all in which the two sides' proposals differ."
    )
    if mismatch:
        told += f" Azure takes PFS {'/'.join(mismatch[0].azure)}, the peer wants {'/'.join(mismatch[0].peer)}."
    elif ours:
        told += f" The log does not print the PFS groups. By its configuration Azure takes PFS {'/'.join(ours)}, so the peer wants another."
    else:
        told += " The log does not print the PFS groups; Azure's default offers none when Azure renews."
    return Finding(
        cause=Cause.PFS_MISMATCH,
        confidence=Confidence.HIGH if mismatch or ours else Confidence.MEDIUM,
        explanation=told,
        action_on=ActionOn.BOTH,
        failed_step=FailedStep.REKEY if renewal else FailedStep.CHILD_SA,
        mismatch=mismatch,
        azure_offers=offers.azure,
        peer_offers=offers.peer,
        offers_source=offers.source,
        hypotheses=()
        if mismatch
        else (
            Hypothesis(
                "The phase 2 policy of one side was changed after the tunnel came up",
                Confidence.LOW,
                "Compare encryption and integrity of phase 2 on both ends, too.",
            ),
        ),
        missing_evidence=""
        if mismatch
        else "The peer's PFS group: read it in its phase 2 settings, it is not in this log."
        if ours
        else "The PFS group: read it in the phase 2 settings of both ends, it is not in this log.",
        code=next((c for n in refused for c in n.codes if c in DH_CODES or c == POLICY_MATCH), POLICY_MATCH),
        evidence=prove(dict.fromkeys([*newest_of_each(situation, refused), *offers.sessions]), PROOF),
    )
