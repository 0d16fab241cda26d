"""The contract of model.Zfs: sending and receiving."""

from __future__ import annotations

import os
import time

import pytest

from tests.harness.worlds.pair import KIB, Pair, drain, ended
from zborg.errors import CommandFailed, Conflict, ZborgError
from zborg.model import P_STATE, Stream
from zborg.zfs.output.parse import progress


def test_send_in_full_then_increments_from_snapshot_and_bookmark(zfs_pair: Pair) -> None:
    zfs, name, target = zfs_pair.zfs, zfs_pair.child("we b", 300), f"{zfs_pair.away}/we b"
    fulls = []
    for raw in ("a", "b", "c"):
        zfs_pair.write(name, raw, 50)
        fulls.append(zfs_pair.snap(name, raw))
    a, b, c = fulls
    zfs.set([a], {P_STATE: "ok"})
    zfs.bookmark(b, "b")
    assert zfs.estimate(Stream(a)) > 300 * KIB
    assert zfs.estimate(Stream(c, base=f"{name}#b")) > 50 * KIB
    assert zfs_pair.transfer(Stream(a), target)[:2] == (0, 0)
    assert zfs_pair.transfer(Stream(b, base=a), target)[:2] == (0, 0)
    assert zfs_pair.destroy(name, "a", "b") == ("a", "b")
    assert zfs_pair.transfer(Stream(c, base=f"{name}#b"), target)[:2] == (0, 0)
    (arrived,) = zfs.datasets(target)
    assert not arrived.mounted and arrived.mountpoint is None
    received = zfs.snapshots(target)
    assert [s.snapname for s in received] == ["a", "b", "c"]
    assert received[2].guid == zfs_pair.guid(c)
    assert received[2].createtxg != zfs.snapshots(name)[0].createtxg
    assert all(s.properties == {} for s in received)


def test_progress_is_told(zfs_pair: Pair) -> None:
    full = zfs_pair.snap(zfs_pair.child("web1", 6 * KIB), "a")
    reading, writing = os.pipe()
    sender = zfs_pair.zfs.send(Stream(full), writing)
    os.close(writing)
    said = drain(sender)
    time.sleep(zfs_pair.pause)
    arrived = 0
    while chunk := os.read(reading, 1 << 16):
        arrived += len(chunk)
    os.close(reading)
    assert ended(sender) == 0
    counts = [n for n in map(progress, said().split("\n")) if n is not None]
    assert counts and counts == sorted(counts) and KIB < counts[-1] <= arrived


def test_a_cut_stream_is_resumed(zfs_pair: Pair) -> None:
    zfs, name, target = zfs_pair.zfs, zfs_pair.child("web1", 3 * KIB), f"{zfs_pair.away}/web1"
    full = zfs_pair.snap(name, "a")
    zfs_pair.cut(Stream(full), target, 1500 * KIB)
    token = zfs_pair.token(target)
    assert token is not None and zfs_pair.names(target) == []
    known = zfs.decode(token)
    assert (known.to_name, known.to_guid, known.from_guid) == (full, zfs_pair.guid(full), None)
    assert 500 * KIB < known.received <= 1500 * KIB
    assert 0 < zfs.estimate(Stream(full, token=token)) < 2700 * KIB
    assert zfs_pair.transfer(Stream(full, token=token), target)[:2] == (0, 0)
    assert zfs_pair.token(target) is None and zfs_pair.guid(f"{target}@a") == zfs_pair.guid(full)


def test_a_cut_increment_is_resumed_from_its_bookmark(zfs_pair: Pair) -> None:
    zfs, name, target = zfs_pair.zfs, zfs_pair.child("web1", 20), f"{zfs_pair.away}/web1"
    base = zfs_pair.snap(name, "a")
    guid = zfs_pair.guid(base)
    zfs.bookmark(base, "a")
    assert zfs_pair.transfer(Stream(base), target)[:2] == (0, 0)
    zfs_pair.write(name, "more", 3 * KIB)
    full = zfs_pair.snap(name, "b")
    zfs_pair.cut(Stream(full, base=base), target, 1500 * KIB)
    zfs_pair.destroy(name, "a")
    token = zfs_pair.token(target)
    assert token is not None and zfs.decode(token).from_guid == guid
    assert zfs_pair.transfer(Stream(full, token=token), target)[:2] == (0, 0)
    assert zfs_pair.names(target) == ["a", "b"]


