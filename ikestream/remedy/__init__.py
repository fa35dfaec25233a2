"""Finding, Names -> Remedy: what to do at either end, in prose and as commands.

Laws: a read-only check comes first, then the smallest change, each with its effect and its undo; Azure is never
weakened; no key is part of a command; no value enters a command unless it is a known name or a valid address; whatever
is not known is a placeholder and is named in `assumed`. Everything rests on facts 06 section 4.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from ikestream.finding import Finding, Remedy
from ikestream.offers import Agreed
from ikestream.remedy.causes import CURES
from ikestream.remedy.names import Names, choose_words
from ikestream.remedy.note import Attempt, note, note_of
from ikestream.remedy.peer import Vendor, make_peer_initiate

__all__ = ["Agreed", "Attempt", "Names", "Vendor", "cure", "make_peer_initiate", "note", "note_of"]


def cure(finding: Finding, names: Names, agreed: Agreed | None = None) -> Remedy:
    """The remedy for `finding.cause`; a cause without a row of its own is treated as `Unclassified`.

    `agreed` tells what was last seen to work in the phases, so that a custom policy can be complete; without it the
    values of the other phase are placeholders.
    """
    # What is to be done rests on the cause and its values; with the words and the lines of the finding, which change with
    # every attempt, nothing would be found again.
    bare = replace(finding, explanation="", hypotheses=(), missing_evidence="", evidence=())
    return _cure(bare, names, agreed or Agreed(), type(finding.cause))


@lru_cache(256)  # a verdict is looked at again and again and seldom changes
def _cure(finding: Finding, names: Names, agreed: Agreed, _kind: type) -> Remedy:
    # RekeyFailed is an outage and an advisory, and the two are equal by value: without the kind the one that is up would get
    # the restart of the one that is down, if that was asked for first.
    plan, links = CURES.get(str(finding.cause), CURES["Unclassified"])
    steps, commands = plan(finding, choose_words(names), agreed)
    return Remedy(steps.text(), commands, links)
