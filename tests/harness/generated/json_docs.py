"""docs/json.md: its tables of outcomes are made of the classes in zborg/model/results/."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from tests.harness.checkout import CHECKOUT
from zborg.model import results
from zborg.model.results import Result
from zborg.model.serial.results import classes

PAGE = CHECKOUT / "docs" / "json.md"
BEGIN, END = "<!-- made by scripts/json-docs -->\n", "<!-- end -->\n"
_WORDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (int, "whole number"),
    (float, "number"),
    (str, "text"),
    (datetime, "moment"),
    (date, "day"),
)


def page(old: str) -> str:
    """The page with its tables as they are to be."""
    head, rest = old.split(BEGIN)
    return head + BEGIN + "\n" + "\n".join(tables()) + "\n" + END + rest.split(END)[1]


def tables() -> Iterator[str]:
    """Markdown, a heading and a table for each class."""
    yield from _section("any outcome", Result)
    for cls, places in _places().items():
        yield from _section("; ".join(places), cls)


def _places() -> dict[type[Result], list[str]]:
    """By class the outcomes that it is for: those of one command, or of all that have no own."""
    found: dict[str, tuple[type[Result], list[str]]] = {}
    for (command, kind), candidates in classes().items():
        for cls in candidates:
            place = f"`{kind}` of `{command}`" if command else f"`{kind}`"
            found.setdefault(cls.__name__, (cls, []))[1].append(place)
    return {cls: places for cls, places in found.values()}


def _section(place: str, cls: type[Result]) -> Iterator[str]:
    title, _, more = inspect.cleandoc(cls.__doc__ or "").partition(". ")
    yield f"### {title.rstrip('.')} ({place})\n"
    if more:
        yield f"{more}\n"
    shared = Result._fields if cls is not Result else ()
    rows = [name for name in cls._fields if name not in shared]
    if not rows:
        return
    hints, comments = get_type_hints(cls), _comments()
    yield "| key | | what it is |\n|---|---|---|"
    for name in rows:
        owner = next(one for one in cls.__mro__ if name in one.__dict__.get("__annotations__", {}))
        key = "each name" if name == cls._by_name else f"`{name}`"
        yield f"| {key} | {_kind(hints[name], cls, name)} | {comments.get((owner.__name__, name), '')} |"
    yield ""


def _kind(kind: Any, cls: type[Result], name: str) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        (only,) = (one for one in inner if one is not NoneType)
        null = " or null" if name in cls._required else ""
        return _kind(only, cls, name) + null
    if origin is tuple:
        return f"list of: {_kind(inner[0], cls, name)}"
    if origin is Mapping:
        value = _kind(inner[1], results.NoSnapshot, "snapshot")  # null is a value there
        return value if name == cls._by_name else f"object of: {value}"
    return next(words for simple, words in _WORDS if issubclass(kind, simple))


def _comments() -> dict[tuple[str, str], str]:
    """By class and field the comment on its line."""
    found: dict[tuple[str, str], str] = {}
    for path in sorted(Path(results.__file__).parent.glob("*.py")):
        source = path.read_text(encoding="utf-8")
        lines = source.splitlines()
        found |= {
            (cls.name, line.target.id): lines[line.lineno - 1].partition("  # ")[2]
            for cls in ast.parse(source).body
            if isinstance(cls, ast.ClassDef)
            for line in cls.body
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
        }
    return found


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