def test_abort_receive(zfs_pair: Pair) -> None:
    zfs, name, target = zfs_pair.zfs, zfs_pair.child("web1", 3 * KIB), f"{zfs_pair.away}/web1"
    full = zfs_pair.snap(name, "a")
    zfs_pair.cut(Stream(full), target, 1000 * KIB)
    for _ in range(2):
        zfs.abort_receive(target)
    assert zfs.datasets(target) == ()
    assert zfs_pair.transfer(Stream(full), target)[:2] == (0, 0)
    zfs.abort_receive(target)
    assert zfs_pair.names(target) == ["a"]


def test_a_cut_first_stream_with_a_child_below_cannot_be_given_up(zfs_pair: Pair) -> None:
    zfs, name, target = zfs_pair.zfs, zfs_pair.child("web1", 3 * KIB), f"{zfs_pair.away}/web1"
    child = zfs_pair.child("web1/sub")
    full = zfs_pair.snap(name, "a")
    zfs_pair.cut(Stream(full), target, 1000 * KIB)
    assert zfs_pair.transfer(Stream(f"{child}@a"), f"{target}/sub")[:2] == (0, 0)
    with pytest.raises(CommandFailed, match="dataset already exists"):
        zfs.abort_receive(target)
    assert zfs_pair.token(target)


def test_a_token_must_ask_for_the_snapshot_we_mean(zfs_pair: Pair) -> None:
    zfs, name, target = zfs_pair.zfs, zfs_pair.child("web1", 3 * KIB), f"{zfs_pair.away}/web1"
    full, other = zfs_pair.snap(name, "a"), zfs_pair.snap(zfs_pair.child("other"), "a")
    zfs_pair.cut(Stream(full), target, 1000 * KIB)
    token = zfs_pair.token(target)
    assert token is not None
    zfs_pair.destroy(name, "a")
    assert zfs.decode(token).to_name == full  # although it is gone
    with pytest.raises(Conflict, match="nothing was sent"):
        zfs.send(Stream(other, token=token), 1)
    with pytest.raises(CommandFailed, match="does not exist"):
        zfs.send(Stream(full, token=token), 1)
    with pytest.raises(ZborgError, match="cannot read the resume token"):
        zfs.decode(token[:-2] + ("00" if token[-2:] != "00" else "11"))


def test_receive_refuses_what_does_not_fit_and_leaves_the_target(zfs_pair: Pair) -> None:
    zfs, name, target = zfs_pair.zfs, zfs_pair.child("web1"), f"{zfs_pair.away}/web1"
    a, b, c = (zfs_pair.snap(name, raw) for raw in ("a", "b", "c"))
    assert zfs_pair.transfer(Stream(a), target)[:2] == (0, 0)
    before = zfs.snapshots(target), zfs.datasets(target)[0].guid
    for stream, said in (
        (Stream(c, base=b), "most recent snapshot"),
        (Stream(b), "exists"),
    ):
        status, words = zfs_pair.transfer(stream, target)[1:]
        assert status != 0 and said in words
    status, words = zfs_pair.transfer(Stream(b, base=a), f"{zfs_pair.away}/new")[1:]
    assert status != 0 and "does not exist" in words
    status, words = zfs_pair.transfer(Stream(a), f"{zfs_pair.away}/no/parent")[1:]
    assert status != 0 and "does not exist" in words
    assert (zfs.snapshots(target), zfs.datasets(target)[0].guid) == before
    assert zfs_pair.token(target) is None
    assert len(zfs.datasets(zfs_pair.away)) == 2


