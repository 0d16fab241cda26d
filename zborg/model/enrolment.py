"""A host that is to be enrolled: what is asked, what its machine says, and the way in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from zborg.model.machines import Host


@dataclass(frozen=True, slots=True)
class Request:
    """The host as it is to be. Empty `paths`: what the host has of the usual places."""

    host: Host
    server: str  # our own name
    server_key: str  # our public key, "ssh-ed25519 AAAA... zborg@vault"
    paths: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    quota: int = 0  # bytes of its dataset, 0: no quota
    custodians: tuple[str, ...] = ()  # age's public keys; none: no escrow


@dataclass(frozen=True, slots=True)
class Problem:
    """What keeps a host from being enrolled, and its remedy."""

    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What the enrolment script's `probe` says of a host. It changes nothing there."""

    values: Mapping[str, str] = field(default_factory=dict)  # the facts by name, as the script has them
    paths: tuple[str, ...] = ()  # what will be backed up
    problems: tuple[Problem, ...] = ()
    remarks: tuple[str, ...] = ()
    host_keys: Mapping[str, str] = field(default_factory=dict)  # by file, "TYPE BASE64": all that lie there


class Entry(Protocol):
    """The operator's way onto a host. Each method raises CommandFailed with its words, Unreachable."""

    def probe(self) -> HostFacts:
        """Look at the host and change nothing; what keeps it from being enrolled is among the facts."""

    def install(self) -> tuple[str, ...]:
        """Make what is missing; returns what was made, for undo. What fails takes itself back."""

    def undo(self, made: Sequence[str]) -> None:
        """Take back what `install` says it made; what was there before stays."""

    def finish(self) -> None:
        """Forget what only an undo would need."""

    def authorized(self) -> tuple[str, ...]:
        """The public keys that may call the agent, "TYPE BASE64" each."""

    def add_key(self, key: str) -> None:
        """Idempotent."""

    def drop_key(self, key: str) -> None:
        """Gone counts as done."""


@dataclass(frozen=True, slots=True)
class Source:
    """One host of qb.backup's file, and where it stands there."""

    hostname: str
    port: int
    place: str


@dataclass(frozen=True, slots=True)
class Left:
    """A setting that has no place in hosts.d: its key path, never its value, which may be a password."""

    key: str
    place: str
    words: str
    remedy: str = ""

    def line(self) -> str:
        """For people, with what to do instead."""
        return f"leave {self.key}{f' ({self.place})' if self.place else ''}: {self.words}; {self.remedy}"
