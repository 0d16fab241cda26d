"""The house as a picture: the floors, their features and who uses whom, drawn from the imports.

`scripts/house` writes it into docs/design.md between two markers; tests/project/test_house.py compares.
"""

from __future__ import annotations

import ast
import re
import textwrap
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import grimp

from tests.harness.checkout import CHECKOUT

PAGE = CHECKOUT / "docs" / "design.md"
WIDTH = 110
_COMMON = ("context", "run_queries")  # of steps: what nearly all of them use
_INDENT = "    "  # a block of code in Markdown
_NAME = 12  # characters of the first column
_PACKAGE = CHECKOUT / "zborg"
_DOORS = ("cli", "steps", "planning", "tests")  # where a feature has the same name
_BEGIN, _END = "<!-- drawn by scripts/house -->\n", "<!-- end of what scripts/house draws -->\n"


def drawn_into(page: str) -> str:
    """The page with the picture of today between its markers. ValueError without them."""
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"no line {_BEGIN!r} and {_END!r}")
    return f"{before}{begin}\n{draw()}\n{end}{after}"


def draw() -> str:
    """Blocks of indented text, at most WIDTH wide."""
    graph = grimp.build_graph("zborg", cache_dir=None)
    parts = [_floors(), _features(_Uses(graph)), _below(_Uses(graph))]
    return "\n\n".join("\n".join(f"{_INDENT}{line}".rstrip() for line in part) for part in parts) + "\n"


class _Uses:
    """Which part (`steps.backup`, `state`) imports which, without imports within a part."""

    def __init__(self, graph: grimp.ImportGraph) -> None:
        self._graph = graph

    def of(self, part: str, floor: str) -> list[str]:
        """Names of the features on a floor that a part uses, itself left out."""
        imported = self._imported(part)
        named = {name.split(".")[2] for name in imported if name.startswith(f"zborg.{floor}.")}
        return sorted(named - {part.split(".")[1]} if part.startswith(f"{floor}.") else named)

    def uses(self, part: str, floor: str) -> bool:
        """Whether anything of a floor is imported."""
        top = f"zborg.{floor}"
        return any(name == top or name.startswith(f"{top}.") for name in self._imported(part))

    def _imported(self, part: str) -> set[str]:
        top = f"zborg.{part}"
        modules = [one for one in self._graph.modules if one == top or one.startswith(f"{top}.")]
        return {name for one in modules for name in self._graph.find_modules_directly_imported_by(one)}


def _layers(contract: str) -> list[list[str]]:
    """The names without `zborg.` of an import-linter contract, floor by floor."""
    contracts = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (found,) = [one["layers"] for one in contracts if one["name"].startswith(contract)]
    return [[name.removeprefix("zborg.") for name in layer.split(" | ")] for layer in found]


def _floors() -> Iterator[str]:
    inner = WIDTH - len(_INDENT) - 4
    rule = "─" * (inner + 2)
    yield f"┌{rule}┐"
    for nth, floor in enumerate(_layers("Imports only go down")):
        if nth:
            yield f"├{rule}┤"
        for name in floor:
            yield f"│ {f'{name + _kind(_PACKAGE / name):14}{_purpose(name)}':{inner}} │"
    yield f"└{rule}┘"


def _features(uses: _Uses) -> Iterator[str]:
    """Each step under its name on every floor; those it uses stand further down."""
    yield _head(_DOORS, "its step uses")
    for name in _steps():
        used = [one for one in uses.of(f"steps.{name}", "steps") if one not in _COMMON]
        yield from _row(name, {door: _kind(_door(door) / name) for door in _DOORS}, used)


def _below(uses: _Uses) -> Iterator[str]:
    """What each step uses of the floors below: of planning by name."""
    lower = [name for floor in _layers("Imports only go down")[2:5] for name in floor if name != "planning"]
    lower = [name for name in lower if any(uses.uses(f"steps.{step}", name) for step in _steps())]
    yield _head(lower, "of planning")
    for step in _steps():
        marks = {name: "x" if uses.uses(f"steps.{step}", name) else "" for name in lower}
        yield from _row(step, marks, uses.of(f"steps.{step}", "planning"))


def _head(columns: Sequence[str], last: str) -> str:
    return f"{'':{_NAME}}" + "".join(f"{column} " for column in columns) + last


def _row(name: str, cells: Mapping[str, str], names: Sequence[str]) -> Iterator[str]:
    """One line, or more where the names at its end do not fit; `cells` by their column."""
    begin = f"{name:{_NAME}}" + "".join(f"{cell:{len(column) + 1}}" for column, cell in cells.items())
    lines = textwrap.wrap(" ".join(names) or "-", WIDTH - len(_INDENT) - len(begin))
    yield begin + lines[0]
    yield from (" " * len(begin) + line for line in lines[1:])


def _steps() -> Sequence[str]:
    """From the top down, as the contract about features has them; one that it forgets is a ValueError."""
    ordered = [name.partition(".")[2] for floor in _layers("Features of a step") for name in floor]
    there = {one.stem for one in (_PACKAGE / "steps").iterdir() if not one.name.startswith("__")}
    if set(ordered) != there:
        raise ValueError(f"pyproject.toml, features of a step: {sorted(set(ordered) ^ there)}")
    return ordered


def _door(name: str) -> Path:
    return CHECKOUT / name if name == "tests" else _PACKAGE / name


def _kind(path: Path) -> str:
    """How a package or module is written behind its name."""
    return "/" if path.is_dir() else ".py" if path.with_suffix(".py").exists() else "-"


def _purpose(name: str) -> str:
    """The first sentence of a package's or module's docstring."""
    path = _PACKAGE / name / "__init__.py" if (_PACKAGE / name).is_dir() else _PACKAGE / f"{name}.py"
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return re.split(r"(?<=\.)\s", text.partition("\n\n")[0].replace("\n", " "))[0].rstrip(".")


if __name__ == "__main__":
    PAGE.write_text(drawn_into(PAGE.read_text()))
