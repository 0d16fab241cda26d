"""Subjects of outcomes that have parts: datasets below a root, and those of targets."""

from __future__ import annotations

from typing import NamedTuple, Self


class OnTarget(NamedTuple):
    """A dataset or a pool of a target, TARGET:NAME in reports. Of the storage's own the target is ""."""

    target: str
    name: str

    @classmethod
    def parse(cls, subject: str) -> Self:
        """A target's name has no colon, a dataset's may have one."""
        target, colon, name = subject.partition(":")
        return cls(target, name) if colon else cls("", subject)

    def __str__(self) -> str:
        return f"{self.target}:{self.name}" if self.target else self.name


def is_of(target: str, subject: str) -> bool:
    """Whether an outcome is about a target: itself, or something on it."""
    return subject == target or OnTarget.parse(subject).target == target


def below(root: str, dataset: str) -> str:
    """A dataset's name below its root, "web1" or "web1/sub"; "" for the root and for what is elsewhere."""
    return dataset.removeprefix(f"{root}/") if dataset.startswith(f"{root}/") else ""
