"""The memory that `borg serve` may take of the storage's machine, and how many fit into it at once.

Every `borg serve` has a limit, since what it parses comes from a host that may be hostile. Several that lie
about their chunks at once must not have the machine's other processes killed: so the limits of all that are
at work have to fit into the memory. Pure; sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

SERVE_LIMIT = 4 << 30
"""Address space that serve.sh allows one `borg serve` (`limit -v`) when zborg asks for no less."""

SERVE_LEAST = 1 << 30
"""The least that zborg asks for: room for some seven million chunks at about 100 bytes each."""

_PROGRAM = 256 << 20  # borg and Python themselves
_GROWS = 4  # times the index as it lies there: it is copied while it grows
_UNKNOWN = 4  # hosts at once where the memory is not known


def limit_of(index: int | None) -> int:
    """What the `borg serve` of a repository may take, by the size of its index; None: there is none yet.

    A first backup may bring any number of chunks, so it gets all that there is.
    """
    if index is None:
        return SERVE_LIMIT
    return min(SERVE_LIMIT, max(SERVE_LEAST, _PROGRAM + _GROWS * index))


@dataclass(frozen=True, slots=True)
class Room:
    """The machine's `memory` with its swap, None: not known; by host the limit of its `borg serve`."""

    memory: int | None
    limits: Mapping[str, int] = field(default_factory=dict)

    @property
    def fits(self) -> int:
        """How many fit at once, when those with the smallest limits are at work: at least one."""
        if self.memory is None:
            return _UNKNOWN
        sums = accumulate(sorted(self.limits.values()))
        return max(1, sum(one <= self.memory for one in sums))

    def begin(self, waiting: Sequence[str], at_work: Sequence[str]) -> int:
        """How many of the waiting, in their order, fit beside those at work; one always does alone."""
        if self.memory is None:
            return len(waiting)
        taken = sum(self.limits.get(name, SERVE_LIMIT) for name in at_work)
        sums = list(accumulate((self.limits.get(name, SERVE_LIMIT) for name in waiting), initial=taken))[1:]
        fit = sum(one <= self.memory for one in sums)
        return fit if at_work else max(fit, min(1, len(waiting)))
