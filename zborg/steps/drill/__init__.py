"""drill: hosts read a sample of their own backups again, and compare."""

__all__ = ["last", "step"]
