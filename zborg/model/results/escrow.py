"""Sealed keys, challenges and proofs."""

from __future__ import annotations

from datetime import datetime

from zborg.model.results.base import Result


class SealedKey(Result):
    """A host's key in escrow, in `escrow status`, `escrow show` and `escrow reseal`."""

    repository: str = ""  # the id of the one whose key it is
    sealed: datetime | None = None  # when it came
    recipients: int | None = None  # for how many it is sealed; for whom is not shown by age
    digest: str = ""  # of the file, SHA-256 in hexadecimal
    file: str = ""  # where it is
    older: tuple[str, ...] = ()  # files of keys that it replaced, the oldest first
    proved: datetime | None = None  # when a custodian last showed that it opens the repository
    archives: int = 0  # that were seen then
    newest: datetime | None = None  # the newest of these
    current: bool = False  # whether that proof is of the key that is here now


class ChallengeMade(Result):
    """A host in `escrow challenge`."""

    repository: str = ""  # its id
    nonce: str = ""  # of this challenge
    snapshot: str = ""  # whose manifest it has, dataset@name
    transaction: int = 0  # the last one in it
    until: datetime | None = None  # when answers are taken no more
    bytes: int = 0  # of the manifest


class KeyProved(Result):
    """A host in `escrow prove` and `escrow accept`."""

    repository: str = ""  # its id
    archives: int = 0  # that the manifest names
    newest: datetime | None = None  # the newest of these
    answer: str = ""  # the word to send back, in `escrow prove`
    entry: int | None = None  # its number in the ledger, counted from 0, in `escrow accept`
