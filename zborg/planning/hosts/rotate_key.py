"""Which of the server's keys for one host comes, and which go. Pure.

Keys of one host are files named by time, so their order shows what a killed rotation was about: a key newer
than the configured one was to replace it, an older one was already replaced.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerKey:
    """A private key's path, and its public half, "TYPE BASE64"."""

    path: str
    public: str


@dataclass(frozen=True, slots=True)
class Rotation:
    """`new` None: a new one is to be made. `retire`: keys whose lines and files go at the end."""

    new: ServerKey | None
    retire: tuple[ServerKey, ...]


def plan(
    current: ServerKey, shared: ServerKey | None, own: Sequence[ServerKey], on_host: Collection[str]
) -> Rotation:
    """`shared` is the key of all hosts; `own` are this host's, oldest first; `on_host` may call the agent."""
    before, after = _around(current, own)
    if after:
        rest = (*before, *after[:-1])
        return Rotation(after[-1], (*_shared(current, shared, on_host), *rest, current))
    if stale := (*_shared(current, shared, on_host), *before):
        return Rotation(current, stale)
    return Rotation(None, (current,))


def _around(current: ServerKey, own: Sequence[ServerKey]) -> tuple[list[ServerKey], list[ServerKey]]:
    """Older and newer than the configured one; the shared key is older than all."""
    paths = [key.path for key in own]
    at = paths.index(current.path) if current.path in paths else -1
    return list(own[: max(at, 0)]), list(own[at + 1 :])


def _shared(current: ServerKey, shared: ServerKey | None, on_host: Collection[str]) -> tuple[ServerKey, ...]:
    """The key of all hosts, where this host has one of its own and still knows that one."""
    stays = shared is None or shared.path == current.path or shared.public not in on_host
    return () if stays or shared is None else (shared,)
