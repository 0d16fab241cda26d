"""An off-site host's side: a sender's commands, what arrives and the ledger in it, its own last report."""

__all__ = ["arrivals", "published_report", "sink", "witness"]
