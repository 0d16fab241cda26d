"""A repository that the account of `borg serve` may not write, in Python's words as borg passes them on."""

from __future__ import annotations

import re
from collections.abc import Iterable

from zborg.borg.meaning import Meaning
from zborg.model import Status

# A traceback of the serving side has the method `serve` of borg/remote.py (tried: borg 1.2.4 and 1.4.5); that
# of a lock is passed on as an error of its own.
_DENIED = r"\[Errno 13\] Permission denied: '([^']+)'"
_TRACEBACK = re.compile(rf"remote\.py\W.*\bin serve\b.*PermissionError: {_DENIED}", re.DOTALL)
_LOCK = re.compile(rf"Failed to create/acquire the lock \S*/lock\.exclusive \({_DENIED}")
_OF_A_HOST = "/.cache/borg/"  # has locks as well
_REMEDY = "zborg doctor --only repositories"


def of_errors(errors: Iterable[tuple[str, str]]) -> Meaning | None:
    """As judge() returns it; doctor prints the lines that give the file back."""
    texts = [text for _, text in errors]
    found = next(filter(None, (one.search(text) for text in texts for one in (_TRACEBACK, _LOCK))), None)
    if found is None or _OF_A_HOST in found[1]:
        return None
    message = f"on the storage, the account of borg serve may not write {found[1]}"
    return Meaning(Status.FAILED, message, _REMEDY)
