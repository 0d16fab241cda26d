"""Replications that are cut, slow, refused or interrupted, between two in-memory ZFS."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable

from tests.harness.fake_zfs.child import FakeChild
from tests.harness.fake_zfs.zfs import FakeZfs
from tests.harness.worlds.local import LocalVault
from zborg.errors import CommandFailed
from zborg.model import Child, Stream
from zborg.zfs.output.messages import explain


def recreate(vault: LocalVault, dataset: str) -> None:
    """`zfs destroy -r` and `zfs create` by somebody in a hurry."""
    vault.zfs._remove(vault.zfs._all[dataset])
    vault.zfs.create(dataset, {})


def cut_next_stream(vault: LocalVault, after: int) -> None:
    """The network goes after so many bytes of the next stream."""
    real = vault.zfs.send

    def send(stream: Stream, stdout: int) -> Child:
        vault.zfs.send = real  # type: ignore[method-assign]  # for this test
        reading, writing = os.pipe()
        out = os.dup(stdout)
        child = real(stream, writing)
        os.close(writing)
        threading.Thread(target=copy, args=(reading, out, after)).start()
        return child

    vault.zfs.send = send  # type: ignore[method-assign]  # for this test


def copy(reading: int, out: int, count: int) -> None:
    while count > 0 and (data := os.read(reading, min(count, 65536))):
        os.write(out, data)
        count -= len(data)
    os.close(out)
    os.close(reading)


def marks_are_refused(method: str, _: object) -> None:
    if method == "set":
        raise CommandFailed(("zfs", "set"), 1, "cannot set property: permission denied")


def sink_refuses(method: str, _: object) -> None:
    if method == "abort_receive":
        words = "zborg: E_SINK refused by the sink: a sender gives nothing up"
        raise explain(CommandFailed(("zfs", "receive", "-A"), 4, words), ("zfs", "receive", "-A"))


def slow_receiver(vault: LocalVault, seconds: float) -> None:
    """Begins to read long after the sender is done: what it sent is still in the pipe."""

    def receive(dataset: str, stdin: int) -> Child:
        vault.far._begin("receive", dataset)
        source = os.dup(stdin)

        def work(child: FakeChild) -> int:
            child.pause(seconds)
            return vault.far._receive(child, dataset, source)

        return FakeChild(("zfs", "receive", dataset), work)

    vault.far.receive = receive  # type: ignore[method-assign]  # for this test


def during_the_first_stream(vault: LocalVault, act: Callable[[], object]) -> None:
    """What others do while the first dataset is sent, which may take days."""

    def once(method: str, arguments: tuple[object, ...]) -> None:
        if method == "receive":
            vault.far.fail = None
            act()

    vault.far.fail = once


def calls(zfs: FakeZfs) -> Counter[str]:
    """From now on counts the calls of each method."""
    made: Counter[str] = Counter()
    zfs.fail = lambda method, _: made.update([method])
    return made


def held(vault: LocalVault) -> set[str]:
    return {one.full for one in vault.zfs.snapshots("tank/borg") if one.holds}
