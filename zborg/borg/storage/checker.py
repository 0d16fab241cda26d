"""`borg check` of a clone's segments and index: asks checking.py on the storage, and reads its answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from zborg.borg.storage.confine import confine
from zborg.errors import ZborgError
from zborg.model import NUMBERS, Runner, Storage
from zborg.model.text.remedy import command, on

_HERE = Path(__file__).parent
_WALL = _HERE.parents[1] / "hosts" / "wall.py"
_WHOLE_DAY = 86400.0  # seconds; as `borg check` of some TiB takes
_STARTING = 60.0
_NOT_STARTED = 126
_ENDED = re.compile(r"ended (-?[0-9]{1,3})")
_REPORT = re.compile(r"wall ([a-z0-9 -]{1,80})")


@dataclass(frozen=True, slots=True)
class BorgCheck:
    """What came of it. `status` None: it did not end in time, or was never started (`wall` is "")."""

    status: int | None
    wall: str  # the words of what stood around it; "" when borg was not started
    lines: tuple[str, ...]  # its last ones, which a hostile host may have made


def check(
    storage: Runner, home: str, settings: Storage, account: str, seconds: float = _WHOLE_DAY
) -> BorgCheck:
    """Of a clone that only this run has, at `home`; it is written to. `storage` runs as root there.

    Its files are given to `account` or to a number of their own first, as those of what is served.
    Raises ZborgError when it could not be started.
    """
    confine(storage, [home], account)
    need = "require" if settings.wall == "require" else ""
    text = (_HERE / "checking.py").read_text(encoding="utf-8")
    words = (home, settings.borg, need, str(seconds), str(NUMBERS.start), str(NUMBERS.stop - 1))
    argv = ["python3", "-I", "-S", "-c", text, *words]
    done = storage.run(argv, timeout=_STARTING + seconds, stdin=_WALL.read_text(encoding="utf-8"))
    found = parse(done.stdout)
    if found.wall and found.status != _NOT_STARTED:
        return found
    last = f": {found.lines[-1]}" if found.lines else ""
    fix = on("the storage", command(settings.borg, "--version"))
    raise ZborgError(f"borg check was not started{last}", fix)


def parse(output: str) -> BorgCheck:
    """Raises nothing, whatever the text is."""
    lines = output.split("\n")
    walls = [found[1] for line in lines[:1] if (found := _REPORT.fullmatch(line))]
    ended = [int(found[1]) for line in lines[:2] if (found := _ENDED.fullmatch(line))]
    printed = (line.removeprefix("line ") for line in lines if line.startswith("line "))
    own = tuple(line for line in printed if not line.startswith("zborg-serve: wall "))
    return BorgCheck(ended[0] if ended else None, walls[0] if walls else "", own)
