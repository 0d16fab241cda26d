"""The rule that a remedy is a command that works, for every remedy in zborg's source.

The lab types those for ZFS (test_remedies_lab.py); here all of them are read from the syntax trees, and
what zborg itself is to do is parsed by its own command line.
"""

from __future__ import annotations

import ast
import shlex
from collections.abc import Sequence

import pytest
import typer
from typer._click.core import Command, Context
from typer._click.exceptions import UsageError
from typer.core import TyperGroup

from tests.harness import remedies
from zborg.cli.main import application
from zborg.model.text import remedy


def test_no_sentence_holds_a_command() -> None:
    """Commands are built by model/text/remedy.py, which quotes them and puts each on a line of its own."""
    assert [str(site) for site in remedies.loose_sentences()] == []


def test_every_command_begins_with_a_program_that_a_screen_knows_as_one() -> None:
    found = list(remedies.commands())
    assert len(found) > 60
    unknown = [str(one.site) for one in found if one.words[0] and not remedy.is_command(one.words[0])]
    assert unknown == []


def zborg_commands() -> list[tuple[str, ...]]:
    """What zborg is told to do in a remedy; a word known at run time alone is a sample."""
    built = [one.words for one in remedies.commands() if one.words[0] == "zborg"]
    lines = {tuple(word or remedies.SAMPLE for word in words) for words in built}
    return sorted(
        lines | {tuple(shlex.split(line)) for line in remedies.whole_lines() if line.startswith("zborg ")}
    )


@pytest.mark.parametrize("words", zborg_commands(), ids=" ".join)
def test_zborg_understands_every_command_of_its_own_that_it_prints(words: tuple[str, ...]) -> None:
    parse(words[1:])


@pytest.mark.parametrize("line", ["zborg rnu", "zborg host add --quota", "zborg rotate --relase web1"])
def test_a_command_that_does_not_exist_is_noticed(line: str) -> None:
    with pytest.raises(UsageError):
        parse(shlex.split(line)[1:])


def parse(words: Sequence[str]) -> None:
    """Parse as zborg does, without running anything. Raises UsageError."""
    command: Command = typer.main.get_command(application(words))
    context, rest = None, list(words)
    while isinstance(command, TyperGroup):
        context = Context(command, parent=context, info_name=command.name)
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None, name
        command = found
    command.make_context(command.name, rest, parent=context)


@pytest.mark.parametrize(
    "source",
    [
        'raise ZborgError("no", "zborg init makes it")',
        'x = "zfs mount it, then go on"\nraise ZborgError("no", x)',
        'raise ZborgError("no", f"chmod 0600 {path}")',
        'raise ZborgError("no", remedy="see it: zpool status -v" if bad else "")',
        'Finding("a", level, "no", told or "run zborg backup again")',
    ],
)
def test_an_offender_is_found_wherever_it_stands(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "\n".join(f"    {line}" for line in source.split("\n"))
    tree = ast.parse(f"def offend(bad, told, path, level):\n{body}\n")
    own = list(remedies.modules())
    monkeypatch.setattr(remedies, "modules", lambda: [*own, (remedies.SOURCE / "offender.py", tree)])
    assert any("offender.py" in str(site) for site in remedies.loose_sentences())


@pytest.mark.parametrize(
    "source",
    [
        'TABLE = {1: Meaning(Status.FAILED, "no", "run zborg backup again")}',
        'NO = (Finding("a", level, "no", "chmod 0600 it, then go on"),)',
        '_X = "zfs mount it, then go on"\nTABLE = [ZborgError("no", _X)]',
    ],
)
def test_an_offender_in_a_table_of_a_module_is_found(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = list(remedies.modules())
    offender = (remedies.SOURCE / "offender.py", ast.parse(source))
    monkeypatch.setattr(remedies, "modules", lambda: [*own, offender])
    assert any("offender.py" in str(site) for site in remedies.loose_sentences())


def test_no_sentence_begins_like_a_command() -> None:
    """ "find out who" would be shown, and typed, as find(1)."""
    found = list(remedies.sentences())
    assert len(found) > 40
    assert [str(site) for site in found if remedy.is_command(site.text)] == []
