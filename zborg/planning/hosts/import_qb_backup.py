"""Which hosts of a qb.backup configuration become which tables of zborg's, and which cannot."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from zborg.model import Endpoint
from zborg.model.enrolment import Left, Source
from zborg.model.machines import name_problem
from zborg.model.text.remedy import command, remedy
from zborg.model.text.units import counted

USER = "root"  # qb.backup logs in as nobody else
_ADDRESS = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_ZONE = re.compile(r"\w+", re.ASCII)  # of an IPv6 address, as zborg.toml takes it


def once(left: Sequence[Left]) -> tuple[Left, ...]:
    """Every key once, at its first place, and how often: each host may have one."""
    first: dict[str, Left] = {}
    for one in left:
        first.setdefault(one.key, one)
    times = Counter(one.key for one in left)
    return tuple(
        replace(one, words=f"{one.words}, like {counted(times[key] - 1, 'other')}") if times[key] > 1 else one
        for key, one in first.items()
    )


@dataclass(frozen=True, slots=True)
class Pinned:
    """A host key as zborg.toml has it, and as people compare it."""

    line: str
    fingerprint: str


class Verdict(Enum):
    """Whether a host of the file gets a hosts.d file, and if not, why."""

    WRITE = "write"
    THERE = "there"  # zborg knows this address already
    TWICE = "twice"  # named twice in the file
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Planned:
    """What becomes of one host. `name` is zborg's for it, or its hostname where it gets none."""

    source: Source
    verdict: Verdict
    name: str
    message: str
    remedy: str = ""
    host_key: str = ""

    @property
    def table(self) -> dict[str, Any]:
        """The host's table of its hosts.d file."""
        return {"ssh": url(self.source), "host_key": self.host_key, "tunnel": "reverse"}

    def line(self, directory: str) -> str:
        """For people; `directory` is where hosts.d files go."""
        if self.verdict is Verdict.WRITE:
            return f"write {directory}/{self.name}.toml: {self.message}"
        words = "refuse" if self.verdict is Verdict.REFUSE else "leave"
        return f"{words} {self.name}: {self.message}{f'; {self.remedy}' if self.remedy else ''}"


def url(source: Source) -> str:
    """The ssh:// URL as zborg writes it, by which a host is known again; the hostname in lower case."""
    return str(Endpoint(USER, source.hostname.lower(), source.port, "", ""))


Keys = Mapping[str, Pinned]  # by url; who is not there has no known key
Known = Mapping[str, str]  # the urls of the hosts that zborg has, by name


def plan(sources: Sequence[Source], keys: Keys, known: Known) -> tuple[Planned, ...]:
    """One decision per host, in the order of the file. The same input gives the same names each time."""
    names = _names(sources, known)
    seen: set[str] = set()
    planned = []
    for source in sources:
        place = url(source)
        planned.append(_twice(source) if place in seen else _one(source, names[place], keys, known))
        seen.add(place)
    return tuple(planned)


def _twice(source: Source) -> Planned:
    return Planned(source, Verdict.TWICE, source.hostname, f"{source.place} names it again")


def _one(source: Source, name: str, keys: Keys, known: Known) -> Planned:
    there = next((one for one, place in known.items() if place == url(source)), "")
    if there:
        return Planned(source, Verdict.THERE, there, f"{url(source)} is there already, left as it is")
    if not is_address(source.hostname):
        return _refused(source, "is no address that zborg can use", "give its DNS name or IP address there")
    if not name:
        words = "no name of a-z, 0-9 and - with at most 31 characters can be made of it"
        return _refused(source, words, f'write hosts.d/NAME.toml by hand: ssh = "{url(source)}"')
    if url(source) not in keys:
        return _refused(source, "no host key is known, so nothing was written", _how_to_pin(source))
    key = keys[url(source)]
    return Planned(source, Verdict.WRITE, name, f"{url(source)}, pinned {key.fingerprint}", "", key.line)


def _refused(source: Source, words: str, remedy: str) -> Planned:
    return Planned(source, Verdict.REFUSE, source.hostname, f"{source.place}: {words}", remedy)


def _how_to_pin(source: Source) -> str:
    scan = command("ssh-keyscan", "-t", "ed25519", "-p", str(source.port), source.hostname)
    return remedy(
        f"{scan} >>known_hosts",
        "ssh-keygen -lf known_hosts",
        first="compare this fingerprint with the host's own, then import with --known-hosts known_hosts:",
    )


# --- names --------------------------------------------------------------------------------------------------


def _names(sources: Sequence[Source], known: Known) -> dict[str, str]:
    """A name for every url: the first label where that is nobody else's, else all of it, "" for neither."""
    places = {url(source): source.hostname.lower() for source in sources}
    wanted = {place: _short(hostname) for place, hostname in places.items()}
    times = Counter(wanted.values())
    whole = Counter(map(_whole, places.values()))
    names = {}
    for place, hostname in places.items():
        short, long = wanted[place], _whole(hostname)
        if times[short] == 1 and _is_free(short, place, known):
            names[place] = short
        else:
            usable = whole[long] == 1 and long not in (wanted[p] for p in places if p != place)
            names[place] = long if usable and _is_free(long, place, known) else ""
    return names


def _is_free(name: str, place: str, known: Known) -> bool:
    return not name_problem(name) and known.get(name, place) == place


def _short(hostname: str) -> str:
    return _whole(hostname if _is_ip(hostname) else hostname.partition(".")[0])


def _whole(hostname: str) -> str:
    return re.sub(r"[._:%]", "-", hostname)


def is_address(hostname: str) -> bool:
    """Whether it can be part of an ssh:// URL; anything else may be an option of ssh, or no text at all."""
    return _is_ip(hostname) or _ADDRESS.fullmatch(hostname) is not None


def _is_ip(text: str) -> bool:
    try:
        zone = getattr(ipaddress.ip_address(text), "scope_id", None)
    except ValueError:
        return False
    return zone is None or _ZONE.fullmatch(zone) is not None
