"""Story: the records of one scripted gateway, and what is true about it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ikestream.events import Record
from ikestream.lab.policy import Difference


@dataclass(frozen=True, slots=True)
class Truth:
    """What happened to one tunnel. `cause` is a name of the column `Cause`, '' where nothing was wrong.

    `also` are other causes the log allows an honest reader. `difference` is the parameter, if one was injected and
    Azure's log can show it.
    """

    remote: str
    cause: str = ""
    also: frozenset[str] = frozenset()
    difference: Difference | None = None
    down: bool = True  # still down at the end
    surely: bool = True  # an outage must be told; False: it may be, but by this cause only


@dataclass(frozen=True, slots=True)
class Story:
    """A gateway's log from beginning to end, in the order written, and the truth per tunnel."""

    name: str
    gateway_id: str
    records: tuple[Record, ...]
    truths: tuple[Truth, ...]
    strangers: frozenset[str] = field(default_factory=frozenset)
