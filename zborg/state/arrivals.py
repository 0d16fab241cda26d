"""When an off-site's own zborg first saw each snapshot: a list that root owns.

`zborg:arrived` is written by the account of the sink, so a sender that got more than the sink out of that
account could write it anew. What this list calls young stays young.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from zborg import atomic
from zborg.errors import ZborgError
from zborg.model.text.units import moment, moment_of


class FirstSeen:
    """Guids with the time of the first rotation that saw them, in one file that is made with the first."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def among(self, guids: Iterable[str], now: datetime) -> Mapping[str, datetime]:
        """Those of the list, and the others as of now. Raises ZborgError when the list cannot be read."""
        known = self._read()
        return {guid: known.get(guid, now) for guid in guids}

    def put(self, seen: Mapping[str, datetime]) -> None:
        """Replace the list whole; who is not in it any more was destroyed."""
        atomic.write(self._path, json.dumps({guid: moment(at) for guid, at in seen.items()}))

    def _read(self) -> dict[str, datetime]:
        try:
            table = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(guid): _instant(at) for guid, at in table.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError) as error:
            raise ZborgError(
                f"the list of arrivals {self._path} cannot be read: {error}",
                "move it away; without it all that is there counts as new, and stays for another 30 days",
            ) from error


def _instant(words: object) -> datetime:
    at = moment_of(words)
    if at is None:
        raise ValueError(f"no time: {words!r}")
    return at
