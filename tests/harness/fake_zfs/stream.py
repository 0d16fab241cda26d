"""FakeZfs's send and receive."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime

from tests.harness.fake_zfs.child import FakeChild, Header, pack_token, pack_tree, read_header, unpack_tree
from tests.harness.fake_zfs.state import GONE, Filesystem, Machine, Snap
from zborg.errors import Conflict
from zborg.model import Child, ResumeToken, Stream
from zborg.zfs import argv
from zborg.zfs.output import tokens


class Streams(Machine):
    """See FakeZfs."""

    def estimate(self, stream: Stream) -> int:
        command = argv.estimate(stream)
        with self._lock:
            self._begin("estimate", stream)
            found = self._source(stream)
            return self._refuse(command, found) if isinstance(found, str) else found[0].size - found[0].offset

    def decode(self, token: str) -> ResumeToken:
        self._begin("decode", token)
        return tokens.decode(token)

    def abort_receive(self, dataset: str) -> None:
        command = argv.abort_receive(dataset)
        with self._lock:
            self._begin("abort_receive", dataset)
            one = self._all.get(dataset)
            if one and one.partial:
                if not one.snaps and len(list(self._below(dataset))) > 1:
                    self._refuse(command, f"cannot destroy '{dataset}': dataset already exists")
                one.partial = None
                if not one.snaps:
                    self._remove(one)

    def _source(self, stream: Stream) -> tuple[Header, Snap] | str:
        """What to send, or ZFS's words on why not."""
        snap = self._find(stream.snapshot)
        if snap is None:
            return f"cannot open '{stream.snapshot}': {GONE}"
        dataset, _, raw = stream.snapshot.partition("@")
        size, offset, base = len(pack_tree(snap.tree)), 0, None
        if stream.token is not None:
            named = tokens.decode(stream.token)
            base, offset = named.from_guid, named.received
        elif stream.base is not None:
            found = self._base(stream.base)
            if found is None:
                return f"cannot open '{stream.base}': {GONE}"
            base, txg = found
            if txg >= snap.txg or stream.base.replace("#", "@").partition("@")[0] != dataset:
                return f"warning: cannot send '{stream.snapshot}': not an earlier snapshot from the same fs"
        how = tokens.decode(stream.token).raw if stream.token else stream.raw and self._encrypted(dataset)
        return Header(dataset, raw, snap.guid, base, snap.created.timestamp(), size, offset, how), snap

    def _base(self, full: str) -> tuple[str, int] | None:
        if "@" in full:
            snap = self._find(full)
            return (snap.guid, snap.txg) if snap else None
        dataset, _, raw = full.partition("#")
        mark = self._all[dataset].marks.get(raw) if dataset in self._all else None
        return (mark.guid, mark.createtxg) if mark else None

    def send(self, stream: Stream, stdout: int) -> Child:
        command = argv.send(stream)
        with self._lock:
            self._begin("send", stream)
            if stream.token is not None:
                self._check_token(command, stream, stream.token)
            found = self._source(stream)
            if not isinstance(found, str):
                found[1].sending += 1
        target = os.dup(stdout)
        return FakeChild(command, lambda child: self._send(child, found, target))

    def _check_token(self, command: argv.Argv, stream: Stream, token: str) -> None:
        named, snapshot = tokens.decode(token), stream.snapshot
        snap = self._find(snapshot) or self._refuse(command, f"cannot open '{snapshot}': {GONE}")
        if (named.to_guid, named.raw) != (snap.guid, stream.raw):
            raise Conflict(
                f"the target's resume token does not ask for {snapshot} as it is; nothing was sent"
            )

    def _send(self, child: FakeChild, found: tuple[Header, Snap] | str, target: int) -> int:
        try:
            if isinstance(found, str):
                child.say(found)
                return 1
            header, snap = found
            try:
                return _send_tree(child, header, snap, target)
            finally:
                with self._lock:
                    snap.sending -= 1
        finally:
            os.close(target)

    def receive(self, dataset: str, stdin: int) -> Child:
        command = argv.receive(dataset)
        with self._lock:
            self._begin("receive", dataset)
        source = os.dup(stdin)
        return FakeChild(command, lambda child: self._receive(child, dataset, source))

    def _receive(self, child: FakeChild, dataset: str, source: int) -> int:
        try:
            data = read_header(child, source)
            header = Header.parse(data)
            if header is None:
                why = "invalid stream (bad magic number)" if data else "failed to read from stream"
                child.say(f"cannot receive: {why}")
                return 1
            with self._lock:
                if refusal := self._unfit(dataset, header):
                    child.say(refusal)
                    return 1
            return self._take(child, dataset, header, source)
        finally:
            os.close(source)

    def _unfit(self, dataset: str, header: Header) -> str:
        """ZFS's words on why this stream cannot be received there; empty when it can."""
        one = self._all.get(dataset)
        kind = "incremental" if header.from_guid else "new filesystem"
        cannot = f"cannot receive {kind} stream:"
        parent = dataset.rpartition("/")[0]
        if parent not in self._all:
            return f"cannot open '{parent}': {GONE}\n{cannot} unable to restore to destination"
        if header.offset:
            fits = one and one.partial and one.partial[0].to_guid == header.to_guid
            whole = fits and one and one.partial and len(one.partial[1]) == header.offset
            return "" if whole else "cannot receive resume stream: kernel modules must be upgraded"
        if one and one.partial and header.from_guid:
            return f'{cannot} destination {dataset} contains\npartially-complete state from "zfs receive -s".'
        if not header.from_guid:
            return f"{cannot} destination '{dataset}' exists\nmust specify -F to overwrite it" if one else ""
        newest = one.newest() if one else None
        if one is None or newest is None:
            return f"{cannot} destination '{dataset}' does not exist"
        if header.locked and not self._encrypted(dataset):
            return f"{cannot} cannot perform raw receive on top of existing unencrypted dataset"
        if one.keyless and not header.locked:
            return f"{cannot} inherited key must be loaded"
        if newest.guid != header.from_guid:
            return f"{cannot} most recent snapshot of {dataset} does not\nmatch incremental source"
        if self._modified(one, newest):
            return f"{cannot} destination {dataset} has been modified\nsince most recent snapshot"
        return ""

    def _modified(self, one: Filesystem, newest: Snap) -> bool:
        now = self._copy(self.directory(one.name))
        try:
            return pack_tree(now) != pack_tree(newest.tree)
        finally:
            shutil.rmtree(now)

    def _take(self, child: FakeChild, dataset: str, header: Header, source: int) -> int:
        with self._lock:
            one = self._all.get(dataset) or self._add_received(dataset, header)
            body = bytearray(one.partial[1] if one.partial else b"")
        try:
            while len(body) < header.size and (chunk := child.read(source, 65536)):
                body += chunk
        finally:
            with self._lock:
                if len(body) < header.size:
                    one.partial = (replace(header, offset=0), bytes(body))
        if one.partial and len(body) < header.size:
            child.say("cannot receive stream: checksum mismatch or incomplete stream.")
            child.say("Partially received snapshot is saved.")
            child.say(f"    zfs send -t {token_of(*one.partial)}")
            return 1
        with self._lock:
            self._finish(one, header, bytes(body))
        return 0

    def _add_received(self, dataset: str, header: Header) -> Filesystem:
        own = {"encryption": "aes-256-gcm"} if header.locked else {}
        one = self._add(dataset, {"canmount": "noauto", **own})
        one.keyless = header.locked
        return one

    def _finish(self, one: Filesystem, header: Header, body: bytes) -> None:
        place = self.directory(one.name)
        for path in place.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        unpack_tree(body, place)
        self._txg += 1
        created = datetime.fromtimestamp(header.created, UTC)
        one.snaps[header.raw] = Snap(header.to_guid, self._txg, created, self._copy(place), {})
        one.partial = None


def token_of(header: Header, body: bytes) -> str:
    base: dict[str, int | str | None] = {"fromguid": int(header.from_guid)} if header.from_guid else {}
    if header.locked:
        base["rawok"] = None
    name = f"{header.dataset}@{header.raw}"
    return pack_token(
        {**base, "object": 2, "offset": 0, "bytes": len(body), "toguid": int(header.to_guid), "toname": name}
    )


def _send_tree(child: FakeChild, header: Header, snap: Snap, target: int) -> int:
    body = pack_tree(snap.tree)[header.offset :]
    name = f"{header.dataset}@{header.raw}"
    child.say(f"full\t{name}\t{len(body)}\nsize\t{len(body)}")
    child.write(target, header.data())
    for at in range(0, len(body), 1 << 20):
        child.write(target, body[at : at + (1 << 20)])
        sent = min(at + (1 << 20), len(body))
        child.say(f"{time.strftime('%H:%M:%S')}\t{sent}\t{name}")
    return 0
