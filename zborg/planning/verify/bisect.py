"""The newest snapshot in which something is still whole, by as few looks as possible."""

from __future__ import annotations

from collections.abc import Callable


def newest_whole(count: int, is_whole: Callable[[int], bool]) -> int | None:
    """Of snapshots 0 to `count` - 1, the oldest first; None when it is whole in none.

    What was changed once stays so in all later snapshots: who changed it and put it back again in between is
    not looked for. `is_whole` is asked once for each of about log2(count) snapshots.
    """
    whole, damaged = -1, count
    while damaged - whole > 1:
        middle = (whole + damaged) // 2
        if is_whole(middle):
            whole = middle
        else:
            damaged = middle
    return whole if whole >= 0 else None
