"""restore: files back onto their host, from a snapshot, through the tunnel.

The server holds ciphertext only: the host reads its own repository, served from a clone of the
snapshot, with a key that never leaves it. Files land in a fresh directory, never over live ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from zborg.borg.log import LISTING, BorgLog, count
from zborg.borg.verdict import judge
from zborg.errors import UsageError, ZborgError
from zborg.model import PREFIX, Host, Outcome, Report, Snapshot, SnapshotName, Speaker, Status
from zborg.model.codes import Agent
from zborg.model.events import Progress, Started, Warned
from zborg.model.results import LeftFiles, RestoredFiles, Result
from zborg.model.text.remedy import command, on, remedy
from zborg.model.text.units import counted, size
from zborg.planning.restore.paths import is_restorable, restorable
from zborg.state.locks import Lock
from zborg.steps.context import StepRun, outcome_of, select_hosts
from zborg.steps.restore.interrupted import restore_lock
from zborg.steps.restore.source import Place, chosen, clone, place_of

_ALLOWED = 10_000_000_000  # bytes proposed in the line that root copies
_LISTED = "20"  # archives looked at for the newest of ours
_PERMISSION = {Agent.RESTORE_OFF, Agent.NOT_ALLOWED}  # what root on the host can give


@dataclass(frozen=True)
class Request:
    """`paths` (absolute, on the host) from the newest good snapshot not later than `at`."""

    host: str
    paths: Sequence[str]
    at: str = ""


def restore_files(run: StepRun, request: Request) -> Report:
    """Restore files. Raises UsageError before anything is made."""
    context, name = run.context, request.host
    (host,) = select_hosts(context.config, [name])
    if host.reverse:
        raise UsageError(
            f"{name} has no agent to restore with: its tunnel is reverse",
            remedy(
                command("zborg", "restore", "repo", name, "--to", f"/srv/{name}"),
                first="copy its repository, and extract from that with borg (docs/reverse.md):",
            ),
        )
    paths = restorable(name, request.paths)
    place = place_of(context, host.name)
    snapshot = chosen(run, place.snapshots(), request.at)
    if run.dry_run:
        return run.planned(_plan(host, paths, snapshot))
    context.emit(Started(host.name))
    context.emit(Warned(host.name, f"restoring from {snapshot.full}"))
    return run.recorded([_restore(run, host, place, paths, snapshot)])


def _plan(host: Host, paths: Sequence[str], snapshot: Snapshot) -> list[str]:
    return [
        f"clone {snapshot.full} and serve it to {host.name}",
        f"extract {command(*paths)} there into a fresh directory",
        f"root on {host.name} allows it, here for up to {size(_ALLOWED)}, with:",
        f"  {_permission(snapshot, paths)}",
        "then here:",
        f"  {_again(host, paths, snapshot)}",
    ]


def _permission(snapshot: Snapshot, paths: Sequence[str]) -> str:
    """The line to copy; the number is a proposal."""
    return command(
        "/usr/local/libexec/zborg-agent", "--allow-restore", snapshot.snapname, str(_ALLOWED), *paths
    )


def _again(host: Host, paths: Sequence[str], snapshot: Snapshot) -> str:
    return command("zborg", "restore", "files", host.name, *paths, "--at", snapshot.snapname)


def _restore(run: StepRun, host: Host, place: Place, paths: Sequence[str], snapshot: Snapshot) -> Outcome:
    try:
        # Not the lock of its backups: this reads a clone, and the repository goes on without it.
        with (
            run.context.locks.hold(restore_lock(host.name)) as lock,
            clone(run, place, snapshot, served=True),
        ):
            return _Reading(run, host, lock, snapshot).extract(paths)
    except ZborgError as error:
        return outcome_of("host", host.name, error)


def _remove(host: Host, left: str) -> str:
    """An archive brings back file flags, too: what was immutable on the host is so again."""
    return on(host.name, command("chattr", "-R", "-f", "-i", "-a", left), command("rm", "-rf", left))


def _unmount(host: Host, left: str) -> str:
    first = f"on {host.name}, as root: unmount what the first command lists, then type the second:"
    listing = f"mount | {command('grep', '-F', f' on {left}')}"
    return remedy(listing, command("rm", "-rf", left), first=first)


def _newest_archive(listing: dict[str, Any], host: str) -> str:
    """The last of zborg's own in `borg list --json`, which is oldest first; "" when there is none.

    Somebody may have made others by hand, and the host may say anything.
    """
    archives = listing.get("archives")
    entries = [one for one in archives if isinstance(one, dict)] if isinstance(archives, list) else []
    names = [str(one.get("name") or one.get("archive") or "") for one in entries]
    return next((name for name in reversed(names) if _is_ours(name, host)), "")


def _is_ours(archive: str, host: str) -> bool:
    """HOST and the instant, as zborg names archives."""
    name, dash, instant = archive[: len(host)], archive[len(host) : len(host) + 1], archive[len(host) + 1 :]
    return (name, dash) == (host, "-") and SnapshotName.parse(PREFIX + instant) is not None


@dataclass
class _Reading:
    """The verbs of a restore: list, to learn the newest archive; restore, to extract from it."""

    run: StepRun
    host: Host
    lock: Lock
    snapshot: Snapshot
    log: BorgLog = field(default_factory=BorgLog)

    def extract(self, paths: Sequence[str]) -> Outcome:
        if (listed := self._verb("list", self.host.name, _LISTED)).status.bad:
            return listed
        archive = _newest_archive(self.log.json(), self.host.name)
        if not archive:
            return self._failed("the repository in this snapshot has no archive", "choose another with --at")
        words = ("restore", self.host.name, archive, self.run.id, self.snapshot.snapname, *paths)
        if (extracted := self._verb(*words)).status.bad:
            return self._with_what_stays(self._with_permission(extracted, paths))
        return self._done(archive, extracted)

    def _verb(self, *words: str) -> Outcome:
        """Run one verb. A warning (a file without its owner or its attributes) is no failure."""
        self.log = log = BorgLog(self.host.name, max_bytes=LISTING)

        def listen(speaker: Speaker, lines: Sequence[str]) -> None:
            if counts := log.feed_lines(lines, speaker):
                self.run.context.emit(Progress(self.host.name, **counts._asdict()))

        tunnel = self.run.context.tunnel
        status = tunnel.verb(self.host, words, listen, scratch=self.run.id, adopt=self.lock.adopt)
        judged, message, fix = judge(status, log)
        return Outcome("host", self.host.name, judged, message, fix)

    def _failed(self, message: str, fix: str) -> Outcome:
        return Outcome("host", self.host.name, Status.FAILED, message, fix)

    def _with_permission(self, outcome: Outcome, paths: Sequence[str]) -> Outcome:
        if not any(one.code in _PERMISSION for one in self.log.reasons):
            return outcome
        sentence = (
            f"root on {self.host.name} allows one restore with the first line; then run the second here"
        )
        commands = (_permission(self.snapshot, paths), _again(self.host, paths, self.snapshot))
        return replace(outcome, remedy=sentence, result=Result(commands=commands))

    def _with_what_stays(self, outcome: Outcome) -> Outcome:
        """The agent removes what a stopped restore extracted, looks afterwards, and reports what is left."""
        found = self.log.json()
        left = str(found.get("left", ""))
        if not (is_restorable(left) and left.endswith(f"/restore/{self.run.id}")):
            return outcome  # it goes into commands: only the directory of this very restore
        files, taken = count(found, "files"), count(found, "bytes")
        stays = f"{counted(files, 'file')} with {size(taken)} stay in {left} on {self.host.name}"
        result = LeftFiles(**outcome.result.shared(), left=left, left_files=files, left_bytes=taken)
        fix = _unmount(self.host, left) if found.get("mounted") is True else _remove(self.host, left)
        message = f"{outcome.message}: {stays}"
        return replace(outcome, message=message, remedy=fix, result=result)

    def _done(self, archive: str, extracted: Outcome) -> Outcome:
        """Where the files are. What borg warned of may be a file that could not be written: in part, then."""
        result = self.log.json()
        where = str(result.get("restored", ""))
        if not where:
            return self._failed("the host did not say where it restored to", "look at the agent on the host")
        files = RestoredFiles(
            snapshot=self.snapshot.full,
            archive=archive,
            restored=where,
            files=count(result, "files"),
            original_bytes=count(result, "bytes"),
        )
        message = f"restored from {archive} into {where} on {self.host.name}"
        if extracted.status is Status.OK:
            return replace(extracted, message=message, result=files)
        message = f"{message}, but not all of it may be there: {extracted.message}"
        return replace(extracted, status=Status.PARTIAL, message=message, result=files)
