"""Everything that a backup depends on is looked at, and nothing is changed."""

__all__ = ["step"]
