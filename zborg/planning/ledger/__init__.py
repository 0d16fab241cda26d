"""Whether a ledger is what it was: entries, checkpoints and witnesses compared. Pure."""

__all__ = ["check", "host_witness"]
