"""Why a receiver did not take a stream, as a type: the adapter finds it in ZFS's message."""

from __future__ import annotations

from enum import StrEnum

from zborg.errors import CommandFailed


class Refusal(StrEnum):
    """Each value is the reason in words, behind a target's name. Remedies: planning/replicate/refusals.py."""

    FEATURES = "its pool has not enabled a feature that the stream needs"
    TOO_OLD = "its OpenZFS does not know a feature of the stream"
    ENCRYPTED_PARENT = (
        "ZFS encrypts what is received there, and no plain stream fits below an encrypted dataset"
    )
    PLAIN_COPY = "the copy there is in the clear, and a raw stream fits on none"
    OTHER_BLOCKS = "the copy there has large blocks, and the stream was sent without them (-L)"
    SPACE = "its pool is full"
    QUOTA = "a quota or a limit on snapshots or datasets is used up there"
    READ_ONLY = "its pool is imported read-only"
    SUSPENDED = "its pool is suspended: it waits for devices that do not answer"
    FORBIDDEN = "the account there may not receive"
    NO_PARENT = "the dataset above the copy does not exist there"
    EXISTS = "a dataset of that name is there, or another receive into it runs"
    UNFINISHED = "an earlier receive into it runs, or was left"
    CUT = "the stream ended before it was complete"
    MODIFIED = "the copy was written to since its newest snapshot"


class StreamRefused(CommandFailed):
    """`zfs receive` failed for a reason that is known."""

    def __init__(self, error: CommandFailed, refusal: Refusal) -> None:
        """`error`: the failure as the adapter explained it."""
        super().__init__(error.argv, error.status, error.stderr)
        self.message, self.remedy, self.refusal = error.message, error.remedy, refusal
        self.args = error.args
