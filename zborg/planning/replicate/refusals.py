"""What to do about a stream that a target did not take: one remedy for each Refusal. Pure.

Typed in a shell on OpenZFS 2.3.9 they bring the stream there (replicate/test_remedies_lab.py has the list).
Where only a person can decide, the sentence says what, and the commands show what there is.
"""

from __future__ import annotations

from dataclasses import dataclass

from zborg.model.storage.refusal import Refusal
from zborg.model.text.remedy import command, on, remedy

# What streams of -L -e -c may bring: zpool-features(7). A pool made by `zpool create -d` has none of them.
FEATURES = ("large_blocks", "embedded_data", "lz4_compress", "zstd_compress", "large_dnode")
RAW_FEATURES = ("encryption", "bookmark_v2")
PARENT = ("mountpoint=none", "canmount=off", "readonly=on", "volmode=none")
"""Properties of the dataset that copies lie below: nothing of it is ever mounted."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Where a stream was to go."""

    where: str  # the target's name
    root: str  # its dataset
    name: str  # the copy's
    aside: str  # a free name beside it
    user: str = ""  # the account there; "" is root
    raw: bool = False

    @property
    def pool(self) -> str:
        """The pool on the target, by its own name there."""
        return self.root.partition("/")[0]


def remedy_of(refusal: Refusal, copy: Copy) -> str:
    """In the form of model/text/remedy.py, for the machine that the copy is on."""
    match refusal:
        case Refusal.FEATURES:
            return on(copy.where, *_enable(copy))
        case Refusal.ENCRYPTED_PARENT:
            return _plain_parent(copy)
        case Refusal.PLAIN_COPY | Refusal.OTHER_BLOCKS:
            return on(copy.where, command("zfs", "rename", "-u", copy.name, copy.aside))
        case Refusal.READ_ONLY:
            return on(
                copy.where, command("zpool", "export", copy.pool), command("zpool", "import", copy.pool)
            )
        case Refusal.NO_PARENT:
            return on(copy.where, create(copy.name.rpartition("/")[0], "-p"))
        case Refusal.FORBIDDEN:
            return _allow(copy)
        case Refusal.EXISTS | Refusal.UNFINISHED | Refusal.CUT | Refusal.MODIFIED:
            again = command("zborg", "replicate", copy.where)
            return remedy(again, first="what arrived is kept; both sides are compared again by:")
        case _:
            return _look(refusal, copy)


def _enable(copy: Copy) -> list[str]:
    features = (*FEATURES, *RAW_FEATURES) if copy.raw else FEATURES
    return [command("zpool", "set", f"feature@{one}=enabled", copy.pool) for one in features]


def create(dataset: str, *options: str) -> str:
    """The command that makes a dataset for copies to lie below."""
    words = [word for one in PARENT for word in ("-o", one)]
    return command("zfs", "create", *options, *words, dataset)


def _plain_parent(copy: Copy) -> str:
    """The streams are of datasets that ZFS does not encrypt; their content is encrypted by borg."""
    return remedy(
        command("zfs", "rename", "-u", copy.root, f"{copy.root}-aside"),
        create(copy.root, "-o", "encryption=off"),
        first=f"on {copy.where}, as root (a sink's limits and zfs allow have to be set again, docs/sink.md):",
    )


def _allow(copy: Copy) -> str:
    if copy.user in ("", "root"):  # nothing is to be delegated to root: something else is in the way
        return on(copy.where, "id", command("zfs", "allow", copy.root))
    rights = "receive:append,create,mount,userprop"
    return remedy(
        command("zfs", "allow", "-u", copy.user, rights, copy.root),
        first=f"on {copy.where}, as root (before OpenZFS 2.3.9 the first right is `receive`, docs/sink.md):",
    )


def _look(refusal: Refusal, copy: Copy) -> str:
    limits = "quota,refquota,snapshot_limit,filesystem_limit"
    table: dict[Refusal, tuple[str, list[tuple[str, ...]]]] = {
        Refusal.TOO_OLD: ("upgrade OpenZFS to at least the storage's release", [("zfs", "version")]),
        Refusal.SPACE: (
            "make room in the pool; this shows what takes it",
            [("zpool", "list", copy.pool), ("zfs", "list", "-r", "-o", "space", copy.pool)],
        ),
        Refusal.QUOTA: (
            "raise the limit that is used up; this lists those that are set",
            [
                ("zfs", "get", "-r", "-s", "local", limits, copy.pool),
                ("zfs", "list", "-o", "space", copy.root),
            ],
        ),
        Refusal.SUSPENDED: (
            "bring its devices back; the second line lets the pool go on",
            [("zpool", "status", copy.pool), ("zpool", "clear", copy.pool)],
        ),
    }
    todo, commands = table[refusal]
    return remedy(*(command(*words) for words in commands), first=f"on {copy.where}, as root: {todo}:")
