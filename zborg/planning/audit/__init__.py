"""What an append-only host may have done, and what it may not. Pure."""

__all__ = ["entry", "rules"]
