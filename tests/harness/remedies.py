"""Every remedy that zborg's source can print, read from its syntax trees.

A site is an expression that becomes a remedy: the argument `remedy` of a call, by keyword or by position for
the classes and functions that have such a parameter. Names are followed to what the same function assigns to
them, conditional expressions and `or` to each branch. Parts known at run time only are replaced by a sample.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import zborg
from zborg.model.text.remedy import is_command

SOURCE = Path(zborg.__file__).parent
SAMPLE = "sample"
Names = Mapping[str, list[ast.expr]]
# Programs with at least one word after them: a sentence that names one holds a command.
_TYPED = re.compile(
    r"\b(zborg (init|run|backup|snapshot|rotate|replicate|scrub|status|doctor|host|holds|restore|log)\b"
    r"|zborg (history|report|notify|sink|import)\b|zborg-agent --|zpool [a-z]+|ssh-keygen |mkdir |rm -"
    r"|zfs (allow|clone|create|destroy|get|hold|inherit|list|load-key|mount|receive|release|rename)\b"
    r"|zfs (rollback|send|set|unallow)\b|apt-get |chmod |chown |useradd |usermod |systemctl |timedatectl "
    r"|borg (break-lock|check|create|delete|list|extract|key)\b)"
)
# zborg's own commands with options alone: a word of a sentence would pass for the name of a host.
_OWN = re.compile(
    r"zborg (init|run|backup|snapshot|rotate|replicate|scrub|status|doctor|history|report|log"
    r"|(host|holds) list|holds release|notify test)( --[a-z-]+)*"
)


@dataclass(frozen=True, slots=True)
class Site:
    """One expression that becomes a remedy."""

    path: Path
    line: int
    text: str  # its source

    def __str__(self) -> str:
        return f"{self.path.relative_to(SOURCE.parent)}:{self.line}: {self.text}"


@dataclass(frozen=True, slots=True)
class Command:
    """A call of `remedy.command` and its words; None for a word that is known at run time alone."""

    site: Site
    words: tuple[str | None, ...]


@cache
def modules() -> tuple[tuple[Path, ast.Module], ...]:
    """All but the one that builds remedies, parsed once: every worker does it to collect its tests."""
    paths = sorted(path for path in SOURCE.rglob("*.py") if path.name != "remedy.py")
    return tuple((path, ast.parse(path.read_text())) for path in paths)


def sites() -> Iterator[Site]:
    """Every text that becomes a remedy and is not built by model/text/remedy.py."""
    known = _positions()
    for path, tree in modules():
        for scope in _scopes(tree):
            names = _assigned(scope)
            for call in _calls(scope):
                argument = _remedy_of(call, known)
                if argument is not None:
                    yield from (
                        Site(path, call.lineno, text) for text in _texts(argument, names, frozenset())
                    )


def loose_sentences() -> Iterator[Site]:
    """Sites whose text holds a command and is not built by model/text/remedy.py."""
    for site in sites():
        if _TYPED.search(site.text) and not _is_whole(site.text):
            yield site


def whole_lines() -> Iterator[str]:
    """Remedies that are one command without anything known at run time only."""
    return (site.text for site in sites() if _is_whole(site.text))


def _is_whole(text: str) -> bool:
    """One command and nothing else, with nothing in it that would have to be quoted."""
    if text.startswith("zborg "):
        return bool(_OWN.fullmatch(text))
    return is_command(text) and SAMPLE not in text and not re.search(r"[,;:|&<>]", text)


def commands() -> Iterator[Command]:
    """Every call of `remedy.command` (or `command`) with its words."""
    for path, tree in modules():
        for call in _calls(tree):
            if _name(call.func) in ("command", "remedy.command") and call.args:
                site = Site(path, call.lineno, ast.unparse(call))
                yield Command(site, tuple(_word(argument) for argument in call.args))


def _scopes(tree: ast.Module) -> Iterator[ast.AST]:
    """Each function, and what stands outside of all: the tables of a module."""
    outside = [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    yield ast.Module(outside, [])
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield node


def _calls(scope: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(scope) if isinstance(node, ast.Call))


def _name(function: ast.expr) -> str:
    return ast.unparse(function)


def _positions() -> Mapping[str, int]:
    """By the name of a class or function of zborg: the place of its parameter `remedy`."""
    places = {"CommandFailed": 4, "TimedOut": 4, "Unreachable": 4, "KeyRefused": 4, "HostKeyChanged": 4}
    places |= dict.fromkeys(("UsageError", "Busy", "Conflict", "Damage", "Interrupted"), 1)
    for _, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                fields = [one.target.id for one in node.body if _is_field(one)]  # type: ignore[attr-defined]  # seen
                if "remedy" in fields:
                    places[node.name] = fields.index("remedy")
                for one in node.body:
                    if isinstance(one, ast.FunctionDef) and one.name == "__init__":
                        places |= _parameter(node.name, one, skip=1)
            elif isinstance(node, ast.FunctionDef) and node.name != "__init__":
                places |= _parameter(node.name, node, skip=int("self" in [a.arg for a in node.args.args]))
    return places


def _is_field(node: ast.stmt) -> bool:
    return isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)


def _parameter(name: str, function: ast.FunctionDef, skip: int) -> dict[str, int]:
    names = [argument.arg for argument in function.args.args][skip:]
    return {name: names.index("remedy")} if "remedy" in names else {}


def _remedy_of(call: ast.Call, known: Mapping[str, int]) -> ast.expr | None:
    for keyword in call.keywords:
        if keyword.arg == "remedy":
            return keyword.value
    place = known.get(_name(call.func).rpartition(".")[2])
    return call.args[place] if place is not None and place < len(call.args) else None


def _assigned(scope: ast.AST) -> dict[str, list[ast.expr]]:
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                _bind(target, node.value, found)
        elif (
            isinstance(node, ast.AnnAssign | ast.NamedExpr)
            and isinstance(node.target, ast.Name)
            and node.value
        ):
            found.setdefault(node.target.id, []).append(node.value)
    return found


def _bind(target: ast.expr, value: ast.expr, found: dict[str, list[ast.expr]]) -> None:
    if isinstance(target, ast.Name):
        found.setdefault(target.id, []).append(value)
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, part in zip(target.elts, value.elts, strict=False):
            _bind(one, part, found)


def _texts(node: ast.expr, names: Names, seen: frozenset[str]) -> Iterator[str]:
    """The strings that this expression may be, without those that model/text/remedy.py builds."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr():
            yield "".join(_part(part) for part in node.values)
        case ast.IfExp():
            yield from _texts(node.body, names, seen)
            yield from _texts(node.orelse, names, seen)
        case ast.BoolOp():
            for part in node.values:
                yield from _texts(part, names, seen)
        case ast.BinOp(op=ast.Add()):
            yield from ("".join(pair) for pair in _sums(node, names, seen))
        case ast.Name(id=name) if name in names and name not in seen:
            for value in names[name]:
                yield from _texts(value, names, seen | {name})
        case _:
            return


def _sums(
    node: ast.BinOp, names: Mapping[str, list[ast.expr]], seen: frozenset[str]
) -> Iterator[tuple[str, str]]:
    left = list(_texts(node.left, names, seen)) or [SAMPLE]
    right = list(_texts(node.right, names, seen)) or [SAMPLE]
    return ((one, other) for one in left for other in right)


def _part(part: ast.expr) -> str:
    return part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else SAMPLE


def _word(argument: ast.expr) -> str | None:
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        return argument.value
    if isinstance(argument, ast.JoinedStr):
        return "".join(map(_part, argument.values))
    return None


def sentences() -> Iterator[Site]:
    """What is written for people: the argument `first`, and a remedy that is no command at all."""
    for path, tree in modules():
        for scope in _scopes(tree):
            names = _assigned(scope)
            for call in _calls(scope):
                for keyword in call.keywords:
                    if keyword.arg == "first":
                        yield from (
                            Site(path, call.lineno, text)
                            for text in _texts(keyword.value, names, frozenset())
                        )
