"""The files that start zborg by time: systemd's timers and services, or one for cron. Pure.

None of the services' walls makes a mount namespace (systemd.exec(5): ProtectSystem=, PrivateTmp=,
ProtectHome=, PrivateDevices= and others do): what zborg mounts would be there for itself alone, and what is
mounted in a namespace keeps its dataset busy. ProtectClock= and DeviceAllow= would take /dev/zfs away.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from zborg.model.text.remedy import quoted

CREDENTIAL = "zborg-secrets"  # zborg.notify.secrets looks for it
UNITS = ("zborg-night.service", "zborg-night.timer", "zborg-report.service", "zborg-report.timer")
_MARK = re.compile(r"# Written by `zborg schedule install`, ([0-9a-f]{64})\n")
_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be started. Paths are absolute and printable."""

    program: str
    config: str = ""  # "": where zborg looks by itself
    received: bool = False  # an off-site: its night comes after those of its servers
    report: bool = False  # a page by mail each week
    secrets: str = ""  # the secrets file of [notify]


@dataclass(frozen=True, slots=True)
class _Job:
    name: str
    words: tuple[str, ...]
    about: str
    systemd: str  # systemd.time(7)
    cron: str  # crontab(5)


def units(wanted: Wanted) -> dict[str, str]:
    """The text of each file by its name, in the order of UNITS."""
    found = {}
    for job in _jobs(wanted):
        found[f"{job.name}.service"] = marked(_service(job, wanted))
        found[f"{job.name}.timer"] = marked(_timer(job))
    return found


def crontab(wanted: Wanted) -> str:
    """A file for /etc/cron.d. cron mails what is printed."""
    lines = [f"{job.cron}  root  {_cron_words(job, wanted)}\n" for job in _jobs(wanted)]
    return marked("".join(lines))


def marked(text: str) -> str:
    """The text behind a line by which `is_ours` knows it again."""
    return f"# Written by `zborg schedule install`, {_digest(text)}\n{text}"


def is_ours(text: str) -> bool | None:
    """Whether it is as zborg wrote it; None: it was, and somebody changed it."""
    mark = _MARK.match(text)
    if mark is None:
        return False
    return True if _digest(text[mark.end() :]) == mark[1] else None


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _jobs(wanted: Wanted) -> Iterator[_Job]:
    if wanted.received:
        about = "zborg: the whole day of an off-site"
        yield _Job("zborg-night", ("run", "--quiet"), about, "*-*-* 08:30", "30 8 * * *")
    else:
        words = ("run", "--quiet", "--allow-partial")
        about = "zborg: the whole night, from backup to scrub"
        yield _Job("zborg-night", words, about, "*-*-* 02:30", "30 2 * * *")
    if wanted.report:
        words = ("report", "--mail", "--quiet")
        yield _Job("zborg-report", words, "zborg: a report by mail", "Mon *-*-* 09:00", "0 9 * * 1")


def _command(job: _Job, wanted: Wanted) -> list[str]:
    return [wanted.program, *job.words, *(["--config", wanted.config] if wanted.config else [])]


def _cron_words(job: _Job, wanted: Wanted) -> str:
    return " ".join(map(quoted, _command(job, wanted))).replace("%", "\\%")


def _timer(job: _Job) -> str:
    return f"""[Unit]
Description={job.about}

[Timer]
OnCalendar={job.systemd}
# Machines that ask at one moment would all wait for one another.
RandomizedDelaySec=10min
# What was missed while this machine was off is made up for.
Persistent=true

[Install]
WantedBy=timers.target
"""


def _service(job: _Job, wanted: Wanted) -> str:
    # All behind the colon is the path, quotes as well.
    credential = _CREDENTIAL.format(path=wanted.secrets.replace("%", "%%")) if wanted.secrets else ""
    return f"""[Unit]
Description={job.about}
Wants=network-online.target
After=network-online.target zfs.target

[Service]
Type=oneshot
ExecStart={" ".join(map(_systemd_word, _command(job, wanted)))}
# zborg ends its children itself, in order, and leaves nothing half done.
KillMode=mixed
TimeoutStopSec=5min
UMask=0077
{credential}{_WALLS}"""


def _systemd_word(word: str) -> str:
    """systemd.syntax(7), and its specifiers and variables."""
    literal = word.replace("%", "%%").replace("$", "$$")
    if _PLAIN.fullmatch(word):
        return literal
    return '"' + literal.replace("\\", "\\\\").replace('"', '\\"') + '"'


# Without the file the night goes on, for an empty one stands in, and zborg says what it misses.
_CREDENTIAL = f"""LoadCredential={CREDENTIAL}:{{path}}
SetCredential={CREDENTIAL}:#
"""
_WALLS = """\
# Walls without a mount namespace: what is mounted in one is not seen outside, and keeps its dataset busy.
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=~@clock @cpu-emulation @debug @module @obsolete @raw-io @reboot @swap
SystemCallErrorNumber=EPERM
CapabilityBoundingSet=~CAP_AUDIT_CONTROL CAP_AUDIT_READ CAP_BLOCK_SUSPEND CAP_BPF CAP_MAC_ADMIN
CapabilityBoundingSet=~CAP_MAC_OVERRIDE CAP_SYSLOG CAP_SYS_BOOT CAP_SYS_MODULE CAP_SYS_PACCT CAP_SYS_RAWIO
CapabilityBoundingSet=~CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_WAKE_ALARM
"""
