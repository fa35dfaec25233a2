"""Steps -> text: the shape every fix has, so that a tired reader always finds the same line in the same place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ikestream.finding import Command

NOTHING = "nothing to change."
PROOF = "Azure portal, the connection, Overview: Status is Connected, and this incident resolves about a minute later."


@dataclass(frozen=True, slots=True)
class Steps:
    """A fix in prose: the read-only check, what to do at either end, how to see that it worked."""

    check: str
    azure: str
    peer: str
    proof: str = PROOF

    def text(self) -> str:
        """One line per step."""
        return "\n".join(
            (
                f"Check first: {self.check}",
                f"Azure: {self.azure}",
                f"Peer: {self.peer}",
                f"It worked when: {self.proof}",
            )
        )


Plan: TypeAlias = tuple[Steps, tuple[Command, ...]]
"""A fix in prose and its commands, in the order in which to run them."""
