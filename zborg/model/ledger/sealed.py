"""What can be seen of a repository without its key, whatever program wrote it.

A sealed object is a file that never changes again: of borg 1 a segment at or below the last commit, named
"0/17" as below `data`. A transaction has the number of the segment in which its commit is. Sizes are bytes,
digests SHA-256 in hexadecimal.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SealedObject:
    """One file, and what it held."""

    name: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Many sealed objects: the digest is over their names and sizes, in order."""

    count: int
    bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """What one commit brought."""

    number: int
    puts: int  # objects besides the manifest
    bytes: int
    manifest: int | None  # size of the manifest; None: it was not written
    deletes: int  # of objects besides the manifest
    checkpoints: int  # of these: objects that the transaction before had written
    rewrites: int  # objects that were put again under an id that was deleted since the last look


@dataclass(frozen=True, slots=True)
class Stray:
    """What is no file of a repository, or larger than one ever is. The name is another machine's word."""

    name: str
    kind: str  # file, directory, link, special
    size: int
    huge: bool


@dataclass(frozen=True, slots=True)
class Malformed:
    """An entry that borg would not have written: the object, where in it, and what is wrong."""

    name: str
    offset: int
    code: str


@dataclass(frozen=True, slots=True)
class Log:
    """The list of commits that an append-only `borg serve` keeps: its size and digest.

    `before` is the digest of the part that was there the last time; "" when it is shorter now.
    """

    size: int
    digest: str
    before: str


@dataclass(frozen=True, slots=True)
class Lost:
    """What the deletes of one transaction took from the living."""

    transaction: int
    objects: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Living:
    """The objects that were put and not deleted: the digest is over their ids, sizes and checksums."""

    objects: int
    bytes: int
    digest: str
    manifest: int  # its size; -1 without one
    gain: int = 0  # bytes that a compaction frees
    copied: int = 0  # bytes that it writes anew for that
    lost: tuple[Lost, ...] = ()  # of the transactions that were asked for


@dataclass(frozen=True, slots=True)
class News:
    """What a snapshot of a repository has that an earlier one had not."""

    version: int  # of the repository's form; 1 is borg 1, and of others nothing else is known
    last: int = -1  # the last transaction; -1 without one
    prior: int = -1  # the one before
    config: str = ""  # its digest
    nonce: int | None = None
    log: Log = Log(0, "", "")
    earlier: Listing = Listing(0, 0, "")  # what was sealed the last time
    sealed: Listing = Listing(0, 0, "")  # what is sealed now
    files: int = 0
    bytes: int = 0
    objects: tuple[SealedObject, ...] = ()  # new ones
    touched: tuple[SealedObject, ...] = ()  # older ones that were written to since, or given to another user
    transactions: tuple[Transaction, ...] = ()
    strays: tuple[Stray, ...] = ()  # the first of them
    stray_count: int = 0
    malformed: tuple[Malformed, ...] = ()
    living: Living | None = None  # where it was asked for

    @property
    def is_empty(self) -> bool:
        """There is no repository yet: its host was never backed up."""
        return not self.version and not self.files


@dataclass(frozen=True, slots=True)
class Digested:
    """Sealed objects of one snapshot, read whole; `unread`: (name, errno) of what the disk did not give.

    `malformed` is only looked for in objects that were asked for by name.
    """

    last: int = -1  # the last transaction
    sealed: Listing = Listing(0, 0, "")  # all sealed objects
    objects: tuple[SealedObject, ...] = ()  # those that were asked for
    unread: tuple[tuple[str, int], ...] = ()
    malformed: tuple[Malformed, ...] = ()
