"""Reads what is new in repositories, without a key, as a program of its own on the storage.

    python3 -I -S -c TEXT

On stdin is JSON: {"modules": the texts of wall.py, segments.py and living.py, and of digests.py where it is
needed, "seconds": for each home, "homes": [{"path": a snapshot's directory, "after", "prior": transactions,
"log": bytes, "since": seconds since 1970, "lost": transactions, or null when what is alive is not asked for},
or {"path", "objects": names of sealed objects, none: all, "until": what was the last transaction}, ...]}. Of
a home with "objects" the digests of these are computed, and nothing else is looked at; of one with "opening"
what opening.py says. On stdout come lines of ASCII, each with the number of its home first; the last of each
home is `end`, or `failed` and why.

All that is read may have been made by a hostile host. So each home is read in a process of its own, as the
user whose files they are, which may read below that directory and nothing else (Landlock, where the kernel
has it), has 256 MiB of memory and cannot start anything. What it prints is bounded, and passed on without
being looked at.

Nothing but the standard library of Python 3.9. reader.py beside it is the caller.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import select
import stat
import sys
import time
import types
from collections.abc import Callable, Iterator
from typing import IO, Any

_PIECE = 1 << 20
_MOST_SHOWN = 20  # strays and broken entries
_CONFIG = 16 << 10
_MEMORY = 256 << 20
_OUTPUT = 64 << 20  # bytes of one home: 20 TiB have 40,000 segments and 4 MiB of lines

_PLAIN = ("README", "config", "nonce", "transactions", "lock.roster")
_NUMBERED = ("index", "hints", "integrity")
_HUGE = {"index": 16 << 30, "hints": 4 << 30}
_HUGE_PLAIN = 64 << 20
_LITTER = 64 << 10
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def main() -> None:
    """One home after the other."""
    asked = json.load(sys.stdin)
    modules = {name: loaded(name, text) for name, text in asked["modules"].items()}
    for number, task in enumerate(asked["homes"]):
        relay(number, Reader(task, modules), float(asked["seconds"]))
        sys.stdout.flush()


def loaded(name: str, text: str) -> Any:
    """A module of our own, whose text came with the question."""
    module = types.ModuleType(name)
    exec(compile(text, f"{name}.py", "exec"), module.__dict__)
    return module


# --- one process for each home ------------------------------------------------------------------------------


def relay(number: int, reader: Reader, seconds: float) -> None:
    """Start the reader of one home and pass on its lines."""
    try:
        home = os.open(reader.task["path"], _DIRECTORY)
    except OSError as error:
        print(f"{number} failed open {error.errno}")
        return
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        os._exit(reader.child(home, writing))
    os.close(writing)
    os.close(home)
    why = _pass_on(number, reading, time.monotonic() + seconds)
    os.close(reading)
    if why:
        os.kill(pid, 9)
    _, status = os.waitpid(pid, 0)
    if why:
        print(f"{number} failed {why}")
    elif status:
        print(f"{number} failed status {status}")


def _pass_on(number: int, reading: int, deadline: float) -> str:
    """Until the end; why it was cut short, or nothing."""
    rest, count = b"", 0
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reading], [], [], left)[0]:
            return "timeout 0"
        chunk = os.read(reading, 1 << 16)
        count += len(chunk)
        if count > _OUTPUT:
            return "output 0"
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            plain = "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in line)
            print(f"{number} {plain}")
        if not chunk:
            return ""


def _give_up(home: int) -> None:
    """All rights but those of the user whose repository it is; root's own stay root's, behind Landlock."""
    try:
        found = os.stat("data", dir_fd=home, follow_symlinks=False)
    except FileNotFoundError:
        found = os.fstat(home)
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(limit, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    if found.st_uid and not os.geteuid():
        os.setgroups([])
        os.setresgid(found.st_gid, found.st_gid, found.st_gid)
        os.setresuid(found.st_uid, found.st_uid, found.st_uid)


# --- one home -----------------------------------------------------------------------------------------------


class Reader:
    """Reads one home. `task` is what was asked of it."""

    def __init__(self, task: dict[str, Any], modules: dict[str, Any]) -> None:
        self.task, self._modules = task, modules
        self._wall, self._segments = modules["wall"], modules["segments"]

    def child(self, home: int, writing: int) -> int:
        """The whole work of the process; returns its exit status, 0 when all was read."""
        try:
            os.fchdir(home)
            _give_up(home)
            self._wall.read_only(".")
            digests = self._modules["digests"].Digests() if "objects" in self.task else None
            resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))  # threads that it needs have begun
            for line in self._asked(home) if digests is None else self.objects(home, digests):
                os.write(writing, f"{line}\n".encode("ascii", "replace"))
            os.write(writing, b"end\n")
        except OSError as error:
            return 64 + min(error.errno or 0, 60)
        except BaseException:
            return 2
        return 0

    def _asked(self, home: int) -> Iterator[str]:
        return self.lines(home) if "opening" not in self.task else self.opening(home)

    def opening(self, home: int) -> Iterator[str]:
        """What a custodian is given of it, or whose answer one is."""
        values = _values(_contents(home, "config", _CONFIG))
        data = Data(home, _number(values, "segments_per_dir", 1000), Strays(0))
        opening = self._modules["opening"].lines
        yield from opening(data, self._segments, values.get("id", ""), self.task["opening"])
        data.close()

    def lines(self, home: int) -> Iterator[str]:
        """Of one repository, `home` being a descriptor of its directory."""
        config = _contents(home, "config", _CONFIG)
        values = _values(config)
        names = os.listdir(home)
        version = values.get("version", "") if "packs" not in names else "2"
        yield f"version {max(_whole(version), 0)}"
        if version != "1":
            yield f"total {len(names)} 0"
            return
        yield f"config {hashlib.sha256(config).hexdigest()} {len(config)}"
        yield f"nonce {_contents(home, 'nonce', 64).decode('ascii', 'replace').strip() or '-'}"
        yield _log(home, int(self.task["log"]))
        largest = _number(values, "max_segment_size", 500 << 20) + self._segments.LARGEST_ENTRY
        strays = Strays(largest)
        strays.look_at_top(home)
        data = Data(home, _number(values, "segments_per_dir", 1000), strays)
        yield from self._data(data)
        data.close()
        yield f"total {strays.files} {strays.bytes}"
        yield from strays.lines()

    def objects(self, home: int, digests: Any) -> Iterator[str]:
        """The digests of its sealed objects; of named ones also what borg would not have written."""
        values = _values(_contents(home, "config", _CONFIG))
        data = Data(home, _number(values, "segments_per_dir", 1000), Strays(0))
        last = data.last_commit(self._segments.is_committed)
        yield f"last {last} -1"
        yield f"sealed {data.listing(last)}"
        wanted, until = set(self.task["objects"]), max(last, int(self.task["until"]))
        chosen = [one for one in data.between(-1, until) if not wanted or data.name(one) in wanted]
        yield from digests.lines(data, chosen)
        work = self._segments.Work(-1, -1)
        for segment in chosen if wanted else ():
            with data.open(segment) as file, contextlib.suppress(OSError):  # that one was reported
                work.take(segment, data.name(segment), file)
        yield from (f"broken {line}" for line in work.broken[:_MOST_SHOWN])
        data.close()

    def _data(self, data: Data) -> Iterator[str]:
        after = int(self.task["after"])
        last = data.last_commit(self._segments.is_committed)
        yield f"earlier {data.listing(after)}"
        yield f"sealed {data.listing(last)}"
        work = self._segments.Work(after, int(self.task["prior"]))
        for segment in data.between(after, last):
            with data.open(segment) as file:
                size, digest = work.take(segment, data.name(segment), file)
            yield f"object {data.name(segment)} {size} {digest}"
        yield from data.touched(after, float(self.task["since"]))
        yield f"last {last} {work.before_last(last)}"
        if work.deletes and after >= 0:
            work.explain((one, data.open(one)) for one in data.between(int(self.task["prior"]), last))
        yield from work.transactions()
        if self.task.get("lost") is not None:
            living = self._modules["living"].Living
            yield from living(data, self._segments, last, list(map(int, self.task["lost"]))).lines()
        yield from (f"broken {line}" for line in work.broken[:_MOST_SHOWN])


def _contents(home: int, name: str, most: int) -> bytes:
    """Of a plain file, or nothing."""
    file = _opened(home, name)
    if file is None:
        return b""
    with file:
        return file.read(most)


def _opened(directory: int, name: str) -> IO[bytes] | None:
    try:
        number = os.open(name, _FILE, dir_fd=directory)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(number).st_mode):
        return os.fdopen(number, "rb", buffering=_PIECE)
    os.close(number)
    return None


def _values(config: bytes) -> dict[str, str]:
    lines = (line.partition(b"=") for line in config.split(b"\n"))
    pairs = ((name.strip().decode("ascii", "replace"), value.strip()) for name, _, value in lines)
    return {name: value.decode("ascii", "replace") for name, value in pairs}


def _number(values: dict[str, str], name: str, usual: int) -> int:
    text = values.get(name, "")
    return min(max(_whole(text), 1), 1 << 32) if _whole(text) > 0 else usual


def _log(home: int, before: int) -> str:
    """Size and digest of `transactions`, and the digest of what was there before."""
    file = _opened(home, "transactions")
    if file is None:
        return "log 0 - -"
    whole, first, count = hashlib.sha256(), hashlib.sha256(), 0
    with file:
        while piece := file.read(_PIECE):
            first.update(piece[: max(0, before - count)])
            whole.update(piece)
            count += len(piece)
    return f"log {count} {whole.hexdigest()} {first.hexdigest() if count >= before else '-'}"


class Strays:
    """What is no file of a repository, or larger than such a file ever is; and the count of all."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._found: list[str] = []
        self._count = self.files = self.bytes = 0

    def look_at_top(self, home: int) -> None:
        """The repository's own directory."""
        for entry in os.scandir(home):
            facts = entry.stat(follow_symlinks=False)
            stem = entry.name.partition(".")[0]
            if _is_directory_of_borg(entry.name) and stat.S_ISDIR(facts.st_mode):
                continue
            is_own = self._is_known(entry.name, stem) and stat.S_ISREG(facts.st_mode)
            if not is_own and not _is_litter(entry.name, facts):
                self.add(entry.name, facts, "stray")
            elif facts.st_size > _HUGE.get(stem, _HUGE_PLAIN):
                self.add(entry.name, facts, "huge")
            self.count(facts)

    def _is_known(self, name: str, stem: str) -> bool:
        temporary = name.endswith(".tmp") and any(name.startswith(known) for known in (*_PLAIN, *_NUMBERED))
        return name in _PLAIN or temporary or stem in _NUMBERED and _whole(name[len(stem) + 1 :]) >= 0

    def segment(self, name: str, facts: os.stat_result) -> None:
        """A file that has a segment's name and place."""
        self.count(facts)
        if facts.st_size > self._largest:
            self.add(name, facts, "huge")

    def count(self, facts: os.stat_result) -> None:
        self.files += 1
        self.bytes += facts.st_size

    def add(self, name: str, facts: os.stat_result, what: str) -> None:
        self._count += 1
        kind = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
        if len(self._found) < _MOST_SHOWN:
            shown = os.fsencode(name)[:100].hex()
            self._found.append(
                f"{what} {kind.get(stat.S_IFMT(facts.st_mode), 'special')} {facts.st_size} {shown}"
            )

    def lines(self) -> Iterator[str]:
        yield from self._found
        yield f"strays {self._count}"


