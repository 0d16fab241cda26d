"""What one verification comes to: an outcome with its remedy, and the entry of the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from zborg.borg.storage.checker import BorgCheck
from zborg.borg.storage.reader import Unreadable
from zborg.errors import ZborgError
from zborg.model import Outcome, Snapshot, Status
from zborg.model.ledger.verified import Structure, Verified
from zborg.model.machines import Endpoint
from zborg.model.results import VerifiedHost
from zborg.model.text.remedy import command, on, quoted, remedy
from zborg.model.text.units import counted, printable
from zborg.planning.verify.judge import Compared, Damaged, archives, described, extent, newer, structure
from zborg.steps.context import StepRun
from zborg.steps.mounts import machine_of
from zborg.steps.restore.source import Place
from zborg.steps.verify.elsewhere import summary_of
from zborg.steps.verify.last import KIND
from zborg.steps.verify.reading import Read, words

_SHOWN = 5  # objects
Found = tuple[Read, Compared | None, Mapping[str, Snapshot | None]]


@dataclass(frozen=True)
class Judged:
    """`entry` None: nothing is known of its digests."""

    outcome: Outcome
    entry: Verified | None

    def adding(self, text: str) -> Judged:
        """With more words in its message."""
        return replace(self, outcome=replace(self.outcome, message=f"{self.outcome.message}{text}"))


def judged(run: StepRun, place: Place, snapshot: Snapshot, mounted: str, found: Found) -> Judged:
    """`found`: what was read, how it compares with the ledger, where damaged objects are whole."""
    return _Verdict(run, place, snapshot, mounted, *found).judged()


@dataclass(frozen=True)
class _Verdict:
    run: StepRun
    place: Place
    snapshot: Snapshot
    mounted: str
    read: Read
    compared: Compared | None
    origins: Mapping[str, Snapshot | None]

    @property
    def _structure(self) -> Structure:
        checked = self.read.checked
        if not isinstance(checked, BorgCheck):
            return Structure.UNDONE
        compared = self.compared
        intact = compared is not None and compared.intact and not compared.unrecorded and self.read.sound
        return structure(checked.status, intact=intact)

    @property
    def _damaged(self) -> tuple[Damaged, ...]:
        return self.compared.damaged if self.compared else ()

    @property
    def _whole_in(self) -> Snapshot | None:
        """The newest in which all that are shown are whole."""
        found = list(self.origins.values())
        known = [one for one in found if one is not None]
        return min(known, key=lambda one: one.createtxg) if known and len(known) == len(found) else None

    def judged(self) -> Judged:
        """The worst of both halves decides."""
        status, fix = self._status()
        text = "; ".join(filter(None, (self._digests(), self._borg(), self._archives())))
        return Judged(
            Outcome(KIND, self.place.host, status, text, fix, self._result()),
            self._entry(whole=status in (Status.OK, Status.WARNING)),
        )

    def _status(self) -> tuple[Status, str]:
        seen = self.read.seen
        if isinstance(seen, Unreadable) and not seen.begun:
            place = f"{self.mounted}/.zfs/snapshot"
            look = command("ls", "-l", place) if self.mounted else command("zfs", "list", self.place.dataset)
            return Status.FAILED, on(self._machine, look)
        if self._damaged or isinstance(seen, Unreadable) or self.compared and self.compared.listing:
            return Status.DAMAGED, self._repair()
        borg = self._structure
        if borg in (Structure.BAD, Structure.CRASHED):
            return Status.DAMAGED, self._look()
        if borg in (Structure.SLOW, Structure.UNDONE):
            fix = self.read.checked.remedy if isinstance(self.read.checked, ZborgError) else ""
            return Status.FAILED, fix or command("zborg", "verify", self.place.host)
        if borg is Structure.INDEX:
            return Status.WARNING, self._reindex()
        return Status.OK, ""

    # --- words ---

    def _digests(self) -> str:
        where = self.snapshot.snapname
        if isinstance(self.read.seen, Unreadable):
            return f"{where} was not read: {self.read.seen.reason}"
        if self.compared is None:  # never: hosts without an audit are left out before
            return f"{where}: nothing to compare with"
        parts = [self._object(one) for one in self._damaged[:_SHOWN]]
        if (more := len(self._damaged) - _SHOWN) > 0:
            parts.append(f"{counted(more, 'object')} more damaged")
        parts += [self.compared.listing] if self.compared.listing else []
        return f"{'; '.join(parts)}; {where}: {extent(self.compared)} whole" if parts else self._well()

    def _well(self) -> str:
        assert self.compared is not None  # _digests() has looked
        words = f"{extent(self.compared)}, as recorded in {self.snapshot.snapname}"
        return "; ".join(filter(None, (words, newer(self.compared))))

    def _object(self, one: Damaged) -> str:
        if one.name not in self.origins:
            return described(one)
        whole = self.origins[one.name]
        where = f"whole in {whole.snapname}" if whole else "whole in no earlier snapshot"
        return f"{described(one)}, {where}"

    def _archives(self) -> str:
        return archives(self._oldest.written) if self._oldest else ""

    @property
    def _oldest(self) -> Damaged | None:
        """The damaged object that was written first."""
        known = [one for one in self._damaged if one.written]
        return min(known, key=lambda one: one.written.taken) if known else None  # type: ignore[union-attr]  # looked at

    def _borg(self) -> str:
        checked = self.read.checked
        if isinstance(checked, ZborgError):
            return checked.message
        last = f": {printable(checked.lines[-1])[:200]}" if checked.lines else ""
        return {
            Structure.GOOD: "",
            Structure.INDEX: f"borg check finds its index inconsistent, and no object is damaged{last}",
            Structure.BAD: f"borg check found errors{last}",
            Structure.CRASHED: f"borg check ended with status {checked.status}, as it never should{last}",
            Structure.SLOW: "borg check did not end in time",
            Structure.UNDONE: "",
        }[self._structure]

    # --- remedies ---

    @property
    def _machine(self) -> str:
        return machine_of(self.run.context.config.storage)

    def _look(self) -> str:
        """Never `borg check --repair`: it may throw away what is still there."""
        host = self.place.host
        lines = [command("zborg", "audit", host)] if not self._received else []
        lines += [command("zborg", "restore", "list", host)] if not self._received else []
        first = "do not repair it with borg, which may drop what is left; look at it first:"
        return remedy(*lines, first=first) if lines else self._sender()

    def _reindex(self) -> str:
        """borg makes its index anew when there is none."""
        if self._received:
            return self._sender()
        home = self.mounted or f"/{self.place.dataset}"
        names = [f"{name}.{self._last}" for name in ("index", "hints", "integrity")]
        gone = command("rm", "-f", *(f"{home}/{name}" for name in names))
        first = f"on {self._machine}, while no backup of it runs; borg makes them anew:"
        return remedy(gone, first=first)

    @property
    def _last(self) -> int:
        return self.read.seen.last if not isinstance(self.read.seen, Unreadable) else 0

    def _repair(self) -> str:
        """From the newest snapshot that has it whole, else from a copy elsewhere."""
        if self._received:
            return self._sender()
        release = command("zborg", "rotate", "--release", self.place.host)
        if not self._damaged:
            return self._look()
        home = self.mounted or f"/{self.place.dataset}"
        whole, names = self._whole_in, [one.name for one in self._damaged[:_SHOWN] if one.written]
        if whole and self.mounted:
            source = f"{home}/.zfs/snapshot/{whole.snapname}"
            first = f"on {self._machine}, while no backup of it runs, take them from that snapshot:"
            if self._remote:
                first = f"{first.removesuffix(':')}; the last line is for this server:"
            return remedy(*self._copies(source, home, names), release, first=first)
        if target := self._target():
            to = f"/srv/{self.place.host}-from-{target[0]}"
            fetch = command("zborg", "restore", "repo", self.place.host, "--from", target[0], "--to", to)
            first = f"{target[1]}; fetch the copy, and while no backup of it runs take the objects from it:"
            objects = self._sent(to, home, names) if self._remote else self._copies(to, home, names)
            return remedy(fetch, *objects, release, first=first)
        return self._look()

    @property
    def _remote(self) -> Endpoint | None:
        return self.run.context.config.storage.endpoint

    def _copies(self, source: str, home: str, names: list[str]) -> list[str]:
        lines = []
        for name in names:
            to = f"{home}/data/{name}"
            lines += [command("cp", f"{source}/data/{name}", to)]
            lines += [command("chown", f"--reference={home}/data", to)]
        return lines

    def _sent(self, source: str, home: str, names: list[str]) -> list[str]:
        """The same from this machine to the storage's."""
        assert self._remote is not None
        there = self._remote
        login = ("ssh", "-i", there.identity, "-p", str(there.port), f"{there.user}@{there.address}")
        lines = []
        for name in names:
            to = f"{home}/data/{name}"
            write = f"cat >{quoted(to)} && {command('chown', f'--reference={home}/data', to)}"
            lines += [f"{command(*login, write)} <{quoted(f'{source}/data/{name}')}"]
        return lines

    def _target(self) -> tuple[str, str] | None:
        """A target, and what is known of its copies; one whose own zborg found them whole comes first."""
        config, found = self.run.context.config, []
        for target in config.targets:
            summary = summary_of(target, self.run.context.runs)
            if summary is None:
                found.append((1, target.name, f"{target.name} has a copy, of which nothing is known"))
            elif summary.status.good:
                found.append((0, target.name, f"{target.name} found its copies whole by its own verify"))
        return min(found)[1:] if found else None

    @property
    def _received(self) -> bool:
        return self.run.context.config.storage.received

    def _sender(self) -> str:
        look = command("zborg", "verify", self.place.host)
        return remedy(
            look, first="this is a copy; on the server that sends it, see whether its own is whole:"
        )

    # --- what is recorded ---

    def _result(self) -> VerifiedHost:
        compared, checked, oldest = self.compared, self.read.checked, self._oldest
        lines = (
            checked.lines if isinstance(checked, BorgCheck) and self._structure is not Structure.GOOD else ()
        )
        whole = self._whole_in
        return VerifiedHost(
            log=tuple(map(printable, lines)),
            snapshot=self.snapshot.snapname,
            objects=compared.objects if compared else 0,
            bytes=compared.bytes if compared else 0,
            unrecorded=compared.unrecorded if compared else 0,
            structure=self._structure.value,
            damaged=words(self._damaged),
            damages=len(self._damaged),
            whole_in=whole.full if whole else "",
            archives_since=oldest.written.after if oldest and oldest.written else None,
        )

    def _entry(self, *, whole: bool) -> Verified | None:
        if self.compared is None:
            return None
        context, compared = self.run.context, self.compared
        return Verified(
            host=self.place.host,
            run=self.run.id,
            at=context.clock(),
            snapshot=self.snapshot.snapname,
            guid=self.snapshot.guid,
            objects=compared.objects,
            bytes=compared.bytes,
            unrecorded=compared.unrecorded,
            structure=self._structure,
            damaged=tuple((one.name, one.fault.value) for one in self._damaged[:_SHOWN]),
            damages=len(self._damaged) or int(bool(compared.listing)),
            whole=whole,
        )
