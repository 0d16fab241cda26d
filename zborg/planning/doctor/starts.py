"""What could start zborg on this machine, each with what keeps it from that: cron's files, systemd's timers.

Pure. A line counts when cron would read it, its user and its program are there, and zborg takes the command.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zborg.model.text.remedy import command, quoted, remedy
from zborg.planning.doctor.crontab import Bad, Job, is_read, parse
from zborg.planning.doctor.shell_line import invocations

PROGRAM = "/usr/local/bin/zborg"
_LEFTOVER = re.compile(r"(^\.|~$|\.(bak|old|orig|save|swp|rpmsave|rpmnew|dpkg-\w+|ucf-\w+)$)")


@dataclass(frozen=True, slots=True)
class Parsed:
    """A command line of zborg's as its own parser takes it; `error` is why it does not."""

    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A file of cron's. `system`: with a user's name in each line; else mode and owner do not matter."""

    path: str
    text: str
    system: bool = True
    mode: int = 0o644
    uid: int = 0


@dataclass(frozen=True, slots=True)
class Script:
    """A file of /etc/cron.daily or its like, run by run-parts(8); `days` from one start to the next."""

    path: str
    text: str
    days: int
    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class Timer:
    """A systemd timer, what its service starts, and its state in systemd's words; "" for not known."""

    name: str
    lines: tuple[str, ...]
    enabled: str = ""
    active: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """All that could start zborg on this machine, and what decides whether it does."""

    tables: Sequence[Table] = ()
    scripts: Sequence[Script] = ()
    timers: Sequence[Timer] = ()
    users: frozenset[str] = frozenset({"root"})
    programs: frozenset[str] = frozenset()  # those of `candidates` that can be run
    daemon: str = ""  # of cron's, that runs
    installed: str = ""  # of cron's, as its service is called
    systemd: bool = False  # it runs this machine


@dataclass(frozen=True, slots=True)
class Start:
    """One zborg command that something starts. `why_not`: what keeps it from that. `days` 0: not known."""

    place: str
    parsed: Parsed = Parsed()
    days: int = 0
    why_not: str = ""
    remedy: str = ""
    by_cron: bool = True


Parser = Callable[[Sequence[str]], Parsed]


def candidates(found: Found) -> frozenset[str]:
    """Every path at which a zborg that is started here would be looked for."""
    jobs = [job for table in found.tables for job in parse(table.text, system=table.system)]
    named = [(job.command, job.path) for job in jobs if isinstance(job, Job)]
    named += [(script.text, _DEFAULT_PATH) for script in found.scripts]
    named += [(line, _SYSTEMD_PATH) for timer in found.timers for line in timer.lines]
    return frozenset(
        path for text, where in named for one in _started(text) for path in _places(one[0], where)
    )


_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/sbin:/bin:/usr/sbin:/usr/bin"  # of run-parts in /etc/crontab
_SYSTEMD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # systemd.exec(5)


def _places(program: str, path: str) -> list[str]:
    return [program] if "/" in program else [f"{folder}/{program}" for folder in path.split(":") if folder]


def _started(text: str) -> tuple[tuple[str, ...], ...]:
    try:
        return invocations(text)
    except ValueError:  # quotes that are never closed; a shell refuses it as well
        return ()


def starts(found: Found, parser: Parser) -> list[Start]:
    """All of them, in the order in which they were found."""
    return [
        *(one for table in found.tables for one in _of_table(table, found, parser)),
        *(one for script in found.scripts for one in _of_script(script, found, parser)),
        *(one for timer in found.timers for one in _of_timer(timer, found, parser)),
    ]


def look(place: str) -> str:
    """Where nobody but its owner knows what the line was meant to be."""
    path, _, number = place.partition(", line ")
    if place.startswith("/") and number:
        return remedy(command("sed", "-n", f"{number}p", path), first=f"correct line {number} of {path}:")
    return remedy("zborg --help", first=f"correct it: {place}. What zborg takes:")


# --- cron's files -----------------------------------------------------------------------------------


def _of_table(table: Table, found: Found, parser: Parser) -> Iterator[Start]:
    lines = parse(table.text, system=table.system)
    ours = [(line, _meant(line)) for line in lines]
    ours = [(line, words) for line, words in ours if words]
    name = table.path.rpartition("/")[2]
    if not ours or (table.path.startswith("/") and _LEFTOVER.search(name)):
        return
    why, fix = _refused(table, name) or _broken(table, lines) or ("", "")
    for line, words in ours:
        place = f"{table.path}, line {line.number}"
        for one in words:
            parsed = parser(one[1:])
            if why or isinstance(line, Bad):  # one bad line is reason enough to refuse the whole file
                yield Start(place, parsed, 0, why, fix)
            else:
                yield _of_job(place, line, one, parsed, table, found)


def _meant(line: Job | Bad) -> tuple[tuple[str, ...], ...]:
    """What it starts; of a bad line what it would, were the words before that right."""
    if isinstance(line, Job):
        forgotten = _started(f"{line.user} {line.command}") if line.user else ()
        return _started(line.command) or forgotten or _behind_user(line)
    words = line.text.split()
    tails = (_started(" ".join(words[number:])) for number in range(min(len(words), 8)))
    return next((found for found in tails if found), ())


def _behind_user(job: Job) -> tuple[tuple[str, ...], ...]:
    first, _, rest = job.command.partition(" ")
    return _started(rest) if not job.user and re.fullmatch(r"[a-z_][\w-]*", first) else ()


