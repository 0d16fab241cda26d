"""Who may do what with a dataset besides root: ZFS's delegation."""

from __future__ import annotations

from dataclasses import dataclass

EVERYONE = "everyone"


@dataclass(frozen=True, slots=True)
class Grant:
    """One line of `zfs allow DATASET`; it may stand on a parent of the dataset that was asked for."""

    dataset: str  # where it was given, and where it is to be taken back
    kind: str  # user, group, everyone
    who: str  # "" for everyone
    permissions: frozenset[str]  # in ZFS's words; sets (@NAME) are resolved
    given: frozenset[str]  # as it was given, with the names of sets: what `zfs unallow` takes back
    below: bool  # whether it counts below that dataset too
