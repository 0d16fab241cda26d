"""An off-site host's side: a sender's commands, the age of what arrives, its own last report."""

__all__ = ["arrivals", "published_report", "sink"]