def test_a_target_that_was_written_to_refuses_an_increment(zfs_pair: Pair) -> None:
    zfs, name, target = zfs_pair.zfs, zfs_pair.child("web1", 10), f"{zfs_pair.root}/copy"
    a = zfs_pair.snap(name, "a")
    assert zfs_pair.transfer(Stream(a), target)[:2] == (0, 0)
    zfs.mount(target)
    zfs_pair.write(target, "more", 10)
    status, words = zfs_pair.transfer(Stream(zfs_pair.snap(name, "b"), base=a), target)[1:]
    assert status != 0 and "has been modified" in words
    assert zfs_pair.names(target) == ["a"]


def test_send_of_what_is_not_there_fails(zfs_pair: Pair) -> None:
    name = zfs_pair.child("web1")
    a, b = zfs_pair.snap(name, "a"), zfs_pair.snap(name, "b")
    for stream in (Stream(f"{name}@gone"), Stream(b, base=f"{name}#gone"), Stream(a, base=b)):
        sent, received, _ = zfs_pair.transfer(stream, f"{zfs_pair.away}/web1")
        assert sent != 0 and received != 0
        with pytest.raises(CommandFailed):
            zfs_pair.zfs.estimate(stream)
    assert zfs_pair.zfs.datasets(f"{zfs_pair.away}/web1") == ()


def test_a_snapshot_that_is_being_sent_is_busy(zfs_pair: Pair) -> None:
    name = zfs_pair.child("web1", 3 * KIB)
    full = zfs_pair.snap(name, "a")
    reading, writing = os.pipe()
    sender = zfs_pair.zfs.send(Stream(full), writing)
    os.close(writing)
    assert os.read(reading, 1)
    try:
        with pytest.raises(CommandFailed, match="busy"):
            zfs_pair.destroy(name, "a")
    finally:
        os.close(reading)
        sender.stop()


LOCKED = {
    "encryption": "on",
    "keyformat": "passphrase",
    "pbkdf2iters": "100000",
    # One line of a hundred bytes, the same for as long as the machine runs.
    "keylocation": "file:///proc/version",
}


def test_an_encrypted_dataset_is_sent_raw_and_arrives_without_its_key(zfs_pair: Pair) -> None:
    zfs, name, target = zfs_pair.zfs, f"{zfs_pair.root}/web1", f"{zfs_pair.away}/web1"
    zfs.create(name, LOCKED)
    assert zfs.datasets(name)[0].encrypted and not zfs.datasets(zfs_pair.root)[0].encrypted
    zfs_pair.write(name, "data", 3 * KIB)
    a = zfs_pair.snap(name, "a")
    zfs_pair.cut(Stream(a, raw=True), target, 1500 * KIB)
    token = zfs_pair.token(target)
    assert token is not None and zfs.decode(token).raw
    with pytest.raises(Conflict, match="nothing was sent"):
        zfs.send(Stream(a, token=token), 1)
    assert zfs_pair.transfer(Stream(a, token=token, raw=True), target)[:2] == (0, 0)
    b = zfs_pair.snap(name, "b")
    zfs.bookmark(a, "a")
    assert zfs_pair.transfer(Stream(b, base=f"{name}#a", raw=True), target)[:2] == (0, 0)
    (copy,) = zfs.datasets(target)
    assert copy.encrypted and [zfs_pair.guid(f"{target}@{raw}") for raw in "ab"] == [
        zfs_pair.guid(full) for full in (a, b)
    ]
    c = zfs_pair.snap(name, "c")
    status, words = zfs_pair.transfer(Stream(c, base=b), target)[1:]
    assert status != 0 and "key must be loaded" in words


def test_a_raw_increment_does_not_fit_on_a_plain_copy(zfs_pair: Pair) -> None:
    zfs, name, target = zfs_pair.zfs, f"{zfs_pair.root}/web1", f"{zfs_pair.away}/web1"
    zfs.create(name, LOCKED)
    a, b = zfs_pair.snap(name, "a"), zfs_pair.snap(name, "b")
    assert zfs_pair.transfer(Stream(a), target)[:2] == (0, 0)
    assert not zfs.datasets(target)[0].encrypted
    status, words = zfs_pair.transfer(Stream(b, base=a, raw=True), target)[1:]
    assert status != 0 and "raw receive on top of existing unencrypted" in words
