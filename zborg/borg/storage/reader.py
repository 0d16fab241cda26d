"""What is in snapshots of repositories, or new in them: asks reading.py on the storage, reads its answer.

Every line comes from a process that looked at what a hostile host may have made: it is taken as that
process's word, bounded and typed, and what does not fit is no answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from zborg.errors import CommandFailed, ZborgError
from zborg.model import Runner
from zborg.model.ledger.sealed import (
    Digested,
    Listing,
    Living,
    Log,
    Lost,
    Malformed,
    News,
    SealedObject,
    Stray,
    Transaction,
)
from zborg.model.text.remedy import command, on

_HERE = Path(__file__).parent
_WALL = _HERE.parents[1] / "hosts" / "wall.py"  # its text: what is confined there is confined here
MODULES = (_WALL, _HERE / "segments.py", _HERE / "living.py")
"""What every answer needs."""

WHOLE_DAY = 86400.0  # seconds; a first look reads the whole repository
_STARTING = 60.0
_NOT_FOUND = 127
_DIGEST, _NUMBER, _NAME = (
    re.compile(r"[0-9a-f]{64}"),
    re.compile(r"-1|[0-9]{1,18}"),
    re.compile(r"[0-9]{1,10}/[0-9]{1,10}"),
)
_T = TypeVar("_T")
_NONCE = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Look:
    """A snapshot's directory, and what was known of the repository before; -1 is nothing."""

    path: str
    after: int = -1  # the last transaction that was looked at
    prior: int = -1  # the one before it
    log: int = 0  # bytes of the list of commits
    since: float = 0.0  # seconds since 1970; a sealed object that changed later is read again
    lost: tuple[int, ...] | None = None  # transactions whose deletes are weighed; None: not what is alive


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why there is no answer, for a person. `begun` False: nothing of the repository was looked at."""

    reason: str
    begun: bool = True


def look_at(storage: Runner, looks: Sequence[Look], seconds: float = WHOLE_DAY) -> list[News | Unreadable]:
    """In one command, `seconds` at most for each; the answers are in the order of `looks`.

    `storage` runs as root there. Raises ZborgError when the command itself fails.
    """
    if not looks:
        return []
    return [_answer(some) for some in ask(storage, [_asked(one) for one in looks], MODULES, seconds)]


def digest(
    storage: Runner, path: str, names: Sequence[str] = (), until: int = -1, seconds: float = WHOLE_DAY
) -> Digested | Unreadable:
    """The digests of a snapshot's sealed objects (below the directory `path`), or of those of these names.

    All of it is read. What was sealed once, up to the transaction `until`, is read although its commit may be
    damaged now. `storage` runs as root there. Raises ZborgError when the command itself fails.
    """
    asked = {"path": path, "objects": list(names), "until": until}
    (lines,) = ask(storage, [asked], (*MODULES, _HERE / "digests.py"), seconds)
    return typed(lines, _digested)


def ask(
    storage: Runner, homes: Sequence[Mapping[str, Any]], modules: Sequence[Path], seconds: float
) -> list[list[str]]:
    """The lines of each home. Raises ZborgError when the command itself fails."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in modules}
    asked = {"modules": texts, "seconds": seconds, "homes": homes}
    argv = ["python3", "-I", "-S", "-c", (_HERE / "reading.py").read_text(encoding="utf-8")]
    try:
        done = storage.run(argv, timeout=_STARTING + seconds * len(homes), stdin=json.dumps(asked))
    except CommandFailed as error:
        if error.status != _NOT_FOUND:
            raise
        fix = on("the storage", command("apt-get", "install", "python3"))
        raise ZborgError("the storage has no python3, with which zborg reads repositories", fix) from error
    return _by_home(done.stdout, len(homes))


def _asked(look: Look) -> Mapping[str, Any]:
    return {name: getattr(look, name) for name in ("path", "after", "prior", "log", "since", "lost")}


def parse(output: str, count: int) -> list[News | Unreadable]:
    """The answers of `count` homes. Raises nothing, whatever the text is."""
    return [_answer(some) for some in _by_home(output, count)]


def parse_digested(output: str) -> Digested | Unreadable:
    """The answer of one home that was asked for digests. Raises nothing either."""
    (lines,) = _by_home(output, 1)
    return typed(lines, _digested)


def _by_home(output: str, count: int) -> list[list[str]]:
    lines: list[list[str]] = [[] for _ in range(count)]
    for line in output.split("\n"):
        number, _, rest = line.partition(" ")
        if _NUMBER.fullmatch(number) and 0 <= int(number) < count:
            lines[int(number)].append(rest)
    return lines


def _answer(lines: Sequence[str]) -> News | Unreadable:
    return typed(lines, _news)


def typed(lines: Sequence[str], read: Callable[[Sequence[str]], _T]) -> _T | Unreadable:
    """What `read` makes of the lines of one home; `read` raises ValueError for what does not fit."""
    if lines and lines[-1].startswith("failed "):
        words = lines[-1].split(" ")[1:]
        return Unreadable(_reason(words), begun=words[0] != "open")
    if not lines or lines[-1] != "end":
        return Unreadable("the program that reads it ended without an answer")
    try:
        return read(lines[:-1])
    except ValueError as error:
        return Unreadable(f"the program that reads it gave an answer that is none: {error}")


