"""schedule: systemd's timers or a file of cron's that start zborg, shown, installed and removed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from zborg import atomic
from zborg.errors import UsageError, ZborgError
from zborg.model import Clock, Outcome, Report, Runner, Status
from zborg.model.results import ScheduledFile
from zborg.model.text.remedy import command, remedy
from zborg.planning.schedule.plan import State, in_the_way, states
from zborg.planning.schedule.render import UNITS, Wanted, crontab, units
from zborg.state.runs import new_run
from zborg.steps.context import conclude, outcome_of

_SYSTEMCTL = 90.0  # seconds
_DAEMONS = ("cron", "crond", "fcron", "dcron", "busybox-crond")
_INSTALL = "zborg schedule install"
_MESSAGES = {
    State.MISSING: "is not there",
    State.CURRENT: "is installed",
    State.OLD: "is of another zborg.toml or version",
    State.CHANGED: "was changed since zborg wrote it",
    State.FOREIGN: "was not written by zborg",
}


@dataclass(frozen=True)
class Places:
    """Where this machine keeps what starts programs.

    `booted` None: a tree for a package, in which nothing runs.
    """

    units: Path = Path("/etc/systemd/system")
    cron: Path = Path("/etc/cron.d/zborg")
    booted: Path | None = Path("/run/systemd/system")
    programs: tuple[Path, ...] = (Path("/usr/sbin"), Path("/sbin"), Path("/usr/bin"))

    @classmethod
    def below(cls, root: Path) -> Places:
        """As a package has them."""
        return cls(root / "usr/lib/systemd/system", root / "etc/cron.d/zborg", None)

    @property
    def paths(self) -> tuple[Path, ...]:
        """All that are ever written."""
        return (*(self.units / name for name in UNITS), self.cron)

    def files(self, wanted: Wanted, *, by_cron: bool) -> dict[str, str]:
        """What is to be there. Raises ZborgError where neither systemd nor cron is."""
        if self.booted is not None and not self.booted.is_dir():
            by_cron = True
            if not any(os.access(place / name, os.X_OK) for place in self.programs for name in _DAEMONS):
                raise ZborgError(
                    "this machine runs no systemd and has no cron: nothing would start zborg",
                    remedy("apt-get install cron", _INSTALL),
                )
        if by_cron:
            return {str(self.cron): crontab(wanted)}
        return {str(self.units / name): text for name, text in units(wanted).items()}


@dataclass(frozen=True)
class Request:
    """What the command line asks for. `server`: its name in the report; no zborg.toml need be there."""

    places: Places
    wanted: Wanted
    by_cron: bool = False
    server: str = "this machine"

    def checked(self) -> Request:
        """Raises UsageError for paths that no line can hold."""
        for path in (self.wanted.program, self.wanted.config, self.wanted.secrets):
            if path and not (path.isprintable() and path.startswith("/")):
                raise UsageError(f"{path!r} is no path that a line of systemd's or cron's can hold")
        return self


def show(local: Runner, request: Request, clock: Clock) -> Report:
    """Each file with its text, as it would be installed and as it is. Changes nothing."""
    began = clock()
    wanted = request.checked().places.files(request.wanted, by_cron=request.by_cron)
    found = _found(request.places)
    outcomes = [
        _outcome(path, state, wanted.get(path) or found[path] or "", _timer_state(local, request, path))
        for path, state in states(found, wanted).items()
    ]
    return _report("schedule show", request, began, outcomes)


def install(local: Runner, request: Request, clock: Clock, *, dry_run: bool = False) -> Report:
    """All files, or none if one is in the way. A second time it changes nothing."""
    began = clock()
    wanted = request.checked().places.files(request.wanted, by_cron=request.by_cron)
    named = states(_found(request.places), wanted)
    if others := in_the_way(named):
        return _report("schedule install", request, began, [_refused(path, named[path]) for path in others])
    gone = [path for path in named if path not in wanted]
    new = [path for path in wanted if named[path] is not State.CURRENT]
    timers = [path for path in wanted if path.endswith(".timer") and not _runs(local, request, path)]
    if dry_run:
        plan = [f"remove {path}" for path in gone] + [f"write {path}" for path in new]
        plan += [f"enable and start {Path(path).name}" for path in timers]
        return _report("schedule install", request, began, [], plan or ["nothing: all of it is installed"])
    outcomes = [_removed(local, request, path) for path in gone]
    outcomes += [
        _written(path, wanted[path]) if path in new else _outcome(path, named[path]) for path in wanted
    ]
    outcomes += _activated(local, request, (*gone, *new), timers)
    return _report("schedule install", request, began, outcomes)


def remove(local: Runner, request: Request, clock: Clock, *, dry_run: bool = False) -> Report:
    """What zborg wrote and nobody changed."""
    began = clock()
    named = states(_found(request.places), {})
    ours = [path for path, state in named.items() if not state.others]
    if dry_run:
        plan = [f"remove {path}" for path in ours] or ["nothing: none of it is installed"]
        return _report("schedule remove", request, began, [], plan)
    outcomes = [_removed(local, request, path) for path in ours]
    outcomes += [_left(path, named[path]) for path in in_the_way(named)]
    outcomes += _activated(local, request, ours, [])
    return _report("schedule remove", request, began, outcomes)


def _report(
    name: str, request: Request, began: datetime, outcomes: Sequence[Outcome], plan: Sequence[str] = ()
) -> Report:
    status, code = conclude(outcomes)
    run = new_run(began)
    return Report(name, run, request.server, began, began, status, code, tuple(outcomes), tuple(plan))


# --- files ------------------------------------------------------------------------------------------


def _found(places: Places) -> dict[str, str | None]:
    """What is at each path; None for nothing. A link counts as somebody's own file."""
    found: dict[str, str | None] = {}
    for path in places.paths:
        try:
            found[str(path)] = path.read_text(errors="surrogateescape")
        except IsADirectoryError:
            found[str(path)] = ""
        except (FileNotFoundError, NotADirectoryError):
            found[str(path)] = "" if path.is_symlink() else None
    return found


