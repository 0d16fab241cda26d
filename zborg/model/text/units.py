"""Durations, sizes and moments in words: one way everywhere, in reasons, findings and reports."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

_UNITS = ((86_400, "days"), (3_600, "hours"), (60, "minutes"))
_BINARY = ("KiB", "MiB", "GiB", "TiB", "PiB")


def duration(seconds: float) -> str:
    """In the largest unit of which there are at least two, rounded down: 26 hours, 35 days."""
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return counted(int(seconds), "second")


def span(seconds: float) -> str:
    """How long something took: 2.1 s below two minutes, then as duration()."""
    return f"{seconds:.1f} s" if seconds < 120 else duration(seconds)


def counted(number: int, noun: str) -> str:
    """1 host, 2 hosts. For nouns whose plural ends in s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def size(number: float) -> str:
    """Bytes in the largest binary unit of which there is at least one: 700.0 MiB."""
    exponent = min(max(int(number).bit_length() - 1, 0) // 10, len(_BINARY))
    if exponent == 0:
        return counted(int(number), "byte")
    return f"{number / 1024**exponent:.1f} {_BINARY[exponent - 1]}"


# Control characters, C1 included, what else in Unicode ends a line or turns its direction, and the halves of
# pairs that stand for bytes that are no UTF-8.
_TURNS = (0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_UNPRINTABLE = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), *_TURNS], " ") | dict.fromkeys(
    range(0xD800, 0xE000), "?"
)


def printable(text: str) -> str:
    """Text of another machine, as one line that cannot steer the reader's terminal."""
    return text.translate(_UNPRINTABLE)


# PASSWORD=..., "token": "...", --password ..., Authorization: Bearer ..., and the password of a URL.
_SECRET = re.compile(
    r"""(?ix)
    ( (?:pass(?:word|phrase|wd)? | pwd | token | secret | credential | (?:api|access|private)[_-]?key)
      [\w-]{0,40} ['"]? [ ]*[=:][ ]*
    | authorization ['"]? [ ]*[=:][ ]* (?:\w+[ ])?
    | --(?:pass(?:word|phrase|wd)? | token | secret)[ ] )
    (?: "[^"\n]*"? | '[^'\n]*'? | \S+ )
    | ( ://[^/\s:@]{0,256}: ) \S{1,256} (?=@)"""
)


def masked(text: str) -> str:
    """Without what looks like a secret: a host's own log goes out into mail."""
    return _SECRET.sub(lambda found: f"{found[1] or found[2]}***", text)


def moment_of(text: object) -> datetime | None:
    """The instant in such text, None for anything else: it comes from files."""
    try:
        at = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return at if at and at.tzinfo else None


def to_second(at: datetime) -> datetime:
    """As moment() writes it and a reader gets it back: a result is the same before it is saved and after."""
    return at.replace(microsecond=0)


@lru_cache(maxsize=4096)  # a fleet's report is written again with each host's end, every moment in it too
def moment(at: datetime) -> str:
    """UTC to the second, with Z."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
