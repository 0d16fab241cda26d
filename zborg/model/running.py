"""Running commands on this machine or another, and the clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Protocol

from zborg.model.machines import Host
from zborg.model.wall import Wall

MAX_OUTPUT = 256 << 20  # bytes that a command may print: a million snapshots listed take 150 MiB


@dataclass(frozen=True, slots=True)
class Completed:
    """What an ended command left: its status and its words."""

    status: int
    stdout: str
    stderr: str


class Speaker(Enum):
    """Whose text a line is: known by the descriptor on which it came, never by its content."""

    HOST = "host"
    STORAGE = "storage"
    SSH = "ssh"  # our own ssh


@dataclass(frozen=True, slots=True)
class ConnectionLog:
    """What ssh itself logged about a connection, apart from what the far side printed on stderr."""

    authenticated: bool = False  # the far side let us in: what failed later is a lost connection
    text: str = ""


class Child(Protocol):
    """A process that was started and whose stderr is ours to read."""

    argv: tuple[str, ...]

    @property
    def stderr(self) -> int:
        """The descriptor to read its stderr from; open until `close`."""

    @property
    def pid(self) -> int:
        """Of the process itself, which is the leader of its group."""

    @property
    def connection(self) -> ConnectionLog:
        """Of a child that is an ssh, once it has ended; empty for a process on this machine."""

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs. Does not wait."""

    def stop(self, grace: float = 5.0) -> int:
        """End the process and its group: SIGTERM, then SIGKILL after `grace`. Returns its status."""

    def close(self) -> None:
        """Give the pipe of stderr back, once the process has ended."""


class Runner(Protocol):
    """Runs commands on one machine, this one or another."""

    def run(
        self, argv: Sequence[str], *, timeout: float = 60, stdin: str = "", max_bytes: int = MAX_OUTPUT
    ) -> Completed:
        """Run to the end. Raises CommandFailed on any status but 0, TimedOut, Unreachable.

        `max_bytes` of its stdout and of its stderr are taken; more is CommandFailed as well.
        """

    def start(self, argv: Sequence[str], *, stdin: int, stdout: int) -> Child:
        """Start with its data on two file descriptors; no byte of it passes through Python."""


Lines = Callable[[Speaker, Sequence[str]], None]  # those of one speaker that came at once


class Adopt(Protocol):
    """Takes note of children, so that they can be ended should this process be killed."""

    def __call__(self, *children: Child) -> None:
        """All of them run already. Raises nothing: that nobody noted them ends no work."""


class Tunnel(Protocol):
    """Runs the agent's verbs on a host, each joined with a `borg serve` on the storage."""

    def ask(self, host: Host, *words: str) -> str:
        """Run a verb that needs no repository (`version`); returns what it prints.

        Raises CommandFailed when the host refuses, Unreachable and TimedOut.
        """

    def try_serve(self, name: str) -> Wall | None:
        """Start `borg serve` for a host's repository, let it end at once, and return the wall around it.

        None: the storage's zborg-serve is one from before there were walls. Raises CommandFailed with its
        words when it ended badly, Unreachable, TimedOut.
        """

    def wall(self, name: str) -> Wall | None:
        """What stood around the last `borg serve` of this host in this process; None when it is not known."""

    def compact(self, name: str, lines: Lines, *, timeout: float, adopt: Adopt | None = None) -> int:
        """Run `borg compact` for a host's repository behind the wall, on the storage; returns its status.

        Every line that it writes goes to `lines`. Raises Unreachable, TimedOut, Interrupted.
        """

    def serve_below(self, root: str) -> None:
        """Where the storage's dataset is mounted, as its caller has just listed it: it is not asked again."""

    def serve_within(self, limits: Mapping[str, int]) -> None:
        """Bytes of memory that each of these hosts' `borg serve` may take from now on, on this machine."""

    def bring(self, storage: Runner) -> tuple[str, ...]:
        """Write this version's serving files if the storage is another machine; the paths written."""

    def verb(
        self, host: Host, words: Sequence[str], lines: Lines, *, scratch: str = "", adopt: Adopt | None = None
    ) -> int:
        """Run one verb and hand every line of its stderr to `lines`; returns its exit status.

        Lines of the host's come while it runs, those of the storage's `borg serve` after its end.

        `scratch` names a run below the storage's scratch dataset: the clone there is served instead
        of the repository. Raises Unreachable (HostKeyChanged), TimedOut, Interrupted; CommandFailed
        when the serving side failed.
        """

    def forced(self, host: Host, lines: Lines, *, adopt: Adopt | None = None) -> int:
        """Run the forced command of a host with a `reverse`; the port there is open while it runs.

        Every line of its stderr goes to `lines`, and at its end what our ssh logged; returns its exit
        status. Raises Unreachable (HostKeyChanged) and TimedOut; when the port cannot be opened, before
        anything was started.
        """


class Clock(Protocol):
    """Where time comes from: tests turn it by hand."""

    def __call__(self) -> datetime:
        """Now, aware, UTC."""


def utc_now() -> datetime:
    """The Clock of everything but tests."""
    return datetime.now(UTC)
