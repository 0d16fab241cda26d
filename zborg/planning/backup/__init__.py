"""Decisions of a backup: order, places, retries, and what is believed of its result. Pure."""

__all__ = ["excuses", "memory", "pace", "places", "plausible", "schedule", "unusual", "walls"]
