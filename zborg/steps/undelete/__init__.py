"""The last clean point becomes the repository again."""

__all__ = ["settle", "step"]
