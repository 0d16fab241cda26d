"""When a repository may be compacted, and whether nothing but space was freed. Pure."""

__all__ = ["compare", "decide"]
