"""Which snapshot and which paths are restored. Pure."""

__all__ = ["paths", "select"]
