"""Which hosts read their backups again tonight, from where, and what their answers come to. Pure."""

__all__ = ["choose", "due", "judge"]