def _refused(table: Table, name: str) -> tuple[str, str] | None:
    """The rules of cron(8) for the file itself: why it is not read, and the remedy."""
    path = table.path
    if not table.system:
        return None
    if "/cron.d/" in path and not is_read(name):
        why = f"cron reads no file with {'a dot' if '.' in name else 'such a character'} in its name: {path}"
        right = re.sub(r"[^A-Za-z0-9_-]", "-", name.split(".")[0]) or "zborg"
        return why, command("mv", path, f"{path.removesuffix(name)}{right}")
    if table.mode & 0o022:
        return f"its mode is {table.mode:04o}: cron reads no file that others can write", command(
            "chmod", "0644", path
        )
    if table.uid:
        return f"it belongs to user {table.uid}: cron reads only root's there", command("chown", "root", path)
    return None


def _broken(table: Table, lines: Sequence[Job | Bad]) -> tuple[str, str] | None:
    """What makes cron pass over the whole file."""
    if not table.text.endswith("\n"):
        why = "its last line does not end with a newline: cron ignores it"
        if not table.system:
            return why, remedy("crontab -e", first="add one:")
        return why, f"echo >>{quoted(table.path)}"
    bad = next((line for line in lines if isinstance(line, Bad)), None)
    if bad is None:
        return None
    why = f"line {bad.number}: {bad.why}; cron ignores the file"
    if not table.system:
        return why, remedy("crontab -e", first=f"correct line {bad.number}:")
    return why, look(f"{table.path}, line {bad.number}")


def _of_job(
    place: str, job: Job, words: tuple[str, ...], parsed: Parsed, table: Table, found: Found
) -> Start:
    days = job.times.gap() if job.times else 0
    why, fix = _job_fault(job, words, table, found)
    if not why and job.times is None:
        why, fix = "it starts at a reboot alone", look(place)
    if not why and parsed.error:
        why, fix = f"zborg would refuse it: {parsed.error}", look(place)
    return Start(place, parsed, days, why, fix)


def _job_fault(job: Job, words: tuple[str, ...], table: Table, found: Found) -> tuple[str, str]:
    """Who would run it, and what."""
    edit = table.system and ["sed", "-i"]
    if table.system and job.user not in found.users:
        if job.user.rpartition("/")[2] == "zborg" or not re.fullmatch(r"[\w-]+", job.user):
            why = f"a user's name must stand before the command, and {job.user} is none"
            return why, command("sed", "-i", f"{job.number}s|{job.user}|root &|", table.path)
        why = f"there is no user {job.user}"
        return why, command("sed", "-i", f"{job.number}s|{job.user}|root|", table.path)
    if not _started(job.command):
        first = job.command.split()[0]
        return f"it starts {first}: a user's own crontab has no user's name before the command", remedy(
            "crontab -e", first=f"take {first} out of line {job.number}:"
        )
    places = _places(words[0], job.path)
    if any(place in found.programs for place in places):
        return "", ""
    why = f"it names {words[0]}, which is not there"
    if "/" not in words[0]:
        why = f"it names zborg without its path: cron looks in {job.path} alone"
    if not edit:
        return why, remedy("crontab -e", first=f"write the whole path into line {job.number}:")
    return why, command("sed", "-i", f"{job.number}s|{words[0]} |{PROGRAM} |", table.path)


def _of_script(script: Script, found: Found, parser: Parser) -> Iterator[Start]:
    name = script.path.rpartition("/")[2]
    for words in _started(script.text):
        why, fix = "", ""
        parsed = parser(words[1:])
        if not is_read(name):
            why = f"run-parts runs no file with a dot in its name: {script.path}"
            fix = command("mv", script.path, script.path.removesuffix(name) + name.partition(".")[0])
            if _LEFTOVER.search(name):
                return
        elif not script.mode & 0o111:
            why, fix = (
                "it is not executable: run-parts passes over it",
                command("chmod", "0755", script.path),
            )
        elif not any(place in found.programs for place in _places(words[0], _DEFAULT_PATH)):
            why = f"it names {words[0]}, which is not there"
            fix = command("sed", "-i", f"s|{words[0]} |{PROGRAM} |", script.path)
        elif parsed.error:
            why, fix = f"zborg would refuse it: {parsed.error}", look(script.path)
        yield Start(script.path, parsed, script.days, why, fix)


def _of_timer(timer: Timer, found: Found, parser: Parser) -> Iterator[Start]:
    for line in timer.lines:
        for words in _started(line):
            parsed = parser(words[1:])
            why, fix = "", command("systemctl", "enable", "--now", timer.name)
            if timer.enabled not in ("", "enabled", "enabled-runtime", "static", "linked", "generated"):
                why = f"the timer is {'not enabled' if timer.enabled == 'disabled' else timer.enabled}"
            elif timer.active not in ("", "active"):
                why = f"the timer is enabled and does not run: it is {timer.active}"
            elif not any(place in found.programs for place in _places(words[0], _SYSTEMD_PATH)):
                why = f"its service names {words[0]}, which is not there"
                fix = command("systemctl", "edit", "--full", timer.name.replace(".timer", ".service"))
            elif parsed.error:
                why = f"zborg would refuse it: {parsed.error}"
                fix = command("systemctl", "edit", "--full", timer.name.replace(".timer", ".service"))
            yield Start(timer.name, parsed, 0, why, fix if why else "", by_cron=False)
