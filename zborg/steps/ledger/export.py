"""ledger export: a copy of the ledger for somebody else, with proofs that other programs can check."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from zborg import atomic
from zborg.errors import UsageError
from zborg.model import Outcome, Report, Status
from zborg.model.ledger.merkle import consistency, inclusion, leaf_hash
from zborg.model.ledger.note import Note
from zborg.model.results import LedgerState
from zborg.model.text.remedy import command, remedy
from zborg.state.ledger.files import LINES, NOTES
from zborg.steps.context import StepRun, reporting
from zborg.steps.ledger.begun import public_key
from zborg.steps.ledger.store import files_of

PROOFS = "proofs.jsonl"


@reporting
def export(run: StepRun, folder: Path) -> Report:
    """Into a new or an empty folder. Raises UsageError for one that has something in it."""
    context = run.context
    files = files_of(context, context.storage.zfs.datasets(context.config.storage.ledger))
    lines, notes = files.read()
    if run.dry_run:
        return run.planned([f"copy {len(lines)} entries and {len(notes)} checkpoints to {folder}"])
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there and not empty", "name a folder that does not exist yet")
    (folder / NOTES).mkdir(parents=True, exist_ok=True)
    atomic.write(folder / LINES, b"".join(line + b"\n" for line in lines), atomic.FOR_ALL)
    for note in notes:
        atomic.write(folder / NOTES / f"{note.checkpoint.size:012}.note", note.whole, atomic.FOR_ALL)
    atomic.write(folder / "key.pub", public_key(context.config).read_bytes(), atomic.FOR_ALL)
    proofs = "".join(f"{json.dumps(proof)}\n" for proof in _proofs(lines, notes))
    atomic.write(folder / PROOFS, proofs, atomic.FOR_ALL)
    result = LedgerState(entries=len(lines), root=notes[-1].checkpoint.root.hex() if notes else "")
    words = f"{len(lines)} entries and {len(notes)} checkpoints"
    look = remedy(
        command("zborg", "ledger", "check", str(folder)), first="to check the copy, also elsewhere:"
    )
    return run.report([Outcome("ledger", str(folder), Status.OK, words, look, result)])


def _proofs(lines: Sequence[bytes], notes: Sequence[Note]) -> Iterator[dict[str, object]]:
    """That each checkpoint continues the one before, and that the last one has the newest entries."""
    leaves = [leaf_hash(line) for line in lines]
    for one, two in pairwise(notes):
        first, last = one.checkpoint.size, two.checkpoint.size
        if 0 < first < last <= len(leaves):
            proof = consistency(leaves[:last], first)
            yield {"consistency": [first, last], "hashes": [node.hex() for node in proof]}
    size = notes[-1].checkpoint.size if notes else 0
    before = notes[-2].checkpoint.size if len(notes) > 1 else 0
    for index in range(before, min(size, len(leaves))):
        path = inclusion(leaves[:size], index)
        yield {
            "inclusion": [index, size],
            "leaf": leaves[index].hex(),
            "hashes": [node.hex() for node in path],
        }
