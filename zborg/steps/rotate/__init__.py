"""Snapshots that no rule keeps are destroyed; holds and frozen hosts are not."""

__all__ = ["freeze", "holds", "step"]
