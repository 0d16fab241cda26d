"""How many processes one backup starts on the server, whose storage is local: each costs every night.

Counted by Python's audit hook, below whatever a test has patched; what ssh and serve.sh start is theirs. ZFS
is the one in memory, whose listings are counted: on a real one each is two commands.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.harness.steps import backup
from tests.harness.watch import next_second
from tests.harness.worlds.local import LocalVault
from zborg.errors import Exit
from zborg.model import Dataset

_SETPRIV = "--"  # what comes before the command of a LocalRunner ends so


class _Hook:
    """`found` has the command lines of a block, None outside of one: an audit hook cannot be taken out."""

    found: list[list[str]] | None = None

    def __init__(self) -> None:
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "subprocess.Popen" and self.found is not None:
            argv = arguments[1]
            assert isinstance(argv, list)
            words = list(map(str, argv))
            self.found.append(words[words.index(_SETPRIV) + 1 :] if "setpriv" in words[0] else words)


_hook = _Hook()


@contextmanager
def started() -> Iterator[list[list[str]]]:
    found: list[list[str]] = []
    _hook.found = found
    try:
        yield found
    finally:
        _hook.found = None


@pytest.mark.parametrize("number", [1, 3])
def test_an_unchanged_backup_of_a_host_starts_four_and_lists_the_datasets_once(
    vault: LocalVault, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in range(number):
        vault.add(f"web{name}")
    assert backup(vault.context()).exit is Exit.OK
    next_second()
    listed: list[str] = []
    real = vault.zfs.datasets

    def datasets(root: str) -> tuple[Dataset, ...]:
        listed.append(root)
        return real(root)

    monkeypatch.setattr(vault.zfs, "datasets", datasets)
    context = vault.context()
    with started() as found:
        report = backup(context)
    assert report.exit is Exit.OK, report.outcomes
    assert listed == ["tank/borg"]
    kinds = [words[0] if words[0] != "python3" else words[5] for words in found]
    assert sorted(kinds) == sorted(["last-own", "ssh", "sh", "last"] * number)
