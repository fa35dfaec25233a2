"""A message -> an Adaptive Card in the message that a Teams workflow ("when a webhook request is received") posts.

TextBlock and FactSet read Markdown, links included; a TextRun of a RichTextBlock reads none. So every word that can
come from a log is in a TextRun.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ikestream.sinks.message import Message, cut, evidence, facts, mismatch, prose, title

TITLE, FACT, CELL, PROSE = 500, 300, 200, 3000
LINES = 4

# Mentions, the functions {{DATE(...)}} and {{TIME(...)}}, and the templates of Adaptive Cards: ${...}.
_MEANING = re.compile(r"<(?=/?at\b)|\{(?=\{)|\$(?=\{)", re.IGNORECASE)
_APART = "\u200b"


def write(message: Message) -> dict[str, Any]:
    """Return the message with its card."""
    said = title(message)
    color = "Good" if message.resolved else "Attention"
    body: list[dict[str, Any]] = [_runs([_run(said, TITLE, weight="Bolder", size="Medium", color=color)])]
    body += [_runs([_run(f"{label}: ", FACT, weight="Bolder"), _run(known, FACT)]) for label, known in facts(message)]
    if table := mismatch(message):
        body.append(_table((("Parameter", "Azure", "Peer"), *table)))
    for label, words in prose(message):
        body += [_runs([_run(label, FACT, weight="Bolder")]), *_lines(words.split("\n"))]
    body += _lines(evidence(message, LINES), fontType="Monospace")
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.5",
        "msteams": {"width": "Full"},
        "body": body,
    }
    if message.peer is not None and message.peer.runbook:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Runbook", "url": message.peer.runbook}]
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "summary": escape(cut(said, TITLE)), "attachments": [attachment]}


def escape(said: str) -> str:
    """Take apart what a card gives a meaning to even where it reads no Markdown, by a space of no width."""
    return _MEANING.sub(lambda found: found[0] + _APART, said)


def _run(said: str, limit: int, **look: str) -> dict[str, Any]:
    return {"type": "TextRun", "text": escape(cut(said, limit)), **look}


def _runs(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": runs}


def _lines(lines: Iterable[str], **look: str) -> list[dict[str, Any]]:
    return [_runs([_run(line, PROSE, **look)]) for line in lines if line]


def _table(rows: Iterable[tuple[str, str, str]]) -> dict[str, Any]:
    cells = [[{"type": "TableCell", "items": [_runs([_run(cell, CELL)])]} for cell in row] for row in rows]
    return {
        "type": "Table",
        "firstRowAsHeader": True,
        "columns": [{"width": 1}, {"width": 2}, {"width": 2}],
        "rows": [{"type": "TableRow", "cells": row} for row in cells],
    }
