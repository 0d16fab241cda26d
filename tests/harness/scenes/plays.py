"""Hosts that are lists of lines: a Tunnel in which each verb prints and ends as a scene says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tests.harness.audit import compacting
from zborg.errors import CommandFailed, Interrupted, Stalled, TimedOut, ZborgError
from zborg.hosts.ssh.reasons import explain, lost
from zborg.interrupt import cancelled
from zborg.model import Adopt, Host, Lines, Runner, Speaker, Wall

Line = str | tuple[Speaker, str]
WALL = Wall(own_uid=True, files="landlock-7", no_network=True)


def created(
    files: int = 1200, original: int = 5 << 30, new: int = 40 << 20, seconds: float = 61.5
) -> tuple[str, ...]:
    """What the agent hands on of `borg create --json`."""
    stats = {
        "nfiles": files,
        "original_size": original,
        "compressed_size": original * 7 // 10,
        "deduplicated_size": new,
    }
    made = {"archive": {"name": "ignored", "duration": seconds, "stats": stats}}
    return (f"= {json.dumps(made)}", ended(0))


def ended(status: int) -> str:
    """What the agent says when borg ran, whatever it came to."""
    return f"zborg-agent: borg ended with {status}"


def logged(level: str, text: str, msgid: str = "") -> str:
    """A line of borg's JSON log."""
    return json.dumps({"type": "log_message", "levelname": level, "message": text, "msgid": msgid})


def failing(msgid: str, text: str, status: int = 2, *before: Line) -> Play:
    """borg ends with an error of its own; no commit is made."""
    return Play((*before, logged("ERROR", text, msgid), ended(status)), status, commits=False)


def stops(status: int, *lines: Line) -> Play:
    """The agent ends the verb itself; no commit is made."""
    return Play(lines, status, commits=False)


@dataclass
class Play:
    """What a host's agent prints and ends with when it is asked for a backup.

    `answer` is laid over its usual answer to `version`; a key whose value is None is left out. `raises` is
    made and raised in place of all that, by every verb. `others` are plays of other verbs. In a line @RUN@ is
    the id of the run that a clone was made for.
    """

    lines: Sequence[Line] = field(default_factory=created)
    status: int = 0
    commits: bool = True
    answer: Mapping[str, str | None] = field(default_factory=dict)
    raises: Callable[[Host], ZborgError] | None = None
    others: Mapping[str, Play] = field(default_factory=dict)
    clock: float | None = 0.0  # seconds by which the host's clock is ahead; None: it does not tell
    wall: Wall | None = WALL  # around its `borg serve`
    keeps: bool = False  # whether its agent keeps checkpoints of the ledger
    seals: str = ""  # what it prints when it is to seal its key; nothing: it refuses
    then: Play | None = None  # the next time


