"""Saved logs -> one self-contained HTML page: incidents, every tunnel over time, and each exchange as a ladder."""

from __future__ import annotations

from ikestream.report.account import Account, gather
from ikestream.report.page import render

__all__ = ["Account", "gather", "render"]
