"""Flags in, one step called, its report rendered, an exit code out. The only place that prints."""
