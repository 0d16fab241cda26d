"""Snapshots that a target does not have yet are sent to it."""

__all__ = ["lag", "step", "stream", "verify"]