def _reason(words: Sequence[str]) -> str:
    kind, number = (*words, "", "")[:2]
    if kind == "timeout":
        return "it was not read in time"
    if kind == "output":
        return "more was found in it than a repository can have"
    if kind == "open":
        return f"its snapshot's directory cannot be opened (errno {number})"
    return f"the program that reads it ended early (wait status {number})"


_PARTS: dict[str, Callable[[News, Sequence[str]], News]] = {
    "version": lambda news, words: replace(news, version=_number(words[0])),
    "config": lambda news, words: replace(news, config=_digest(words[0])),
    "nonce": lambda news, words: replace(news, nonce=_nonce(words[0])),
    "log": lambda news, words: replace(news, log=_log(words)),
    "earlier": lambda news, words: replace(news, earlier=_listing(words)),
    "sealed": lambda news, words: replace(news, sealed=_listing(words)),
    "last": lambda news, words: replace(news, last=_number(words[0]), prior=_number(words[1])),
    "total": lambda news, words: replace(news, files=_number(words[0]), bytes=_number(words[1])),
    "strays": lambda news, words: replace(news, stray_count=_number(words[0])),
    "living": lambda news, words: replace(news, living=_living(words)),
    "gain": lambda news, words: replace(news, living=_with_gain(news.living, words)),
}


def _news(lines: Iterable[str]) -> News:
    """Raises ValueError, with the line that does not fit."""
    news = News(0)
    many: dict[str, list[Any]] = {kind: [] for kind in _MANY}
    for line in lines:
        kind, *words = line.split(" ")
        try:
            if kind in _PARTS:
                news = _PARTS[kind](news, words)
            else:
                many[kind].append(_MANY[kind](words))
        except (IndexError, KeyError, ValueError) as error:
            raise ValueError(f"{line[:80]!r}") from error
    return replace(
        news,
        objects=tuple(many["object"]),
        touched=tuple(many["touched"]),
        transactions=tuple(many["transaction"]),
        strays=(*many["stray"], *many["huge"]),
        malformed=tuple(many["broken"]),
        living=news.living and replace(news.living, lost=tuple(many["lost"])),
    )


def _digested(lines: Iterable[str]) -> Digested:
    """Raises ValueError, with the line that does not fit."""
    found = Digested()
    many: dict[str, list[Any]] = {"object": [], "unread": [], "broken": []}
    for line in lines:
        kind, *words = line.split(" ")
        try:
            if kind == "last":
                found = replace(found, last=_number(words[0]))
            elif kind == "sealed":
                found = replace(found, sealed=_listing(words))
            elif kind == "unread":
                many[kind].append((_name(words[0]), _number(words[1])))
            else:
                many[kind].append(_MANY[kind](words))
        except (IndexError, KeyError, ValueError) as error:
            raise ValueError(f"{line[:80]!r}") from error
    return replace(
        found,
        objects=tuple(many["object"]),
        unread=tuple(many["unread"]),
        malformed=tuple(many["broken"]),
    )


_MANY: dict[str, Callable[[Sequence[str]], Any]] = {
    "object": lambda words: _object(words),
    "touched": lambda words: _object(words),
    "transaction": lambda words: _transaction(words),
    "stray": lambda words: _stray(words, huge=False),
    "huge": lambda words: _stray(words, huge=True),
    "lost": lambda words: Lost(_number(words[0]), _number(words[1]), _number(words[2])),
    "broken": lambda words: Malformed(_name(words[0]), _number(words[1]), words[2][:20]),
}


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    return int(text)


def _digest(text: str) -> str:
    if text != "-" and not _DIGEST.fullmatch(text):
        raise ValueError(text)
    return text.strip("-")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(text)
    return text


def _nonce(text: str) -> int | None:
    return int(text, 16) if _NONCE.fullmatch(text) else None


def _log(words: Sequence[str]) -> Log:
    return Log(_number(words[0]), _digest(words[1]), _digest(words[2]))


def _listing(words: Sequence[str]) -> Listing:
    return Listing(_number(words[0]), _number(words[1]), _digest(words[2]))


def _living(words: Sequence[str]) -> Living:
    return Living(_number(words[0]), _number(words[1]), _digest(words[2]), _number(words[3]))


def _with_gain(living: Living | None, words: Sequence[str]) -> Living:
    if living is None:
        raise ValueError("what is alive comes first")
    return replace(living, gain=_number(words[0]), copied=_number(words[1]))


def _object(words: Sequence[str]) -> SealedObject:
    return SealedObject(_name(words[0]), _number(words[1]), _digest(words[2]))


def _transaction(words: Sequence[str]) -> Transaction:
    number, puts, size, manifest, deletes, checkpoints, rewrites = map(_number, words)
    written = manifest if manifest >= 0 else None
    return Transaction(number, puts, size, written, deletes, checkpoints, rewrites)


def _stray(words: Sequence[str], *, huge: bool) -> Stray:
    name = bytes.fromhex(words[2]).decode("utf-8", "replace")
    return Stray(name, words[0][:20], _number(words[1]), huge)
