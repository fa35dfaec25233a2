"""Situation -> Finding: the rules, listed once in order of specificity.

Each rule is one file: when it holds in a network engineer's words, the fact it rests on, a function
`judge(situation)` that returns a `Finding` or None. The first that answers names the cause.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from ikestream.episode import Situation
from ikestream.rules import ike_policy_mismatch, pre_shared_key_mismatch, unclassified
from ikestream.rules.finding import Finding

Rule: TypeAlias = Callable[[Situation], Finding | None]

RULES: tuple[Rule, ...] = (
    # A failed AUTH proves that phase 1 was agreed, so the key is the more specific reason of the two.
    pre_shared_key_mismatch.judge,
    # A refusal in SA_INIT, with nothing of the newest attempts beyond it.
    ike_policy_mismatch.judge,
    # Down, and none of the above: what is known is told, the reason is not guessed.
    unclassified.judge,
)


def diagnose(situation: Situation) -> Finding | None:
    """Return the finding of the most specific rule that holds, None if the episode is no outage after all."""
    return next((finding for rule in RULES if (finding := rule(situation)) is not None), None)
