"""A simulated year of many hosts, as its nights leave it in run files and in the history.

`python -m tests.bench.year DIR` fills DIR: zborg.toml and state/. There are seasons (a quiet summer,
weekends, the end of each month), hosts that grow and hosts that do not, failures of a night and of a week, a
week in which the off-site was away, one night in which the server was, and a ransomware night. The same seed
tells the same year.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import tomli_w

from tests.harness.builders.reports import result
from tests.harness.machines.keys import make_key
from zborg.model import Outcome, Report, Status
from zborg.model.results import Replicated, backup_of
from zborg.model.serial.report import to_dict
from zborg.model.text.units import moment
from zborg.state.history import History
from zborg.state.runs import Runs
from zborg.steps.context import conclude, inspect

_MIB, _GIB = 1 << 20, 1 << 30
_TARGET = "offsite"


@dataclass
class _Host:
    name: str
    files: int
    bytes: float
    growth: float  # a year
    change: float  # a night, of its bytes
    down: range = range(0)  # nights in which it does not answer


@dataclass(frozen=True)
class Year:
    """What is simulated. `encrypted` is the host and the night (counted back from now) of the ransomware."""

    hosts: int = 30
    nights: int = 365
    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    seed: int = 20260212
    cron: bool = False  # a cron line, and so a report, for each host
    never: int = 0  # the first hosts are never good

    @property
    def encrypted(self) -> tuple[str, int]:
        return f"host{self.hosts // 3:02}", 40

    def reports(self) -> Iterator[Report]:
        """All steps of all nights, oldest first."""
        chance = random.Random(self.seed)
        hosts = [_host(number, self.nights, chance) for number in range(self.hosts)]
        for host in hosts[: self.never]:
            host.down = range(self.nights)
        begins = self._last_night()
        for ago in range(self.nights - 1, -1, -1):
            if ago != 100:  # that night the server was off
                yield from _Night(self, begins - timedelta(days=ago), ago, hosts, chance).steps()

    def _last_night(self) -> datetime:
        """At half past two, over by now, and at no time of the day so long ago that it would be overdue."""
        usual, latest = self.now.replace(hour=2, minute=30, second=0), self.now - timedelta(hours=4)
        if usual <= latest:
            return usual
        return latest if latest.date() == usual.date() else usual - timedelta(days=1)


def _host(number: int, nights: int, chance: random.Random) -> _Host:
    size = math.exp(chance.uniform(math.log(2 * _GIB), math.log(900 * _GIB)))
    began = chance.randrange(nights)
    down = range(began, began + chance.choice((0, 0, 0, 1, 3, 8)))
    files = int(size / chance.uniform(60_000, 600_000))
    growth, change = chance.choice((0.02, 0.1, 0.3, 0.8)), chance.uniform(0.001, 0.02)
    return _Host(f"host{number:02}", files, size, growth, change, down)


@dataclass
class _Night:
    year: Year
    began: datetime
    ago: int
    hosts: list[_Host]
    chance: random.Random

    def steps(self) -> Iterator[Report]:
        backup = self._backup()
        if self.year.cron:
            yield from self._each(backup)
        taken = f"zborg_{backup.finished + timedelta(seconds=5):%Y-%m-%dT%H%M%SZ}"
        snapshot = self._after(backup, "snapshot", [self._snapshot(one, taken) for one in backup.outcomes])
        rotate = self._after(snapshot, "rotate", [self._rotated(one) for one in self.hosts])
        replicate = self._after(rotate, "replicate", [self._sent(one, taken) for one in backup.outcomes])
        scrub = self._after(replicate, "scrub", [self._pool("tank", 0.30), self._pool("offsite:vault", 0.25)])
        steps = [backup, snapshot, rotate, replicate, scrub]
        yield from steps[1:] if self.year.cron else (*steps, self._whole(steps))

    # --- the steps of a night ---

    def _backup(self) -> Report:
        ends = [self.began] * 4  # so many at once
        outcomes = []
        for host in self.hosts:
            outcome = self._host(host)
            seconds = backup_of(outcome.result).seconds or self.chance.uniform(5, 120)
            slot = ends.index(min(ends))
            ends[slot] += timedelta(seconds=seconds + 3)
            outcomes.append(replace(outcome, result=backup_of(outcome.result).replace(finished=ends[slot])))
        return self._report("backup", self.began, max(ends), outcomes)

    def _each(self, whole: Report) -> Iterator[Report]:
        """The same by cron, all at one time: each in a run of its own."""
        for number, outcome in enumerate(whole.outcomes):
            ended = backup_of(outcome.result).finished or whole.finished
            run = f"{self.began:%Y%m%dT%H%M%SZ}-{number:04x}"
            yield replace(self._report("backup", self.began, ended, [outcome]), run=run)

    def _host(self, host: _Host) -> Outcome:
        name, night = self.year.encrypted
        if self.ago in host.down:
            words = f"{host.name} cannot be reached: ssh: connect to host {host.name}: No route to host"
            return Outcome("host", host.name, Status.FAILED, words, "is it on, and is the network whole?")
        if self.chance.random() < 0.006:
            return Outcome("host", host.name, Status.FAILED, "the connection broke", "the next run goes on")
        host.bytes *= 1 + host.growth / 365
        host.files = int(host.files * (1 + host.growth / 365))
        new = host.bytes * host.change * self._season() * self.chance.lognormvariate(0, 0.4)
        if host.name == name and self.ago == night:  # other files, and none compresses
            return self._numbers(host, host.bytes * 0.98, 1.0, Status.OK)
        if host.name == name and night - 3 < self.ago < night:
            words = "the archive has 210 files, 0.2 % of the usual"
            return replace(self._numbers(host, 20 * _MIB, 1.0, Status.WARNING, files=210), message=words)
        return self._numbers(host, new, 0.7, Status.OK)

    def _numbers(self, host: _Host, new: float, packs: float, status: Status, files: int = 0) -> Outcome:
        seconds = 4 + host.files / 9_000 + new / (55 * _MIB) * self.chance.uniform(0.8, 1.3)
        data = {
            "files": files or host.files,
            "original_bytes": int(host.bytes),
            "compressed_bytes": int(host.bytes * packs),
            "new_bytes": int(new * packs),
            "seconds": round(seconds, 2),
            "archive": f"{host.name}-{self.began:%Y-%m-%dT%H%M%SZ}",
            "transaction": 1000 - self.ago,
        }
        doubt = {"doubt": "its archive shrank"} if status is Status.WARNING else {}
        return Outcome("host", host.name, status, result=result("host", data | doubt))

    def _season(self) -> float:
        """Less at weekends and in summer, more at the end of a month."""
        week = 0.35 if self.began.weekday() >= 5 else 1.0
        summer = 0.6 if self.began.month in (7, 8) else 1.0
        return week * summer * (2.2 if (self.began + timedelta(days=1)).day == 1 else 1.0)

    def _snapshot(self, backup: Outcome, taken: str) -> Outcome:
        dataset, state = f"tank/borg/{backup.subject}", "ok" if backup.status.good else "failed"
        data = {"snapshot": f"{dataset}@{taken}", "state": state, "transaction": 1000 - self.ago}
        return Outcome(
            "dataset", dataset, Status.OK, f"{taken}, marked {state}", result=result("dataset", data)
        )

    def _rotated(self, host: _Host) -> Outcome:
        old = f"zborg_{self.began - timedelta(days=14):%Y-%m-%dT%H%M%SZ}"
        gone = [old] if self.year.nights - self.ago > 14 else []
        words = f"kept 28, destroyed {len(gone)}" if gone else "kept 28"
        return Outcome(
            "dataset",
            f"tank/borg/{host.name}",
            Status.OK,
            words,
            result=result("dataset", {"destroyed": gone}),
        )

    def _sent(self, backup: Outcome, taken: str) -> Outcome:
        subject = f"{_TARGET}:vault/zborg/{backup.subject}"
        if 200 <= self.ago < 207:
            return Outcome("replica", subject, Status.FAILED, "offsite cannot be reached: timed out", "ping")
        data = {
            "streams": 1,
            "bytes": backup_of(backup.result).new_bytes or 0,
            "lost_bytes": 0,
            "snapshot": taken,
        }
        return Outcome(
            "replica", subject, Status.OK, f"now at {taken}, 1 stream", result=result("replica", data)
        )

    def _pool(self, name: str, begun: float) -> Outcome:
        """It fills up by a third of itself in the year; scrubbed once a month."""
        size = 16 << 40
        used = begun + 0.33 * (1 - self.ago / 365) + 0.01 * math.sin(self.ago)
        scrubbed = moment(self.began - timedelta(days=self.began.day - 1))
        data: dict[str, Any] = {
            "health": "ONLINE", "scrub": "finished", "scrub_finished": scrubbed, "scan_ended": scrubbed,
            "errors": 0, "repaired": 0, "device_errors": 0, "devices": [], "damaged": [],
            "size": size, "free": int(size * (1 - used)),
        }  # fmt: skip
        words = f"scrubbed {self.began.day - 1} days ago"
        return Outcome("pool", name, Status.OK, words, result=result("pool", data))

    # --- reports ---

    def _after(self, before: Report, command: str, outcomes: list[Outcome]) -> Report:
        began = before.finished + timedelta(seconds=5)
        sent = sum(one.result.bytes for one in outcomes if isinstance(one.result, Replicated))
        return self._report(command, began, began + timedelta(seconds=4 + sent / (40 * _MIB)), outcomes)

    def _report(self, command: str, began: datetime, ended: datetime, outcomes: list[Outcome]) -> Report:
        status, code = (inspect if command == "scrub" else conclude)(outcomes)
        run = f"{began:%Y%m%dT%H%M%SZ}-{self.ago:04x}"
        ended = ended.replace(microsecond=0)
        return Report(
            command, run, "vault", began.replace(microsecond=0), ended, status, code, tuple(outcomes)
        )

    def _whole(self, steps: list[Report]) -> Report:
        worst = max(steps, key=lambda one: int(one.exit))
        outcomes = [one.noting(step=step.command) for step in steps for one in step.outcomes]
        whole = self._report("run", self.began, steps[-1].finished, outcomes)
        return replace(whole, status=worst.status, exit=worst.exit)


def fill(directory: Path, year: Year) -> Path:
    """zborg.toml for that year's server below `directory`, and its state. Returns the file."""
    path = directory / "state" / "runs"
    path.mkdir(parents=True, mode=0o700)
    runs, history = Runs(path), History(directory / "state" / "history.db")
    for some in batched(year.reports(), 1000):
        for report in some:
            (path / f"{report.run}.{report.command}.json").write_text(json.dumps(to_dict(report)))
        history.record_all(some, files=runs.identities())
        runs.prune()
    return _config(directory, year)


def batched(reports: Iterable[Report], number: int) -> Iterator[list[Report]]:
    """So many at a time: a year of 300 hosts does not fit into memory."""
    left = iter(reports)
    while some := list(islice(left, number)):
        yield some


def _config(directory: Path, year: Year) -> Path:
    key = make_key(directory / "key").public
    names = [f"host{number:02}" for number in range(year.hosts)]
    table = {
        "name": "vault",
        "state_dir": "state",
        "identity": "key",
        "storage": {"dataset": "tank/borg"},
        "snapshots": {"keep": {"daily": 14, "monthly": 12}},
        "targets": {
            _TARGET: {"ssh": "ssh://zborg@offsite.example.net", "host_key": key, "dataset": "vault/zborg"}
        },
        "hosts": {
            name: {"ssh": f"ssh://root@{name}.example.net", "host_key": key, "max_age": "30h"}
            for name in names
        },
    }
    path = directory / "zborg.toml"
    path.write_text(tomli_w.dumps(table))
    path.chmod(0o600)
    return path


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    print(f"zborg status --config {fill(place, Year())}")
