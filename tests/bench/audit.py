"""scripts/bench audit: what is new read without a key, against borg's check of the whole; the ledger."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from tests.harness.machines.host import find_borg
from zborg.borg.storage.reader import Look, digest, look_at
from zborg.model.ledger.merkle import Frontier, leaf_hash
from zborg.model.ledger.note import Checkpoint, parse, signed
from zborg.model.ledger.sealed import Digested, News
from zborg.planning.ledger.check import Ledger, check
from zborg.process import LocalRunner
from zborg.state.ledger.key import Key, verify

_MIB, _FILE = 1 << 20, 8 << 20
_ENTRIES, _NIGHT = 100_000, 30


def main(sizes: tuple[int, ...], rounds: int) -> None:
    """`sizes` in MiB: repositories of that size, of which one hundredth is new."""
    print(
        "| repository | borg check, s | audit of 1 % news, s | times faster | its memory, MiB "
        "| digests of all, s | of borg check |"
    )
    print("|---|---|---|---|---|---|---|")
    for size in sizes:
        with tempfile.TemporaryDirectory() as directory:
            print(_row(Path(directory), size, rounds))
    print(f"\nledger check of {_ENTRIES} entries, a checkpoint after every {_NIGHT}: {_ledger(rounds):.2f} s")


def _row(directory: Path, size: int, rounds: int) -> str:
    home, data = directory / "repository", directory / "data"
    data.mkdir()
    env = {
        **os.environ,
        "BORG_BASE_DIR": str(directory / "base"),
        "BORG_PASSPHRASE": "x",
        "BORG_REPO": str(home),
    }

    def borg(*words: str) -> None:
        subprocess.run([find_borg(), *words], env=env, check=True, capture_output=True, timeout=3600)

    borg("init", "-e", "keyfile-blake2", "--append-only")
    _fill(data, "old", size)
    borg("create", "--compression", "none", "::old", str(data))
    (before,) = look_at(LocalRunner(), [Look(str(home))])
    assert isinstance(before, News), before
    _fill(data, "new", size // 100)
    borg("create", "--compression", "none", "::new", str(data))
    look = Look(str(home), before.last, before.prior, before.log.size, time.time() + 1)
    checks, audits, digests = [], [], []
    for _ in range(rounds):
        checks.append(_timed(lambda: borg("check", "--repository-only")))
        audits.append(_timed(lambda: look_at(LocalRunner(), [look])))
        digests.append(_timed(lambda: _digested(home)))
    part = median(one / other for one, other in zip(digests, checks, strict=True))
    ratio = median(one / other for one, other in zip(checks, audits, strict=True))
    memory = _memory(look) / 1024
    row = f"| {size} MiB | {median(checks):.2f} | {median(audits):.3f} | {ratio:.0f} | {memory:.0f} "
    return f"{row}| {median(digests):.2f} | {part:.2f} |"


def _digested(home: Path) -> None:
    """What `zborg verify` reads beside its `borg check`."""
    found = digest(LocalRunner(), str(home))
    assert isinstance(found, Digested) and found.objects, found


def _fill(directory: Path, name: str, size: int) -> None:
    for number in range(max(1, size * _MIB // _FILE)):
        (directory / f"{name}{number}").write_bytes(os.urandom(min(_FILE, size * _MIB)))


def _timed(work: Callable[[], object]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def _memory(look: Look) -> int:
    """KiB at most, of the reader's processes: in a process of its own, which has no other children."""
    code = (
        "import json, resource, sys\n"
        "from zborg.borg.storage.reader import Look, look_at\n"
        "from zborg.process import LocalRunner\n"
        "look_at(LocalRunner(), [Look(**json.loads(sys.argv[1]))])\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    asked = json.dumps({"path": look.path})
    done = subprocess.run([sys.executable, "-c", code, asked], check=True, capture_output=True, text=True)
    return int(done.stdout)


def _ledger(rounds: int) -> float:
    key, tree = Key("bench/1", bytes(32)), Frontier()
    lines = [json.dumps({"n": n, "pad": "x" * 500}).encode() for n in range(_ENTRIES)]
    notes = []
    for first in range(0, _ENTRIES, _NIGHT):
        tree = tree.extended(map(leaf_hash, lines[first : first + _NIGHT]))
        notes.append(signed(Checkpoint(key.public.name, tree.size, tree.root), key.public, key.sign))
    ledger = Ledger(lines, [parse(note) for note in notes], key.public)

    def checked() -> None:
        assert not check(ledger, (), verify).problems

    return median(_timed(checked) for _ in range(rounds))
