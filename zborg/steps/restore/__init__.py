"""A snapshot comes back: as files, as a repository, or lent to its host."""

__all__ = ["fetch", "files", "interrupted", "leftovers", "lend", "listing", "repository", "source"]
