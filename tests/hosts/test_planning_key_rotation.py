"""Which of the server's keys for a host comes, and which go: killed anywhere, one is left in the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zborg.planning.hosts.rotate_key import Rotation, ServerKey
from zborg.planning.hosts.rotate_key import plan as plan_rotation

pytestmark = pytest.mark.unit


@dataclass
class Keys:
    """A server's keys for one host, and a rotation that may be killed after any of its acts."""

    current: str = "shared"
    files: list[str] = field(default_factory=list)
    lines: set[str] = field(default_factory=lambda: {"shared"})
    count: int = 0

    def rotate(self, acts: int) -> bool:
        """Whether it came to its end."""

        def key(path: str) -> ServerKey:
            return ServerKey(path, path)

        found = plan_rotation(key(self.current), key("shared"), [key(f) for f in self.files], self.lines)
        new = found.new.path if found.new else f"key{self.count:04d}"
        steps = [partial(self._make, new), partial(self.lines.add, new), partial(self._use, new)]
        for old in found.retire:
            steps += [partial(self.lines.discard, old.path), partial(self._forget, old.path)]
        for step in steps[:acts]:
            step()
        return acts >= len(steps)

    def _make(self, new: str) -> None:
        if new != "shared" and new not in self.files:
            self.files.append(new)
            self.count += 1

    def _use(self, new: str) -> None:
        self.current = new

    def _forget(self, old: str) -> None:
        if old in self.files:
            self.files.remove(old)


@given(st.lists(st.integers(0, 9), max_size=8))
def test_rotations_killed_anywhere_end_with_one_key(kills: list[int]) -> None:
    keys = Keys()
    for acts in kills:
        keys.rotate(acts)
        assert keys.current in keys.lines, "the configured key always opens"
    assert keys.rotate(99)
    assert keys.lines == {keys.current}
    assert keys.files == [keys.current]
    assert keys.current != "shared"


def test_a_first_rotation_makes_a_key_and_retires_the_shared_one() -> None:
    shared = ServerKey("/etc/zborg/id", "a")
    assert plan_rotation(shared, shared, [], ["a"]) == Rotation(None, (shared,))
