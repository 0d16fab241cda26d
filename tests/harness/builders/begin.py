"""The first records of streams as OpenZFS 2.3.9 writes them (tests/golden/zfs/begin.txt).

The golden lines are NAME and the record in hex without the zeros at its end, each captured from `zfs send`.
"""

from __future__ import annotations

from tests.harness.checkout import GOLDEN_FILES
from zborg.zfs import begin

GOLDEN = GOLDEN_FILES / "zfs" / "begin.txt"
LAYOUT = "IIQQQIIQQ256s"


def golden() -> dict[str, bytes]:
    rows = (line.split() for line in GOLDEN.read_text().splitlines())
    return {name: bytes.fromhex(text).ljust(begin.SIZE, b"\0") for name, text in rows}
