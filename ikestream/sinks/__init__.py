"""Sinks: where rows are told."""
