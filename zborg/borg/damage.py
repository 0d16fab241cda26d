"""How borg shows that a repository is broken, or is not the host's own.

For much of that borg ends with its "warning" or with a Python error; here it is separated from trouble that
only keeps a backup from being made. The texts are those of borg 1.4.5, whose repository was damaged
file by file; 1.2.4 says the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from zborg.borg.meaning import Meaning
from zborg.model import Status
from zborg.model.text.remedy import command, remedy

_LOOK = remedy(
    command("zborg", "scrub", "--start"), first="look at the pool first; older snapshots may be whole:"
)
_WHO = "see who replaced it; never answer borg's question blindly"
_FORGED = Meaning(
    Status.CONFLICT, "what the repository shows was not signed with the host's key", "see who wrote it"
)
# borg's documentation, "Upgrade notes", 1.2.5: what an older borg renamed is not signed under its new name.
_UNSIGNED = Meaning(
    Status.CONFLICT,
    "an archive is not signed under its name with the host's key: a borg older than 1.2.5 renamed it "
    "(CVE-2023-36811), or it is forged",
    remedy(
        command("/usr/local/libexec/zborg-agent", "--sign-archives"),
        first="if such a borg renamed it, let the next backup sign it; on the host, as root:",
    ),
)
_LACKS = Meaning(Status.DAMAGED, "the repository has no longer all data that its archives need", _LOOK)
_STRANGER = Meaning(Status.CONFLICT, "the repository is not encrypted, and not the one the host knows", _WHO)

# msgid (borg's docs, "Message IDs") -> what it means.
KNOWN: dict[str, Meaning] = {
    "IntegrityError": Meaning(Status.DAMAGED, "borg found damaged data", _LOOK),
    "DecompressionError": Meaning(Status.DAMAGED, "borg found data that it cannot unpack", _LOOK),
    "FileIntegrityError": Meaning(
        Status.DAMAGED,
        "a file that borg keeps about the repository is damaged",
        remedy(
            command("mv", "/var/lib/zborg/borg/.cache/borg", "/var/lib/zborg/borg/.cache/broken"),
            first="on the host, as root, if it is a file of borg's cache, which borg makes again:",
        ),
    ),
    "NoManifestError": Meaning(Status.DAMAGED, "the repository's manifest is gone", _LOOK),
    "Repository.ObjectNotFound": _LACKS,
    "TAMInvalid": _FORGED,
    "TAMRequiredError": _FORGED,
    "ArchiveTAMInvalid": _UNSIGNED,
    "ArchiveTAMRequiredError": _UNSIGNED,
    "Cache.CacheInitAbortedError": _STRANGER,
    "Cache.RepositoryIDNotUnique": _STRANGER,
}

_OF_SERVE = ("Borg server: ", "Remote Exception")
_AT_SERVE = re.compile(r'remote\.py", line \d+, in serve\b')  # a frame of `borg serve`'s own traceback
_UNREADABLE = re.compile(r"\[Errno (5|52)\]")  # EIO; EBADE, which ZFS on Linux has for a wrong checksum
_SEGMENT_GONE = re.compile(r"\[Errno 2\] .*/data/\d+/\d+'")
# What Python raises for bytes that are no text, no number, no configuration.
_NONSENSE = frozenset(
    {"UnicodeDecodeError", "ValueError", "Error", "error", "NoSectionError", "NoOptionError"}
    | {"ParsingError", "MissingSectionHeaderError", "DuplicateOptionError", "DuplicateSectionError"}
)


def at_serve(text: str) -> bool:
    """Whether an error is `borg serve`'s, which borg on the host only passes on."""
    return bool(_AT_SERVE.search(text)) or text.startswith(_OF_SERVE)


def of_errors(errors: Iterable[tuple[str, str]]) -> Meaning | None:
    """What `borg serve` fell over, if that means damage. `errors` are (msgid, text)."""
    for msgid, text in errors:
        if not _AT_SERVE.search(text):
            continue
        last = text.rstrip().rpartition("\n")[2]
        if _UNREADABLE.search(last):
            return Meaning(Status.DAMAGED, f"the storage cannot read the repository: {last}", _LOOK)
        if _SEGMENT_GONE.search(last):
            return _LACKS
        if msgid in _NONSENSE:
            return Meaning(Status.DAMAGED, f"borg serve cannot read the repository's files: {last}", _LOOK)
    return None


_BROKEN = re.compile(r"corrupt|integrity", re.IGNORECASE)


def is_broken(level: str, text: str) -> bool:
    """Whether a line of `borg serve`'s log reports damage. It rebuilds its index and hints, and goes on."""
    return level != "INFO" and bool(_BROKEN.search(text))


def of_server(text: str) -> Meaning:
    """Of such a line, also in a run that went well: what changed one file may have changed others."""
    return Meaning(Status.DAMAGED, f"a file of the repository was damaged: {text}", _LOOK)
