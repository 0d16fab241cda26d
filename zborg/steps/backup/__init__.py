"""One borg archive per host, several hosts at once."""

__all__ = ["auto", "borgmatic", "earlier_runs", "host", "step", "walls"]
