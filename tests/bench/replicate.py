"""zborg against who does the same: one big stream, and many datasets with and without news.

Both sides are guests of the lab, so real OpenZFS, but on emulated processors: look at the ratios.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.bench.pairs import machine
from tests.bench.replicate_world import Benchmarked, Cost, arrived, fill, make_roots, news, root
from tests.bench.replicate_world import copy as copy_of
from tests.harness.worlds.world import make_parent
from tests.lab import down

_LAB = os.environ.get("ZBORG_LAB", "bench")  # whose guests
_BULK = "bulk"
Round = Mapping[str, Cost]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    datasets: int = 50
    mebibytes: int = 128  # of the one big dataset
    rounds: int = 5
    tools: Sequence[str] = ("zborg", "syncoid", "zfs-autobackup", "bzfs")
    keep: bool = False  # leave the guests running


def main(sizes: Sizes) -> None:
    names = [f"{_LAB}-vault", f"{_LAB}-offsite"]
    try:
        world = Benchmarked(names)
        print(f"{machine()}; {', '.join(f'{k} {v}' for k, v in world.versions.items())}", flush=True)
        if sizes.mebibytes:
            _show(f"One dataset of {sizes.mebibytes} MiB", _bulk(world, sizes), "raw, same cipher")
        if sizes.datasets:
            with_news, without = _many(world, sizes)
            for title, found in (("one new snapshot each", with_news), ("nothing new", without)):
                if found:
                    _show(f"{sizes.datasets} datasets, {title}", found, "zborg")
    finally:
        if not sizes.keep:
            down(*names)


# --- measuring --------------------------------------------------------------------------------------


def _bulk(world: Benchmarked, sizes: Sizes) -> list[Round]:
    """Random data, so neither side has anything to compress; the copy is destroyed after each run."""
    dataset, there = f"{root(_BULK)}/big", f"{copy_of(_BULK)}/big"
    name = "zborg_2026-02-12T144933Z"
    make_parent(world.offsite, copy_of(_BULK))
    world.vault.sh(
        f"zfs create {root(_BULK)}; zfs create -o compression=off {dataset}; "
        f"head -c {sizes.mebibytes}M /dev/urandom >/{dataset}/data; zfs snapshot {dataset}@{name}",
        timeout=900,
    )
    world.configure(root(_BULK), copy_of(_BULK))
    ways = {
        "raw, default cipher": world.raw(f"{dataset}@{name}", there, same_cipher=False),
        "raw, same cipher": world.raw(f"{dataset}@{name}", there, same_cipher=True),
        "zborg": world.ways["zborg"],
    }

    world.timed(f"{ways['zborg']} --dry-run")  # the first run compiles what is Python

    def again(_: str) -> None:
        world.offsite.sh(f"zfs destroy -r {there}", timeout=600)
        world.vault.sh(f"zfs inherit zborg:target.offsite {dataset}")

    found = _rounds(world, sizes.rounds, ways, again)
    world.vault.sh(f"zfs release -r zborg:to:offsite {dataset}@{name}; zfs destroy -r {root(_BULK)}")
    return found


def _many(world: Benchmarked, sizes: Sizes) -> tuple[list[Round], list[Round]]:
    """Each round every tool sends the news, and is then run again with nothing to do."""
    ways = {tool: world.ways[tool] for tool in sizes.tools}
    make_roots(world, sizes.tools, sizes.datasets)
    world.configure(root("zborg"), copy_of("zborg"))
    with_news: list[Round] = []
    without: list[Round] = []

    def check(tool: str) -> None:
        if not arrived(world, tool):
            raise RuntimeError(f"{tool} has not brought everything")

    news(world, sizes.tools)
    fill(world, sizes.tools)
    for command in ways.values():  # the first run compiles what is Python
        world.timed(command)
    try:
        for number in range(sizes.rounds):
            news(world, sizes.tools)
            with_news += _rounds(world, 1, ways, check, number)
            without += _rounds(world, 1, ways, check, number)
    except KeyboardInterrupt:  # hours on a busy machine: what there is, is shown
        pass
    return with_news, without


def _rounds(
    world: Benchmarked, rounds: int, ways: Mapping[str, str], after: Callable[[str], None], first: int = 0
) -> list[Round]:
    """Every way once a round, in another order each time."""
    found: list[Round] = []
    names = list(ways)
    for number in range(first, first + rounds):
        costs = {}
        for way in names[number % len(names) :] + names[: number % len(names)]:
            costs[way] = world.timed(ways[way])
            print(f"round {number + 1}, {way}: {_words(costs[way])}", flush=True)
            after(way)
        found.append({way: costs[way] for way in names})
    return found


# --- showing ----------------------------------------------------------------------------------------


def _words(cost: Cost) -> str:
    used = f"{cost.wall:.1f} s, CPU {cost.vault:.1f} + {cost.offsite:.1f} s"
    asked = f"{cost.commands} commands, {cost.connections} connections"
    return f"{used}, {asked}, {cost.receiving:.1f} s of receiving"


def _show(title: str, rounds: Sequence[Round], reference: str) -> None:
    print(f"\n{title}, {len(rounds)} rounds:\n\n" + "\n".join(table(rounds, reference)) + "\n", flush=True)


def table(rounds: Sequence[Round], reference: str) -> list[str]:
    """Medians as Markdown; the ratios are taken round by round."""
    titles = ["way", "wall s", "min - max", f"of {reference}", "receiving s", f"of {reference}"]
    titles += ["CPU s: sender", "target", f"both, of {reference}", "remote commands", "connections"]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    return lines + [_row(rounds, way, reference) for way in rounds[0]]


def _row(rounds: Sequence[Round], way: str, reference: str) -> str:
    def median(of: Callable[[Cost], float]) -> float:
        return statistics.median(of(one[way]) for one in rounds)

    def ratio(of: Callable[[Cost], float]) -> str:
        pairs = [(of(one[way]), of(one[reference])) for one in rounds]
        return f"{statistics.median(a / b for a, b in pairs):.2f}" if all(b for _, b in pairs) else ""

    walls = [one[way].wall for one in rounds]
    cells = [
        way,
        f"{median(lambda c: c.wall):.1f}",
        f"{min(walls):.1f} - {max(walls):.1f}",
        ratio(lambda c: c.wall),
        f"{median(lambda c: c.receiving):.1f}",
        ratio(lambda c: c.receiving),
        f"{median(lambda c: c.vault):.1f}",
        f"{median(lambda c: c.offsite):.1f}",
        ratio(lambda c: c.cpu),
        f"{median(lambda c: c.commands):.0f}",
        f"{median(lambda c: c.connections):.0f}",
    ]
    return f"| {' | '.join(cells)} |"
