"""Sinks: where revisions go. One contract: what a sink does not say it accepted stays in the outbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ikestream.incident import Row
from ikestream.incident import Why as Why


@dataclass(frozen=True, slots=True)
class Posting:
    """One revision on its way. Its key is (IncidentId, Revision); rows of equal keys are equal."""

    row: Row
    why: Why

    @property
    def key(self) -> tuple[str, int]:
        """What identifies it."""
        return self.row["IncidentId"], self.row["Revision"]


@dataclass(slots=True)
class Receipt:
    """What became of what was sent. What is in neither is sent again, not before `retry_after` seconds."""

    accepted: set[tuple[str, int]] = field(default_factory=set)
    refused: dict[tuple[str, int], str] = field(default_factory=dict)  # for good; the reason on one line, no secret
    retry_after: float | None = None
    trouble: str = ""  # what kept the rest from being accepted, one line, no secret; '' if nothing is left


class Sink(Protocol):
    """One receiver. `name` is the key of its mark in the outbox: it is stored, holds no secret and must not change.

    `messages`: it is told people's business only (`Why` but UPDATED), and of an incident only the newest revision that
    is not delivered; a sink that keeps everything takes every revision, oldest first.
    """

    name: str
    messages: bool

    async def send(self, postings: Sequence[Posting]) -> Receipt:
        """Send them, in order. Never raises for what a receiver or the network does: that is in the receipt."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
