"""What is new in each repository, without its key: judged, and written into the ledger."""

__all__ = ["step"]
