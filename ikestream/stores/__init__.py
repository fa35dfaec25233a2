"""Stores: where facts and what was told are kept."""
