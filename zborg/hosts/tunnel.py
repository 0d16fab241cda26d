"""The tunnel: an agent's verb on a host and one `borg serve`, joined pipe to pipe.

No port and no socket listens anywhere: the tunnel is the SSH session's own stdin and stdout.
One SSH exec carries one borg command, because one `borg serve` serves one connection.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from zborg.activity import Side, Watch
from zborg.errors import CommandFailed, Stalled, TimedOut
from zborg.hosts.reverse import ReverseTunnel
from zborg.hosts.serve import LocalServe, bring
from zborg.hosts.ssh.connection import ssh_argv
from zborg.hosts.ssh.failure import connection_failed
from zborg.hosts.ssh.log import SshLog, start_ssh
from zborg.hosts.ssh.reasons import REFUSED, explain
from zborg.model import Adopt, Child, Endpoint, Host, Lines, Runner, Speaker, Wall
from zborg.model.codes.lines import without_codes
from zborg.model.text.units import duration
from zborg.model.wall import reported
from zborg.streams import Spare, join, pump

# Starts `borg serve` for a command such as "serve web1" on two file descriptors (docs/agent.md).
Serve = Callable[[str, int, int], Child]

_UNQUOTED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/=@+-")
_KEPT, _LONGEST = 20, 4000  # lines of each side, and characters of each, that are looked at in the end
_PROGRESS = '"type": "progress_'
_ASKING = 60.0  # seconds for a verb that only prints what the host knows
_ANSWER = 64 << 10  # bytes of such an answer


def quote(word: str) -> str:
    """A word as the agent reads it: every byte it does not take literally becomes \\0ooo.

    The agent splits at blanks once and decodes with `printf %b`; there is no shell to escape from.
    """
    return "".join(chr(b) if b in _UNQUOTED else f"\\0{b:03o}" for b in os.fsencode(word))


class SshTunnel:
    """A model.Tunnel over OpenSSH."""

    def __init__(self, known_hosts: Path, local: Runner, serve: Serve, storage: Endpoint | None) -> None:
        self._known_hosts, self._local = known_hosts, local
        self._serve, self._storage = serve, storage
        self._walls: dict[str, Wall] = {}

    def verb(
        self, host: Host, words: Sequence[str], lines: Lines, *, scratch: str = "", adopt: Adopt | None = None
    ) -> int:
        """Run one verb on the host; returns its status. See model.Tunnel."""
        output: dict[str, list[str]] = {"host": [], "serve": []}
        self._walls.pop(host.name, None)

        def listen(who: str, new: Sequence[str]) -> None:
            if who == "serve":
                new = [line for line in new if not self._is_report(host.name, line)]
            if watch:
                watch.note(new)
            if who == "serve":  # a replay of segments says so much that the reason for it would be forgotten
                new = [line for line in new if _PROGRESS not in line]
            output[who] = [*output[who], *(line[:_LONGEST] for line in new)][-_KEPT - 1 :]
            if who == "host":
                lines(Speaker.HOST, new)

        one, two, spare = self._start(host, words, scratch)
        pair = {"host": one, "serve": two}
        watch = Watch((one.pid, two.pid), spare.end, host.stalled_after) if host.stalled_after else None
        if watch:
            spare = replace(spare, check=partial(_end_if_stalled, watch, host, two.pid))
        statuses = pump(pair, listen, timeout=host.timeout, adopt=adopt, spare=spare)
        self._raise_for(host, pair, statuses, output["host"])
        # borg on the host only knows that the connection closed; the serving side knows why. It also says
        # what damage it found and repaired in a run that then went well.
        lines(Speaker.STORAGE, list(filter(str.strip, output["serve"])))
        return statuses["host"]

    def ask(self, host: Host, *words: str) -> str:
        """Run a verb without a `borg serve`. See model.Tunnel."""
        argv = ssh_argv(host.name, host.endpoint, self._known_hosts, " ".join(map(quote, words)))
        log = SshLog()
        try:
            return self._local.run(
                [argv[0], *log.options, *argv[1:]], timeout=_ASKING, max_bytes=_ANSWER
            ).stdout
        except TimedOut:
            raise
        except CommandFailed as error:
            # nologin(8) and start-up files give their reason on stdout, sshd's banner is on stderr.
            output = log.close().text if error.status == REFUSED else error.stdout or error.stderr
            raise explain(host.name, host.endpoint, error.status, output) from error
        finally:
            log.close()

    def forced(self, host: Host, lines: Lines, *, adopt: Adopt | None = None) -> int:
        """See model.Tunnel."""
        assert host.reverse is not None  # a host without has our agent
        return ReverseTunnel(self._known_hosts, self._local).run(host, host.reverse, lines, adopt)

    def wall(self, name: str) -> Wall | None:
        """See model.Tunnel."""
        return self._walls.get(name)

    def serve_below(self, root: str) -> None:
        """See model.Tunnel. What serves on another machine has it from its own administrator."""
        if isinstance(self._serve, LocalServe):
            self._serve.root = root

    def serve_within(self, limits: Mapping[str, int]) -> None:
        """See model.Tunnel. What serves on another machine has a limit of its own."""
        if isinstance(self._serve, LocalServe):
            self._serve.limits = limits

    def bring(self, storage: Runner) -> tuple[str, ...]:
        """See model.Tunnel."""
        return bring(storage) if self._storage else ()

    def try_serve(self, name: str) -> Wall | None:
        """`borg serve` ends well when its input ends. See model.Tunnel."""
        output: list[str] = []
        child, status = self._alone(f"serve {name}", name, output.extend, timeout=_ASKING)
        if status and self._storage:
            words = child.connection.text if status == REFUSED else "\n".join(output)
            raise explain("zborg.storage", self._storage, status, words)
        if status:
            words = without_codes("\n".join(output[-_KEPT:]))
            raise CommandFailed(child.argv[:1], status, words, "borg serve cannot be started")
        return self._walls.get(name)

    def compact(self, name: str, lines: Lines, *, timeout: float, adopt: Adopt | None = None) -> int:
        """See model.Tunnel."""

        def listen(new: Sequence[str]) -> None:
            lines(Speaker.STORAGE, new)

        child, status = self._alone(f"compact {name}", name, listen, timeout=timeout, adopt=adopt)
        if status == REFUSED and self._storage:
            raise explain("zborg.storage", self._storage, status, child.connection.text)
        return status

    def _alone(
        self,
        command: str,
        name: str,
        listen: Callable[[Sequence[str]], None],
        *,
        timeout: float,
        adopt: Adopt | None = None,
    ) -> tuple[Child, int]:
        """A command of serve.sh's that no host is connected to."""
        self._walls.pop(name, None)
        null = os.open(os.devnull, os.O_RDWR)
        try:
            child = self._serve(command, null, null)
        finally:
            os.close(null)

        def heard(_: str, new: Sequence[str]) -> None:
            listen([line for line in new if not self._is_report(name, line)])

        return child, pump({"serve": child}, heard, timeout=timeout, adopt=adopt)["serve"]

    def _is_report(self, name: str, line: str) -> bool:
        """Only the first such line is serve.sh's own: a host may write others, once borg has begun."""
        if name in self._walls or (wall := reported(line)) is None:
            return False
        self._walls[name] = wall
        return True

    def _start(self, host: Host, words: Sequence[str], scratch: str) -> tuple[Child, Child, Spare]:
        command = " ".join(map(quote, words))
        argv = ssh_argv(host.name, host.endpoint, self._known_hosts, command)
        served = f"read {scratch} {host.name}" if scratch else f"serve {host.name}"
        return join(
            lambda stdin, stdout: start_ssh(self._local, argv, stdin=stdin, stdout=stdout),
            lambda stdin, stdout: self._serve(served, stdin, stdout),
        )

    def _raise_for(
        self, host: Host, pair: dict[str, Child], statuses: dict[str, int], output: Sequence[str]
    ) -> None:
        """Failures of the connection itself; what the verb came to is the caller's to judge."""
        if statuses["host"] == REFUSED:
            raise connection_failed(host.name, host.endpoint, pair["host"], output)
        if statuses["host"] and statuses["serve"] == REFUSED and self._storage:
            raise connection_failed("zborg.storage", self._storage, pair["serve"], ())


def _end_if_stalled(watch: Watch, host: Host, serve: int) -> None:
    """Raises Stalled, with the side that was silent."""
    side = watch.silent()
    if side is None:
        return
    if side is Side.STORAGE:
        who = f"the storage's side (borg serve of {host.name}'s repository, pid {serve}) takes no data"
    else:
        who = f"{host.name} ({host.endpoint}) is silent, and its connection stands"
    words = f"no progress for {duration(host.stalled_after)}: {who}"
    raise Stalled(("ssh", str(host.endpoint)), words, by_storage=side is Side.STORAGE)
