"""What the runs of scripts/bench fleet say: ratios and tables. Pure."""

from __future__ import annotations

import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.bench.relay import Connection
from tests.bench.usage import Seen

SERVER, HOSTS, RELAY = "server", "hosts", "relay"
# By command name; "" is every other one. What ends between two looks is added to the side's "".
KINDS: Mapping[str, Mapping[str, str]] = {
    SERVER: {"zborg": "zborg", "ssh": "ssh", "borg": "borg serve", "": "server: other"},
    HOSTS: {"sshd": "sshd", "borg": "borg create", "": "agent"},
    RELAY: {"": "relay"},
}
_KINDS = [kind for names in KINDS.values() for kind in names.values()]


@dataclass(frozen=True, slots=True)
class Run:
    """One `zborg backup`: seconds, and bytes. `cpu` and `shares` are by kind."""

    parallel: int
    hosts: int
    bad: int  # hosts without a good backup
    wall: float
    cpu: Mapping[str, float]
    busy: float  # processor seconds of the whole machine, whoever used them
    slowest: float  # of a host's connections, from the first's beginning to the last's end
    active: int  # ssh processes of zborg's at once
    peak: int  # zborg's own memory at its most
    shares: Mapping[str, int] = field(default_factory=dict)  # of one process of the kind, the largest seen
    taken: int = 0  # of the machine's available memory at the most

    @property
    def total(self) -> float:
        return sum(self.cpu.values())


Round = Mapping[int, Run]  # by how many hosts at once; 1 is one after another
AUTO = 0  # as many as zborg finds


def ratio(run: Run, alone: Run, processors: int) -> float:
    """The wall time as a multiple of the best possible."""
    return run.wall / max(run.total / processors, alone.slowest)


def of_each(run: Run, alone: Run) -> float:
    """Bytes of zborg's own that one more active host takes: the growth over a run with one at a time."""
    return (run.peak - alone.peak) / (run.active - 1) if run.active > 1 else 0.0


def slowest(connections: Iterable[Connection]) -> float:
    """A host may have several connections, one after another."""
    by_host: dict[int, list[Connection]] = defaultdict(list)
    for one in connections:
        by_host[one.port].append(one)
    spans = (
        max(o.closed or o.opened for o in some) - min(o.opened for o in some) for some in by_host.values()
    )
    return max(spans, default=0.0)


def by_kind(seen: Mapping[str, Seen], totals: Mapping[str, float]) -> dict[str, float]:
    """What was seen of each kind, and to the side's other commands what the kernel's account has above it."""
    found = {kind: seen[kind].seconds if kind in seen else 0.0 for kind in _KINDS}
    for side, total in totals.items():
        found[KINDS[side][""]] += max(0.0, total - sum(found[kind] for kind in KINDS[side].values()))
    return found


def room(runs: Sequence[Run], free: int) -> int:
    """How many hosts at once `free` bytes of memory hold, by the run that had the most: few say little,
    since the rest of the machine takes and gives memory as well."""
    fullest = max(runs, key=lambda run: run.active, default=None)
    if fullest is None or fullest.taken <= 0 or not fullest.active:
        return sys.maxsize
    return int(free / (fullest.taken / fullest.active))


def wall_table(rounds: Sequence[Round], count: int, processors: int) -> list[str]:
    """The medians over the rounds as Markdown; parallel = 1 is scaled from its sample to `count` hosts."""
    lines = _titled(
        "at once",
        "wall s",
        "min - max",
        "CPU s",
        "CPU s / processors",
        "slowest alone s",
        "ratio",
        "not good",
    )
    for parallel in _measured(rounds):
        runs = [(one[parallel], one[1]) for one in rounds if parallel in one]
        scale = count / runs[0][0].hosts
        walls = [run.wall * scale for run, _ in runs]
        cells = [_median(walls), f"{min(walls):.1f} - {max(walls):.1f}"]
        cells += [_median(run.total * scale / by for run, _ in runs) for by in (1, processors)]
        cells += [_median(alone.slowest for _, alone in runs)]
        ratios = _median((ratio(run, alone, processors) for run, alone in runs), 2)
        lines.append(
            _row(named(parallel), *cells, ratios if parallel != 1 else "", sum(run.bad for run, _ in runs))
        )
    return lines


def cpu_table(rounds: Sequence[Round]) -> list[str]:
    """Processor seconds per host by kind, and of the whole machine."""
    lines = _titled("at once", *_KINDS, "whole machine")
    for parallel in _measured(rounds):
        runs = [one[parallel] for one in rounds if parallel in one]
        cells = [_median((run.cpu[kind] / run.hosts for run in runs), 3) for kind in _KINDS]
        lines.append(_row(named(parallel), *cells, _median((run.busy / run.hosts for run in runs), 3)))
    return lines


def memory_table(rounds: Sequence[Round]) -> list[str]:
    """MiB: zborg's own, what one more active host adds to it, and one process of the other kinds."""
    kinds = ("ssh", "borg serve", "borg create")
    lines = _titled("at once", "active", "zborg, peak", "per active host", *kinds, "whole machine per host")
    for parallel in _measured(rounds):
        runs = [(one[parallel], one[1]) for one in rounds if parallel in one]
        cells = [str(max(run.active for run, _ in runs)), _mib(run.peak for run, _ in runs)]
        cells += [_mib(of_each(run, alone) for run, alone in runs) if parallel != 1 else ""]
        cells += [_mib(run.shares.get(kind, 0) for run, _ in runs) for kind in kinds]
        lines.append(_row(named(parallel), *cells, _mib(run.taken / max(run.active, 1) for run, _ in runs)))
    return lines


def named(parallel: int) -> str:
    """As zborg.toml has it."""
    return str(parallel) if parallel != AUTO else "auto"


def _measured(rounds: Sequence[Round]) -> list[int]:
    return sorted({parallel for one in rounds for parallel in one})


def _titled(*titles: str) -> list[str]:
    return [_row(*titles), "|---" * len(titles) + "|"]


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _median(values: Iterable[float], digits: int = 1) -> str:
    return f"{statistics.median(values):.{digits}f}"


def _mib(values: Iterable[float]) -> str:
    return _median((value / 2**20 for value in values), 2)
