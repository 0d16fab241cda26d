"""Whether this server has a ledger, and where it knows of it: without what signs and reads it."""

from __future__ import annotations

from pathlib import Path

from zborg.config import Config

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


def is_begun(config: Config) -> bool:
    """One look at a file, and no more: every `zborg status` asks."""
    return (folder_of(config) / KEY).exists()
