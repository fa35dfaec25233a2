"""A message -> a Slack message of Block Kit blocks, for an incoming webhook.

Text from logs stands in `plain_text`, where there is no markup; the one exception is the table, which needs a code
block and so `mrkdwn`. In both, Slack reads `<...>` as a link, a ping or a channel, and wants & < > written as entities.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ikestream.sinks.message import Message, cut, evidence, facts, mismatch, prose, title

# Slack's limits are 150, 2,000 and 3,000 characters, as its own counting has them; what is left is for that.
HEADER, FIELD, SECTION, FALLBACK = 140, 300, 2800, 500
FIELDS = 10
CELL = 60
LINES = 4


def write(message: Message) -> dict[str, Any]:
    """Return the message. `text` is what a notification shows."""
    said = title(message)
    known = [_plain(f"{label}: {value}", FIELD) for label, value in facts(message)][:FIELDS]
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain(said, HEADER)}]
    if len(escape(said)) > HEADER:
        blocks.append({"type": "section", "text": _plain(said, SECTION)})
    if known:
        blocks.append({"type": "section", "fields": known})
    if table := mismatch(message):
        blocks.append(_code([_line(cells) for cells in (("Parameter", "Azure", "Peer"), *table)]))
    blocks += [{"type": "section", "text": _plain(f"{label}: {words}", SECTION)} for label, words in prose(message)]
    if proof := evidence(message, LINES):
        blocks.append(_code(proof))
    if message.peer is not None and message.peer.runbook:
        link = escape(message.peer.runbook).replace("|", "%7C")  # from the settings, not from a log
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": f"<{link}|Runbook>"}})
    # Nothing in the text is looked through for names of people and channels.
    return {"text": cut(said, FALLBACK, escape), "blocks": blocks, "parse": "none", "link_names": False}


def escape(said: str) -> str:
    """Write the three characters that mean something to Slack as it wants them."""
    return said.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _plain(said: str, limit: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": cut(said, limit, escape), "emoji": False}


def _code(lines: Sequence[str]) -> dict[str, Any]:
    # A backtick would end the block, and what follows it would be markup.
    said = "\n".join(lines).replace("`", "'")
    return {
        "type": "section",
        "text": {"type": "mrkdwn", "text": f"```{cut(said, SECTION, escape)}```", "verbatim": True},
    }


def _line(cells: tuple[str, str, str]) -> str:
    name, ours, theirs = (cut(cell, CELL) for cell in cells)
    return f"{name:<16}  {ours:<24}  {theirs}"
