"""Freeing what was pruned: only where audit found nothing else, and never for good at once."""

__all__ = ["facts", "known", "settle", "step"]
