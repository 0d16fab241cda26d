"""import qb-backup: the hosts of a qb.backup configuration as hosts.d files.

What is there is never overwritten, and a host without a known key is not written: zborg refuses machines
that it cannot recognise. What cannot be carried over is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from zborg.config import Config, drop_in, load, qb_backup
from zborg.errors import ConfigError
from zborg.model import Clock, Outcome, Report, Status
from zborg.model.enrolment import Left, Source
from zborg.model.results import Imported
from zborg.planning.hosts.import_qb_backup import Pinned, Planned, Verdict, is_address, once, plan, url
from zborg.state.runs import new_run
from zborg.steps.context import conclude

_COMMAND = "import qb-backup"
KeyOf = Callable[[Source], Pinned | None]
_SSH_CONFIG = Left(
    "~/.ssh/config",
    "",
    "qb.backup's ssh read its user's; zborg reads none",
    "an alias, another key or a jump host that stands there: give address or identity in the host's file",
)


@dataclass(frozen=True)
class Import:
    """What the command line asks for. `key_of` looks a host's key up; `to` None means beside zborg.toml."""

    file: Path
    to: Path | None
    key_of: KeyOf

    def directory(self, config: Config) -> Path:
        """Where the files go, as an absolute path."""
        return (self.to or config.path.parent / drop_in.FOLDER).absolute()


def import_qb_backup(config: Config, wanted: Import, clock: Clock, *, dry_run: bool = False) -> Report:
    """Write a file per host. Raises ConfigError, with file and line, before anything is written."""
    started = clock()
    found = qb_backup.read(wanted.file)
    directory = wanted.directory(config)
    reachable = [one for one in found.hosts if is_address(one.hostname)]
    keys = {url(one): key for one in reachable if (key := wanted.key_of(one))}
    planned = plan(found.hosts, keys, _known(config, directory))
    left = (*once(found.left), _SSH_CONFIG)
    outcomes = [_outcome(one, directory) for one in planned] + [_left(one) for one in left]
    if dry_run:
        lines = [*(one.line(str(directory)) for one in planned), *(one.line() for one in left)]
        return _report(config, started, clock(), outcomes, lines)
    for one in _to_write(planned):
        drop_in.write(_path(directory, one), one.name, one.table)
    outcomes += _unread(config, planned, directory)
    return _report(config, started, clock(), outcomes)


def _report(
    config: Config, started: datetime, now: datetime, outcomes: Sequence[Outcome], lines: Sequence[str] = ()
) -> Report:
    """With `lines` of a dry run: it shows those alone, and ends as the outcomes would have."""
    status, code = conclude(outcomes)
    shown = () if lines else tuple(outcomes)
    run = new_run(started)
    return Report(_COMMAND, run, config.name, started, now, status, code, shown, tuple(lines))


def _known(config: Config, directory: Path) -> dict[str, str]:
    """Names and urls of zborg's hosts, and of the files in the directory, read by zborg.toml or not."""
    known = {}
    for path in sorted(directory.glob("*.toml")):
        hosts = drop_in.read(path).get("hosts", {})
        if not isinstance(hosts, dict):
            raise ConfigError(f"{path}: hosts must be tables, [hosts.NAME]", "correct it, or move it away")
        for name, table in hosts.items():
            known[name] = str(table.get("ssh", "")) if isinstance(table, dict) else ""
        known.setdefault(path.stem, "")  # its name is taken, whatever is in it
    return known | {host.name: str(host.endpoint) for host in config.hosts}


def _to_write(planned: Sequence[Planned]) -> list[Planned]:
    return [one for one in planned if one.verdict is Verdict.WRITE]


def _path(directory: Path, one: Planned) -> Path:
    return directory / f"{one.name}.toml"


def _outcome(one: Planned, directory: Path) -> Outcome:
    status = {
        Verdict.WRITE: Status.OK,
        Verdict.THERE: Status.OK,
        Verdict.TWICE: Status.SKIPPED,
        Verdict.REFUSE: Status.FAILED,
    }[one.verdict]
    if one.verdict is not Verdict.WRITE:
        return Outcome("host", one.name, status, one.message, one.remedy)
    result = Imported(file=str(_path(directory, one)))
    return Outcome("host", one.name, status, f"written: {one.message}", result=result)


def _left(one: Left) -> Outcome:
    """Skipped: nothing went wrong, and somebody has to look."""
    where = f"{one.place}: " if one.place else ""
    return Outcome("setting", one.key, Status.SKIPPED, f"{where}{one.words}", one.remedy)


def _unread(config: Config, planned: Sequence[Planned], directory: Path) -> Iterator[Outcome]:
    """Whether zborg.toml reads what was written, by reading it again."""
    names = {host.name for host in load(config.path).hosts}
    if missed := [one.name for one in _to_write(planned) if one.name not in names]:
        parts = ", ".join(missed)
        words = f"does not include {directory}, so it does not know {parts}"
        fix = f"add this line at its top: {drop_in.INCLUDE}"
        yield Outcome("config", str(config.path), Status.FAILED, words, fix)
