"""Which repositories are read whole tonight, and what that comes to. Pure."""

__all__ = ["bisect", "expected", "judge", "share"]
