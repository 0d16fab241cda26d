"""What the commands adapter makes of a long list: how many commands, how long, and what each names.

The words are those that OpenZFS 2.3.9 answers with; tests/zfs/contract asks the real one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from zborg.errors import CommandFailed
from zborg.model import Child
from zborg.model.running import Completed
from zborg.zfs.commands import CommandZfs

pytestmark = pytest.mark.unit

WEB = "tank/borg/web1"
NAMES = [f"zborg_2026-{1 + n // 672:02}-{1 + n % 672 // 24:02}T{n % 24:02}0000Z" for n in range(2000)]


class Pool:
    """A Runner to which a zfs of one dataset answers. `before` is called with each command."""

    def __init__(self, names: Sequence[str]) -> None:
        self.guids = {name: str(1000 + number) for number, name in enumerate(names)}
        self.holds: dict[str, str] = {}
        self.ran: list[tuple[str, ...]] = []
        self.before: Callable[[tuple[str, ...]], None] = lambda _: None

    def run(
        self, argv: Sequence[str], *, timeout: float = 60, stdin: str = "", max_bytes: int = 0
    ) -> Completed:
        command = tuple(argv)
        self.before(command)
        self.ran.append(command)
        return Completed(0, self._answer(command), "")

    def start(self, argv: Sequence[str], *, stdin: int, stdout: int) -> Child:
        raise NotImplementedError

    def _answer(self, command: tuple[str, ...]) -> str:
        if "holds" in command:
            snapnames = [full.partition("@")[2] for full in command[command.index("-H") + 1 :]]
            return "".join(f"{WEB}@{raw}\t{self.holds[raw]}\tMon Nov  2  6:29 2026\n" for raw in snapnames)
        snapnames = [raw for word in command if "@" in word for raw in word.partition("@")[2].split(",")]
        if command[1] == "list" and "-r" in command:
            snapnames = list(self.guids)
        if command[1] == "list":
            if gone := [raw for raw in snapnames if raw not in self.guids]:
                self._fail(command, f"cannot open '{WEB}@{gone[0]}': dataset does not exist")
            return "".join(self._row(raw) for raw in snapnames)
        if "-n" in command:
            return "".join(f"destroy\t{WEB}@{raw}\n" for raw in snapnames) + f"reclaim\t{len(snapnames)}\n"
        if held := [raw for raw in snapnames if raw in self.holds]:
            self._fail(command, f"cannot destroy snapshot {WEB}@{held[0]}: it's being held.")
        for raw in snapnames:
            self.guids.pop(raw)
        return ""

    def _row(self, raw: str) -> str:
        return f"{WEB}@{raw}\t{self.guids[raw]}\t7\t1795504086\t0\t{int(raw in self.holds)}\t-\n"

    def _fail(self, command: tuple[str, ...], text: str) -> None:
        raise CommandFailed(command, 1, text)


def test_two_thousand_snapshots_are_destroyed_by_a_few_commands_of_bounded_length() -> None:
    pool = Pool(NAMES)
    pool.holds[NAMES[7]] = "mine"
    doomed = dict(pool.guids) | {NAMES[8]: "1"}
    assert CommandZfs(pool).destroy(WEB, doomed) == tuple(n for n in NAMES if n not in NAMES[7:9])
    assert list(pool.guids) == NAMES[7:9]
    assert [command[1] for command in pool.ran] == ["list", "destroy"] * 2
    assert all(len(" ".join(command)) < 128 * 1024 for command in pool.ran)


def test_what_is_gone_costs_one_listing_and_keeps_no_other() -> None:
    pool = Pool(NAMES[:3])
    assert CommandZfs(pool).destroy(WEB, {"gone": "1", **pool.guids}) == tuple(NAMES[:3])
    assert [command[1] for command in pool.ran] == ["list", "list", "destroy"]


def test_a_hold_placed_at_that_very_moment_is_named() -> None:
    pool = Pool(NAMES[:3])

    def hold(command: tuple[str, ...]) -> None:
        if command[1] == "destroy":
            pool.holds[NAMES[1]] = "zborg:keep:ops:-"

    pool.before = hold
    with pytest.raises(CommandFailed, match=f"held by zborg:keep:ops:- on {WEB}@{NAMES[1]}") as caught:
        CommandZfs(pool).destroy(WEB, dict(pool.guids))
    assert caught.value.remedy and len(pool.guids) == 3


def test_freed_asks_for_all_together_as_long_as_a_command_line_can_take_them() -> None:
    pool = Pool(NAMES)
    zfs = CommandZfs(pool)
    assert (zfs.freed(WEB, NAMES[:1400]), len(pool.ran)) == (1400, 1)
    assert (zfs.freed(WEB, NAMES), len(pool.ran)) == (2000, 3)
    assert len(pool.guids) == 2000
