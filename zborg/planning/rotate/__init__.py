"""Which snapshots stay, and which holds are stale. Pure."""

__all__ = ["hold_tags", "retention", "unreplicated"]
