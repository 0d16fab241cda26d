"""What doctor says of the schedule: whether the night is started, and what of it is not. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from zborg.model import Finding, Host, Status
from zborg.model.text.remedy import command, quoted, remedy
from zborg.planning.doctor.starts import PROGRAM, Found, Parsed, Parser, Start, look, starts
from zborg.planning.doctor.this_machine import or_fine

DAY = 86400
FILE = "/etc/cron.d/zborg"
_STEPS = ("backup", "snapshot", "rotate", "replicate", "scrub")  # what `run` does, in its order


@dataclass(frozen=True, slots=True)
class Wanted:
    """What has to be started, by zborg.toml."""

    config: str
    hosts: tuple[Host, ...] = ()
    targets: tuple[str, ...] = ()
    received: bool = False  # an off-site: its night is rotate and scrub


# --- the judgement ----------------------------------------------------------------------------------


def schedule(found: Found, wanted: Wanted, parser: Parser) -> tuple[Finding, ...]:
    """Somebody must start zborg by night; what cannot work is named, and what nothing starts."""
    listed = [_checked(one, wanted) for one in starts(found, parser)]
    bad = [Finding(one.place, Status.WARNING, one.why_not, one.remedy) for one in listed if one.why_not]
    good = [one for one in listed if not one.why_not]
    if not found.daemon and (dead := [one for one in good if one.by_cron]):
        bad.append(_no_daemon(dead, found))
    bad += _uncovered(listed, wanted, found)
    places = ", ".join(dict.fromkeys(one.place for one in good if _work(one.parsed)))
    return or_fine(bad, "schedule", f"zborg is started by {places}")


def _no_daemon(dead: Sequence[Start], found: Found) -> Finding:
    lines = ", ".join(dict.fromkeys(one.place for one in dead))
    words = f"no cron runs on this machine: {lines} starts nothing"
    install = [f"systemctl enable --now {found.installed}"] if found.installed else ["apt-get install cron"]
    return Finding("schedule", Status.WARNING, words, remedy(*install))


def _checked(start: Start, wanted: Wanted) -> Start:
    """Of a command that zborg would take: whether it does something, and here."""
    options, name = start.parsed.options, start.parsed.name
    if start.why_not or not name:
        return start
    why = ""
    if options.get("dry_run") and name in (*_STEPS, "run"):
        why = f"`zborg {name} --dry-run` does nothing"
    elif (other := options.get("config")) and other != wanted.config:
        why = f"it reads {other}, not {wanted.config}"
    known = {host.name for host in wanted.hosts}
    named = (*(options.get("hosts") or ()), *(options.get("exclude") or ())) if name == "backup" else ()
    if strange := [one for one in named if one not in known]:
        why = f"{wanted.config} names no host {', '.join(strange)}: `zborg backup` refuses the whole line"
    strange = [one for one in options.get("targets") or () if one not in wanted.targets]
    if name == "replicate" and strange:
        why = f"{wanted.config} names no target {', '.join(strange)}: `zborg replicate` refuses the line"
    if not why:
        return start
    return replace(start, why_not=why, remedy=look(start.place))


# --- what nothing starts ----------------------------------------------------------------------------


def _work(parsed: Parsed) -> frozenset[str]:
    """The steps that a command does; () of one that does not do any of the night's."""
    name, options = parsed.name, parsed.options
    if name == "run":
        return frozenset(_STEPS)
    idle = (name == "rotate" and (options.get("freeze") or options.get("release"))) or (
        name == "replicate" and options.get("check")
    )
    return frozenset({name}) if name in _STEPS and not idle else frozenset()


def _backs_up(parsed: Parsed, host: str) -> bool:
    if parsed.name == "run":
        return True
    named, without = parsed.options.get("hosts") or (), parsed.options.get("exclude") or ()
    return parsed.name == "backup" and (not named or host in named) and host not in without


def _sends(parsed: Parsed, target: str) -> bool:
    named = parsed.options.get("targets") or ()
    return "replicate" in _work(parsed) and (not named or target in named)


def _uncovered(listed: Sequence[Start], wanted: Wanted, found: Found) -> Iterator[Finding]:
    """What no line even means to start: one that means it and cannot is reported by itself."""
    meant = [one.parsed for one in listed]
    done = frozenset[str]().union(*map(_work, meant))
    if not done:
        yield _nothing(wanted, found, [one.parsed.name for one in listed])
        return
    if not wanted.received:
        yield from _hosts(listed, wanted)
        if unsent := [name for name in wanted.targets if not any(_sends(one, name) for one in meant)]:
            words = f"nothing starts zborg replicate to {', '.join(unsent)}: no copy leaves this machine"
            yield _missing(words, "0 5 * * *", "replicate")
    for step, why in _REST:
        if step not in done and not (wanted.received and step == "snapshot"):
            yield _missing(f"nothing starts zborg {step}: {why}", "0 6 * * *", step)


_REST = (
    ("snapshot", "what a host overwrites is lost with the next backup"),
    ("rotate", "snapshots stay until the pool is full"),
    ("scrub", "nobody looks at the scrubs of the pools"),
)


def _hosts(listed: Sequence[Start], wanted: Wanted) -> Iterator[Finding]:
    left = []
    for host in wanted.hosts:
        mine = [one for one in listed if _backs_up(one.parsed, host.name)]
        if not mine:
            left.append(host.name)
        elif (days := min(one.days for one in mine)) > 1 and days * DAY > host.max_age:
            limit = f"its max_age is {host.max_age // 3600} h"
            words = f"{host.name} waits up to {days} days for a backup, {limit}"
            place = min(mine, key=lambda one: one.days).place
            yield Finding(place, Status.WARNING, words, look(place))
    if left:
        some = ", ".join(left[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
        yield _missing(f"nothing starts a backup of {some}", "30 2 * * *", "backup", *left)


def _missing(words: str, when: str, *words_of_zborg: str) -> Finding:
    line = f"{when}  root  {command(PROGRAM, *words_of_zborg)}"
    return Finding("schedule", Status.WARNING, words, f"echo {quoted(line)} >>{FILE}")


def _nothing(wanted: Wanted, found: Found, others: Sequence[str]) -> Finding:
    words = "nothing starts zborg: no line of cron's and no systemd timer names it"
    if others:
        named = ", ".join(dict.fromkeys(f"zborg {name}" if name else "what zborg refuses" for name in others))
        words = f"nothing starts a backup: all that is started here is {named}"
        if wanted.received:
            words = f"nothing starts zborg run: all that is started here is {named}"
    lines = [] if found.systemd or found.daemon or found.installed else ["apt-get install cron"]
    install = command("zborg", "schedule", "install", "--config", wanted.config)
    if others or any(table.path.endswith(FILE) for table in found.tables):  # it writes over nobody's file
        hour, options = ("8", ("--quiet",)) if wanted.received else ("2", ("--quiet", "--allow-partial"))
        line = f"30 {hour} * * *  root  {command(PROGRAM, 'run', *options)}"
        lines = [] if found.daemon or found.installed else ["apt-get install cron"]
        install = f"echo {quoted(line)} >>{FILE}"
    return Finding("schedule", Status.WARNING, words, remedy(*lines, install))