class PlayedTunnel:
    """A Tunnel. A commit is a line in the repository's `transactions`, as `borg serve` writes it."""

    def __init__(
        self, plays: dict[str, Play], home: Callable[[str], Path], clock: Callable[[], datetime]
    ) -> None:
        self._plays, self._home, self._clock = plays, home, clock
        self.given: dict[str, list[str]] = {}  # by host what it has of the ledger, a line each

    def ask(self, host: Host, *words: str) -> str:
        play = self._play(host)
        if words[0] == "witness":
            if not play.keeps:
                raise CommandFailed(("ssh",), 2, "refused: no such verb", "a command ended with status 2")
            return "".join(["witness\n", *self.given.get(host.name, []), "end\n"])
        if words[0] == "escrow":
            if not play.seals:
                raise CommandFailed(
                    ("ssh",), 65, "zborg-agent: E_CUSTODIANS nobody to seal for", "it refused"
                )
            return play.seals
        told = {
            "agent": "1",
            "clock": f"{self._clock().timestamp() + (play.clock or 0):.0f}",
            "name": host.name,
            "borg": "1.4.1",
            "initialised": "yes" if (self._home(host.name) / "config").exists() else "no",
            "alarm": "no",
            "escrow": "none",
            "opens": "yes",
            "prune": "no",
            "borg_runs": "no",
        } | dict(play.answer)
        if play.keeps:
            told["witness"] = self.newest(host.name)
        return "".join(f"{key} {value}\n" for key, value in told.items() if value is not None)

    def newest(self, name: str) -> str:
        """As the agent answers it to `version`."""
        lines = self.given.get(name, [])
        return lines[-1].split("@")[1] if lines else "none"

    def try_serve(self, name: str) -> Wall | None:
        return self.wall(name)

    def wall(self, name: str) -> Wall | None:
        return self._plays.get(name, Play()).wall

    def serve_below(self, root: str) -> None:
        pass

    def serve_within(self, limits: Mapping[str, int]) -> None:
        pass

    def bring(self, storage: Runner) -> tuple[str, ...]:
        return ()

    def verb(
        self, host: Host, words: Sequence[str], lines: Lines, *, scratch: str = "", adopt: Adopt | None = None
    ) -> int:
        play = self._play(host)
        if words[0] == "init":
            play = play.others.get("init", Play((ended(0),)))
            if play.status == 0:
                self._init(self._home(host.name))
            play = Play(play.lines, play.status, commits=False, clock=play.clock)
        elif words[0] != "create":
            play = play.others.get(words[0], Play((ended(0),), commits=False))
        if words[0] == "create" and words[3:]:
            self.given.setdefault(host.name, []).append(f"{self._clock().timestamp():.0f} {words[3]}\n")
        if play.clock is not None:
            lines(Speaker.HOST, [f"zborg-agent: clock {self._clock().timestamp() + play.clock:.0f}"])
        for line in play.lines:
            speaker, text = (Speaker.HOST, line) if isinstance(line, str) else line
            lines(speaker, [text.replace("@RUN@", scratch)])
        if play.commits:
            self._commit(self._home(host.name))
        if play.then and words[0] == "create":
            self._plays[host.name] = play.then
        return play.status

    def forced(self, host: Host, lines: Lines, *, adopt: Adopt | None = None) -> int:
        play = self._play(host)
        for line in play.lines:
            speaker, text = (Speaker.HOST, line) if isinstance(line, str) else line
            lines(speaker, [text])
        if play.commits:
            self._commit(self._home(host.name))
        return play.status

    def compact(self, name: str, lines: Lines, *, timeout: float, adopt: Adopt | None = None) -> int:
        compacting.compact(self._home(name))
        return 0

    def _play(self, host: Host) -> Play:
        play = self._plays.get(host.name, Play())
        if play.raises:
            self._plays[host.name] = play.then or play
            raise play.raises(host)
        return play

    def made(self, name: str) -> None:
        """As after a first backup."""
        self._init(self._home(name))
        self._commit(self._home(name))

    def _init(self, home: Path) -> None:
        (home / "config").write_text(f"[repository]\nversion = 1\nid = {'5a' * 32}\n")
        (home / "README").write_text("This is a Borg Backup repository.\n")
        (home / "data").mkdir(exist_ok=True)

    def _commit(self, home: Path) -> None:
        path = home / "transactions"
        before = path.read_text() if path.exists() else ""
        number = 2 * (len(before.splitlines()) + 1) + 1
        path.write_text(f"{before}transaction {number}, UTC time {self._clock():%Y-%m-%dT%H:%M:%S}.000000\n")
        (home / f"index.{number}").write_bytes(b"i" * 1000)
        (home / "data/0").mkdir(exist_ok=True)
        (home / f"data/0/{number}").write_bytes(b"BORG_SEG\x40\xf4\x3c\x25\x09\x00\x00\x00\x02")  # a commit


def silent(words: str) -> Callable[[Host], ZborgError]:
    """ssh never came to the agent, and logged these words."""
    return lambda host: explain(host.name, host.endpoint, 255, words)


def cut(host: Host) -> ZborgError:
    """The connection broke in the middle."""
    return lost(host.name, host.endpoint, "Connection reset by peer")


def overtime(host: Host) -> ZborgError:
    return TimedOut(("ssh",), -1, "", "ended")


def interrupted(host: Host) -> ZborgError:
    """Somebody presses Ctrl-C while the host is at work."""
    cancelled.set()
    return Interrupted("interrupted")


def stalled_by(storage: bool) -> Callable[[Host], ZborgError]:
    return lambda host: Stalled(("ssh",), "no progress for 90 minutes", by_storage=storage)


def served(text: str, level: str = "") -> Line:
    """What `borg serve` says on the storage; with a level as a line of its JSON log."""
    return Speaker.STORAGE, logged(level, text) if level else text


def of_ssh(text: str) -> Line:
    return Speaker.SSH, text
