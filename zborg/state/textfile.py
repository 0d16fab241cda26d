"""A file that other programs read while it is written anew."""

from __future__ import annotations

import os
from pathlib import Path

_FOR_ALL = 0o644  # node_exporter is another user


def replace_whole(path: Path, text: str) -> None:
    """Readers see the old text or the new one. Raises OSError, and leaves nothing half-written behind."""
    new = path.with_name(f"{path.name}.{os.getpid()}")  # the collector reads *.prom alone
    try:
        new.write_text(text, encoding="utf-8")
        new.chmod(_FOR_ALL)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