def _is_directory_of_borg(name: str) -> bool:
    """Its data, its lock, and a lock that it was about to take; and ZFS's own, which may be visible."""
    return (
        name in ("data", "lock.exclusive", ".zfs")
        or name.startswith("lock.exclusive.")
        and name.endswith(".tmp")
    )


def _is_litter(name: str, facts: os.stat_result) -> bool:
    """Of file managers and file systems: hidden small files, empty directories."""
    if not name.startswith(".") and name not in ("lost+found", "Thumbs.db", "desktop.ini"):
        return False
    return stat.S_ISDIR(facts.st_mode) or stat.S_ISREG(facts.st_mode) and facts.st_size <= _LITTER


class Data:
    """The segments of one repository, by number."""

    def __init__(self, home: int, per_directory: int, strays: Strays) -> None:
        self._per, self._strays = per_directory, strays
        self._sizes: dict[int, int] = {}
        self._changed: dict[int, float] = {}
        self._folders: dict[int, int] = {}
        self._top: list[int] = []
        try:
            data = os.open("data", _DIRECTORY, dir_fd=home)
        except OSError:
            return
        self._top.append(data)
        for entry in os.scandir(data):
            number = _whole(entry.name)
            if number >= 0 and entry.is_dir(follow_symlinks=False):
                self._folder(number, os.open(entry.name, _DIRECTORY, dir_fd=data), f"data/{entry.name}")
            else:
                strays.add(f"data/{entry.name}", entry.stat(follow_symlinks=False), "stray")

    def _folder(self, number: int, folder: int, where: str) -> None:
        self._folders[number] = folder
        for entry in os.scandir(folder):
            facts = entry.stat(follow_symlinks=False)
            place = f"{where}/{entry.name}"
            segment = _whole(entry.name)
            if segment < 0 or segment // self._per != number or not stat.S_ISREG(facts.st_mode):
                self._strays.add(place, facts, "stray")
            else:
                self._strays.segment(place, facts)
                self._sizes[segment] = facts.st_size
                self._changed[segment] = facts.st_ctime

    def close(self) -> None:
        """Its directories are open until then."""
        for folder in (*self._folders.values(), *self._top):
            os.close(folder)

    def name(self, segment: int) -> str:
        return f"{segment // self._per}/{segment}"

    def size(self, segment: int) -> int:
        return self._sizes[segment]

    def open(self, segment: int) -> IO[bytes]:
        number = os.open(str(segment), _FILE, dir_fd=self._folders[segment // self._per])
        return os.fdopen(number, "rb", buffering=_PIECE)

    def between(self, after: int, last: int) -> list[int]:
        """The segments behind `after` up to `last`, in order."""
        return sorted(segment for segment in self._sizes if after < segment <= last)

    def last_commit(self, is_committed: Callable[[IO[bytes]], bool]) -> int:
        """As borg finds it: the last segment that ends with a commit; -1 without one."""
        for segment in sorted(self._sizes, reverse=True):
            with self.open(segment) as file:
                if is_committed(file):
                    return segment
        return -1

    def listing(self, last: int) -> str:
        """Count, bytes, and a digest of the numbers and sizes of the segments up to `last`."""
        digest, count, size = hashlib.sha256(), 0, 0
        for segment in self.between(-1, last):
            digest.update(b"%d %d\n" % (segment, self._sizes[segment]))
            count += 1
            size += self._sizes[segment]
        return f"{count} {size} {digest.hexdigest()}"

    def touched(self, after: int, since: float) -> Iterator[str]:
        """Segments that were sealed before and whose inode changed since: they are read again."""
        for segment in self.between(-1, after):
            if self._changed[segment] > since:
                with self.open(segment) as file:
                    yield f"touched {self.name(segment)} {self._sizes[segment]} {_digest(file)}"


def _whole(name: str) -> int:
    """The number that a name is, written as borg writes it; -1 for any other name."""
    plain = name.isascii() and name.isdigit() and len(name) <= 10
    return int(name) if plain and str(int(name)) == name else -1


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while piece := file.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest()


if __name__ == "__main__":
    main()
