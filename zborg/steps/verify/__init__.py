"""verify: repositories read whole and compared with the ledger, and checked by borg."""

__all__ = ["elsewhere", "last", "reading", "records", "step", "verdict"]
