"""Whether this server has a ledger, and where it knows of it: without what signs and reads it."""

from __future__ import annotations

from pathlib import Path

from zborg.config import Config
from zborg.state.ledger import newest

KEY, PUBLIC = "key", "key.pub"


def folder_of(config: Config) -> Path:
    """What this server knows of its ledger."""
    return config.state_dir / "ledger"


def public_key(config: Config) -> Path:
    """The file with its public half."""
    return folder_of(config) / PUBLIC


def may_be_compacting(config: Config, host: str) -> bool:
    """Whether a compaction of this host was ever begun here: one look at a file."""
    return (folder_of(config) / f"compact-{host}.json").exists()


def newest_checkpoint(config: Config) -> str:
    """The word that hosts are given, "" while there is none: one look at a file."""
    found = newest.load(folder_of(config))
    return found.word if found else ""


def is_begun(config: Config) -> bool:
    """One look at a file, and no more: every `zborg status` asks."""
    return (folder_of(config) / KEY).exists()
