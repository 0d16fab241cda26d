"""Everything zborg can refuse or fail at, as one tree.

    ZborgError                      4   failed
    ├── UsageError                  2   the command line asks for something that does not exist
    ├── ConfigError                10   zborg.toml, its owner or its mode
    ├── Busy                       11   another run holds the lock
    ├── Conflict                   12   only a human may decide; nothing was touched
    ├── Damage                     13   a check found damage
    ├── Interrupted               130   SIGINT or SIGTERM
    ├── NotSent                     4   a notifier did not take a message (perhaps retryable)
    ├── Refused                     4   the sink, here, does not do what a key asks for
    └── CommandFailed               4   an external command ended badly
        ├── TimedOut                4   it did not end in time (retryable)
        ├── Stalled                 4   nothing moved between a host and the storage for `stalled_after`
        ├── SinkRefused             4   the sink of an off-site host, there, did so
        ├── StreamRefused           4   a receiver did not take a stream (model/storage/refusal.py)
        ├── HasChildren             4   a dataset stays because others are below it
        └── Unreachable             4   no connection, or it broke (retryable)
            ├── KeyRefused          4   it does not let our key in, or there is none (never retried)
            ├── NoCommonAlgorithm   4   no cipher or the like in common (never retried)
            └── HostKeyChanged      4   the machine is not the one that was pinned (never retried)

`Exit` is the only table of exit codes. Each error carries a `message` (what happened, where) and a
`remedy` (what the reader can do about it); the command line prints both and nothing else.
"""

from enum import IntEnum


class Exit(IntEnum):
    """What a zborg process says to cron."""

    OK = 0
    BUG = 1
    USAGE = 2
    PARTIAL = 3
    FAILED = 4
    CONFIG = 10
    LOCKED = 11
    CONFLICT = 12
    DAMAGE = 13
    INTERRUPTED = 130


class ZborgError(Exception):
    """Base of all errors that a user is meant to read."""

    exit: Exit = Exit.FAILED
    retryable: bool = False

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class UsageError(ZborgError):
    """The command line names a host, target or snapshot that is not there."""

    exit = Exit.USAGE


class ConfigError(ZborgError):
    """zborg.toml cannot be used; `problems` holds every mistake found, one line each.

    `file` is the one that is to be corrected, the first of several; "" where it is none.
    """

    exit = Exit.CONFIG

    def __init__(
        self, message: str, remedy: str = "", problems: tuple[str, ...] = (), *, file: str = ""
    ) -> None:
        super().__init__(message, remedy)
        self.problems, self.file = problems, file


class Busy(ZborgError):
    """A kernel lock is held; the message names its owner's pid, command and start."""

    exit = Exit.LOCKED


class Conflict(ZborgError):
    """The facts contradict each other and every way out loses something: a human decides."""

    exit = Exit.CONFLICT


class Damage(ZborgError):
    """Data is damaged."""

    exit = Exit.DAMAGE


class Interrupted(ZborgError):
    """The user or the system asked zborg to stop."""

    exit = Exit.INTERRUPTED


class CommandFailed(ZborgError):
    """An external command ended with a status other than 0.

    `argv` is what was run, `status` its exit status (negative: a signal), `stderr` its last words.
    `stdout` is what it printed before it failed, where that was read.
    """

    stdout: str = ""

    def __init__(
        self, argv: tuple[str, ...], status: int, stderr: str, message: str = "", remedy: str = ""
    ) -> None:
        words = message or f"{argv[0]} ended with status {status}"
        last = stderr.strip()[-2000:]
        super().__init__(f"{words}: {last}" if last else words, remedy)
        self.argv, self.status, self.stderr = argv, status, stderr


class TimedOut(CommandFailed):
    """An external command was ended by zborg because its time was up."""

    retryable = True


class Stalled(CommandFailed):
    """A host and the storage were connected and moved no data any more. Another try would only wait again.

    `by_storage`: which of the two was silent.
    """

    def __init__(self, argv: tuple[str, ...], message: str, *, by_storage: bool, remedy: str = "") -> None:
        super().__init__(argv, -1, "", message, remedy)
        self.by_storage = by_storage


class SinkRefused(CommandFailed):
    """The sink of an off-site host did not do what our key asked for. `code`: one of model.codes.Sink."""

    def __init__(
        self,
        argv: tuple[str, ...],
        status: int,
        stderr: str,
        message: str = "",
        remedy: str = "",
        *,
        code: str,
    ) -> None:
        super().__init__(argv, status, stderr, message, remedy)
        self.code = code


class HasChildren(CommandFailed):
    """A dataset was not destroyed, nor its partial receive, because datasets are below it."""


class Unreachable(CommandFailed):
    """A machine could not be reached, or the connection broke."""

    retryable = True


class KeyRefused(Unreachable):
    """Our key is not there, or the machine does not take it: another try in a minute changes neither."""

    retryable = False


class NoCommonAlgorithm(Unreachable):
    """The two SSH implementations have no cipher, key exchange, MAC or host key type in common."""

    retryable = False


class HostKeyChanged(Unreachable):
    """The machine that answered does not have the pinned host key. Nothing was sent to it."""

    retryable = False


class Refused(ZborgError):
    """Raised by the sink, about a command or a stream that it refuses. `code`: one of model.codes.Sink."""

    def __init__(self, message: str, remedy: str = "", *, code: str = "E_SINK") -> None:
        super().__init__(message, remedy)
        self.code = code


class NotSent(ZborgError):
    """A notifier could not deliver a message; `retryable`: whether another try may help."""

    def __init__(self, message: str, remedy: str = "", *, retryable: bool = True) -> None:
        super().__init__(message, remedy)
        self.retryable = retryable
