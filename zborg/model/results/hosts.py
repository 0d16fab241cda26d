"""Hosts as they are enrolled, tested, removed and imported."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from zborg.model.results.base import Result


class ListedHost(Result):
    """A host in `host list`."""

    address: str  # its `ssh`
    dataset: str  # on the storage
    last_good: datetime | None  # when its last good backup ended, null: never
    identity: str  # the server's key for it


class TestedHost(Result):
    """What a host's agent says of itself: its answers to `version`."""

    agent: str  # the agent's version
    borg: str  # borg's version there
    alarm: str  # yes: it refuses because of an alarm
    escrow: str  # yes: it seals its key for custodians
    initialised: str  # yes: it has a repository
    opens: str  # yes: its key opens the repository
    clock: datetime | None  # the host's, null: it did not say
    sealed: bool  # whether the key of the repository that is there now is in escrow
    witnessed: int | None = None  # entries of the ledger that it is a witness of


class RemovedHost(Result):
    """A host that `host remove` took out of the configuration."""

    _always = frozenset({"commands"})

    removed: str  # the drop-in's path


class Bundle(Result):
    """A script for a host's owner: where it was written, or itself."""

    output: str = ""  # the file
    script: str = ""  # itself, where no file was named


class Imported(Result):
    """A host that was taken over."""

    file: str  # its drop-in


class WellHosts(Result):
    """By host what doctor found well; each host is a key."""

    _by_name = "hosts"

    hosts: Mapping[str, str]  # what was found
