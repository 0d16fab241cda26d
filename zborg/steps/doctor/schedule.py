"""doctor's probe of what starts zborg on this machine: cron's files, systemd's timers, and who runs them."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from zborg.errors import CommandFailed
from zborg.model import Finding, Runner
from zborg.planning.doctor.schedule import Wanted
from zborg.planning.doctor.schedule import schedule as judge
from zborg.planning.doctor.starts import Found, Parser, Script, Table, Timer, candidates

_QUICK = 20.0  # seconds
_MAX_BYTES = 1 << 20  # bytes
_DAEMONS = ("cron", "crond", "fcron", "dcron", "busybox-crond")  # as ps(1) shows them
_PLACES = ("/usr/sbin", "/sbin", "/usr/bin")
_FOLDERS = (("cron.hourly", 1), ("cron.daily", 1), ("cron.weekly", 7), ("cron.monthly", 31))


@dataclass(frozen=True)
class Roots:
    """Where this system keeps what starts programs."""

    etc: Path = Path("/etc")
    units: tuple[Path, ...] = (
        Path("/etc/systemd/system"),
        Path("/run/systemd/system"),
        Path("/usr/local/lib/systemd/system"),
        Path("/usr/lib/systemd/system"),
        Path("/lib/systemd/system"),
    )
    tabs: bool = True  # whether the caller's own crontab is asked for
    booted: Path = Path("/run/systemd/system")  # there where systemd runs, sd_booted(3)


def schedule(local: Runner, roots: Roots, wanted: Wanted, parser: Parser) -> Iterable[Finding]:
    """What starts zborg here, by cron and systemd, against what should."""
    daemon, installed = _daemon(local)
    found = Found(
        tables=(*_tables(roots), *_own_table(local, roots)),
        scripts=tuple(_scripts(roots)),
        timers=tuple(_with_state(local, list(_timers(roots)))),
        users=frozenset(one.pw_name for one in pwd.getpwall()),
        daemon=daemon,
        installed=installed,
        systemd=roots.booted.is_dir(),
    )
    there = frozenset(path for path in candidates(found) if _can_run(path))
    return judge(replace(found, programs=there), wanted, parser)


def _can_run(path: str) -> bool:
    return Path(path).is_file() and os.access(path, os.X_OK)


# --- cron -------------------------------------------------------------------------------------------


def _tables(roots: Roots) -> Iterator[Table]:
    """crontab(5) files with a user's name in each line."""
    for path in (roots.etc / "crontab", *sorted((roots.etc / "cron.d").glob("*"))):
        if (text := _text(path)) is not None:
            facts = path.stat()
            yield Table(str(path), text, True, facts.st_mode & 0o7777, facts.st_uid)


def _own_table(local: Runner, roots: Roots) -> Iterator[Table]:
    if not roots.tabs:
        return
    try:
        text = local.run(["crontab", "-l"], timeout=_QUICK, max_bytes=_MAX_BYTES).stdout
    except CommandFailed:  # no crontab, or no cron at all
        return
    yield Table("crontab -l", text, system=False)


def _scripts(roots: Roots) -> Iterator[Script]:
    for folder, days in _FOLDERS:
        for path in sorted((roots.etc / folder).glob("*")):
            if (text := _text(path)) is not None:
                yield Script(str(path), text, days, path.stat().st_mode & 0o7777)


def _daemon(local: Runner) -> tuple[str, str]:
    """The cron that runs, and the one that is installed, by the name of its service; "" for none."""
    try:
        names = {
            line.strip() for line in local.run(["ps", "-A", "-o", "comm="], timeout=_QUICK).stdout.split("\n")
        }
    except CommandFailed:
        names = set()
    running = next((name for name in _DAEMONS if name in names), "")
    if not running and _unit_state(local, "cron.target") == "active":  # systemd-cron: timers, and no daemon
        running = "cron.target"
    places = [name for name in _DAEMONS for folder in _PLACES if _can_run(f"{folder}/{name}")]
    return running, next(iter(places), "")


# --- systemd ----------------------------------------------------------------------------------------


def _timers(roots: Roots) -> Iterator[Timer]:
    """Timers whose service's own file names zborg; of a name that several folders have the first counts."""
    seen: set[str] = set()
    for folder in roots.units:
        for path in sorted(folder.glob("*.timer")):
            if path.name in seen:
                continue
            seen.add(path.name)
            unit = _value(_text(path) or "", "Unit") or f"{path.stem}.service"
            text = next(
                (one for one in (_text(place / unit) for place in roots.units) if one is not None), ""
            )
            lines = tuple(
                re.sub(r"^[@:+!-]+", "", one) for one in re.findall(r"(?m)^ExecStart\s*=\s*(.+)$", text)
            )
            if any("zborg" in line for line in lines):
                enabled = (folder / "timers.target.wants" / path.name).exists()
                yield Timer(path.name, lines, "enabled" if enabled else "disabled")


def _value(text: str, key: str) -> str:
    found = re.search(rf"(?m)^{key}\s*=\s*(\S+)\s*$", text)
    return found[1] if found else ""


def _with_state(local: Runner, timers: list[Timer]) -> Iterator[Timer]:
    """systemd's own word where it runs; else what the links say."""
    for timer in timers:
        enabled = _shown(local, timer.name, "UnitFileState")
        active = _shown(local, timer.name, "ActiveState")
        yield replace(timer, enabled=enabled or timer.enabled, active=active)


def _unit_state(local: Runner, unit: str) -> str:
    return _shown(local, unit, "ActiveState")


def _shown(local: Runner, unit: str, key: str) -> str:
    """ "" where there is no systemd, or it does not run."""
    try:
        output = local.run(
            ["systemctl", "show", unit, f"--property={key}"], timeout=_QUICK, max_bytes=_MAX_BYTES
        ).stdout
    except CommandFailed:
        return ""
    return output.strip().partition("=")[2]


def _text(path: Path) -> str | None:
    """None for what is no file of text, or not ours to read."""
    try:
        return path.read_text(errors="replace") if path.is_file() else None
    except OSError:
        return None
