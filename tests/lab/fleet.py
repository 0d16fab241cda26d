"""Several guests: boot them together, list them, end them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.lab.cache import run_dir
from tests.lab.errors import LabError
from tests.lab.guest import Guest

_STATUS = "cut -d' ' -f1 /proc/uptime; zpool list -H -o name,health"


@dataclass(frozen=True)
class Status:
    """A guest at one moment: state is running, hung (no answer), dead (its disks stay) or down."""

    name: str
    state: str
    port: int | None = None
    uptime: float | None = None
    pools: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.uptime is None:
            return f"{self.name}: {self.state}"
        pools = ", ".join(self.pools) or "none"
        return f"{self.name}: {self.state}, port {self.port}, {self.uptime:.0f} s, pools: {pools}"


def up(name: str, suite: str = "trixie") -> Guest:
    """A guest of this name, booted, with ZFS loaded and its pools mounted.

    One that runs and answers is used as it is; one that died or hangs is booted again with its
    disks. LabError says why there is none.
    """
    guest = Guest(name)
    guest.up(suite)
    return guest


def up_all(names: Sequence[str], suite: str = "trixie") -> list[Guest]:
    """As `up` for each name, at the same time, in the order of `names`."""
    with ThreadPoolExecutor(max_workers=max(1, len(names))) as pool:
        return list(pool.map(lambda name: up(name, suite), names))


def down(*names: str) -> None:
    """End these guests, or without a name all, and delete their disks.

    Every one is tried; LabError names those that could not be ended.
    """
    failed = []
    for name in names or _names():
        try:
            Guest(name).down()
        except LabError as error:
            failed.append(str(error))
    if failed:
        raise LabError("; ".join(failed))


def status() -> list[Status]:
    """Every guest that ever was up, in order of name."""
    return [_status(Guest(name)) for name in _names()]


def _names() -> list[str]:
    return sorted(path.parent.name for path in run_dir().glob("*/port"))


def _status(guest: Guest) -> Status:
    if not guest.is_running:
        return Status(guest.name, "dead" if guest.run.overlay.exists() else "down")
    try:
        uptime, *pools = guest.sh(_STATUS, timeout=20).splitlines()
    except LabError:
        return Status(guest.name, "hung", guest.port)
    words = tuple(" ".join(pool.split("\t")) for pool in pools)
    return Status(guest.name, "running", guest.port, float(uptime), words)
