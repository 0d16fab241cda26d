"""Hosts that are gone from zborg.toml, and datasets of no host: facts in, findings out."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from zborg.model import Finding, Status
from zborg.model.machines import LEDGER
from zborg.model.text.remedy import command, remedy
from zborg.model.text.units import moment


def vanished_finding(name: str, last_good: datetime | None, config: str) -> Finding:
    """A host that zborg.toml (`config`, a path) had and has no more."""
    since = f"backed up until {moment(last_good)}" if last_good else "known before"
    return Finding(name, Status.WARNING, f"{since}, no longer in {config}", forget(name))


def orphan_finding(name: str, dataset: str, config: str) -> Finding:
    """A dataset below the storage's root whose name no host has."""
    return Finding(dataset, Status.WARNING, f"{orphaned(name, config)}: it is not rotated", forget(name))


def orphaned(name: str, config: str) -> str:
    """The finding for a name that has data here and no table; `config`: the path of zborg.toml."""
    return f"{name} is no host of {config}"


def forget(name: str) -> str:
    """The remedy: a table that was lost comes back, a host that is gone is forgotten."""
    first = f"put [hosts.{name}] back into zborg.toml or a drop-in; if it is gone for good:"
    return remedy(command("zborg", "host", "forget", name), first=first)


def orphans(
    root: str, datasets: Iterable[str], hosts: Collection[str], forgotten: Collection[str]
) -> dict[str, str]:
    """By dataset below `root` the name it goes by, where neither a host nor a forgotten one has that name.

    What lies below a host's dataset is that host's.
    """
    found = {}
    for dataset in datasets:
        name = dataset.removeprefix(f"{root}/").partition("/")[0]
        if dataset.startswith(f"{root}/") and name not in {*hosts, *forgotten, LEDGER}:
            found[dataset] = name
    return found