def _outcome(path: str, state: State, text: str = "", timer: str = "") -> Outcome:
    status = Status.WARNING if state.others else Status.OK if state is State.CURRENT else Status.SKIPPED
    words = ", ".join(filter(None, (_MESSAGES[state], timer)))
    fix = _INSTALL if state in (State.MISSING, State.OLD) else ""
    result = ScheduledFile(state=str(state), lines=tuple(text.splitlines()))
    return Outcome("schedule", path, status, words, fix, result)


def _refused(path: str, state: State) -> Outcome:
    away = f"/root/{Path(path).name}.old"
    fix = remedy(command("mv", path, away), _INSTALL, first="look at it; if nothing of it is needed:")
    words = f"{_MESSAGES[state]}, and is not replaced: nothing was installed"
    return Outcome("schedule", path, Status.FAILED, words, fix, ScheduledFile(state=str(state)))


def _left(path: str, state: State) -> Outcome:
    fix = remedy(command("rm", path), first="if nothing of it is needed:")
    result = ScheduledFile(state=str(state))
    return Outcome("schedule", path, Status.WARNING, f"{_MESSAGES[state]}: it stays", fix, result)


def _written(path: str, text: str) -> Outcome:
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        atomic.write(Path(path), text, atomic.FOR_ALL)
    except OSError as error:
        return outcome_of("schedule", path, error)
    return Outcome("schedule", path, Status.OK, "written", result=ScheduledFile(state=str(State.CURRENT)))


def _removed(local: Runner, request: Request, path: str) -> Outcome:
    try:
        if path.endswith(".timer") and _by_systemd(request):
            local.run(["systemctl", "disable", "--now", Path(path).name], timeout=_SYSTEMCTL)
        Path(path).unlink(missing_ok=True)
    except (OSError, ZborgError) as error:
        return outcome_of("schedule", path, error)
    return Outcome("schedule", path, Status.OK, "removed", result=ScheduledFile(state=str(State.MISSING)))


# --- systemd ----------------------------------------------------------------------------------------


def _by_systemd(request: Request) -> bool:
    return request.places.booted is not None and request.places.booted.is_dir()


def _timer_state(local: Runner, request: Request, path: str) -> str:
    """In systemd's words, such as "enabled, active"; "" where it cannot be asked or need not."""
    if not path.endswith(".timer") or not _by_systemd(request):
        return ""
    words = ["systemctl", "show", Path(path).name, "--property=UnitFileState", "--property=ActiveState"]
    found = dict(
        line.split("=", 1) for line in local.run(words, timeout=_SYSTEMCTL).stdout.split() if "=" in line
    )
    return ", ".join(filter(None, (found.get("UnitFileState"), found.get("ActiveState"))))


def _runs(local: Runner, request: Request, path: str) -> bool:
    return not _by_systemd(request) or _timer_state(local, request, path) == "enabled, active"


def _activated(
    local: Runner, request: Request, changed: Sequence[str], timers: Sequence[str]
) -> Iterator[Outcome]:
    """systemd reads what was changed, and starts the timers; a timer for each that it started."""
    if not _by_systemd(request):
        return
    try:
        if any(path.startswith(f"{request.places.units}/") for path in changed):
            local.run(["systemctl", "daemon-reload"], timeout=_SYSTEMCTL)
        for name in (Path(path).name for path in timers):
            local.run(["systemctl", "enable", "--now", name], timeout=_SYSTEMCTL)
            yield Outcome("schedule", name, Status.OK, "enabled and started")
    except ZborgError as error:
        yield outcome_of("schedule", "systemd", error)
