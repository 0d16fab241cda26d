"""An off-site's own zborg is a witness of the ledger: what arrives has to continue what had arrived."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.harness.steps import night
from tests.harness.worlds.arrivals import ROOT, arrive, offsite
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, of
from zborg.errors import Exit, UsageError, ZborgError
from zborg.model import Outcome, Report, Status
from zborg.model.ledger import entries
from zborg.model.ledger.merkle import Frontier, leaf_hash
from zborg.model.ledger.note import Checkpoint, signed
from zborg.model.storage.zfs import P_REPORT
from zborg.planning.offsite import published_report
from zborg.state.ledger.key import Key
from zborg.steps.context import begin
from zborg.steps.ledger.check import Request
from zborg.steps.offsite.witness import check_arrived, witness

NAME = f"{ROOT}/zborg-ledger"
KEY = Key("backup1/1f2e3d4c", bytes(32))


class Sender:
    """A server's ledger, as it arrives here. `lines` may be changed as root there could."""

    def __init__(self, vault: LocalVault, clock: Hours) -> None:
        self.vault, self.clock, self.key = vault, clock, KEY
        self.lines = [entries.begun(datetime(2026, 2, 1, tzinfo=UTC), KEY.public.name, "a new ledger")]
        self.sizes: list[int] = []
        vault.far.create(NAME, {})

    @property
    def home(self) -> Path:
        return self.vault.far.directory(NAME)

    def night(self, count: int = 3) -> None:
        """So many entries more, and a checkpoint; all arrives."""
        first = len(self.lines)
        self.lines += [f'{{"n":{number}}}' for number in range(first, first + count)]
        self.sizes.append(len(self.lines))
        self.send()

    def send(self) -> None:
        """Checkpoints are over what the lines are now."""
        own = self.key
        (self.home / "key.pub").write_text(f"{own.public}\n")
        (self.home / "entries.jsonl").write_text("".join(f"{line}\n" for line in self.lines))
        (folder := self.home / "checkpoints").mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        for size in {min(one, len(self.lines)) for one in self.sizes}:
            tree = Frontier().extended(leaf_hash(line.encode()) for line in self.lines[:size])
            text = signed(Checkpoint(own.public.name, size, tree.root), own.public, own.sign)
            (folder / f"{size:012}.note").write_text(text)
        self.arrive()

    def arrive(self) -> None:
        """What lies there now."""
        self.clock.tick()
        arrive(self.vault, self.clock, "zborg-ledger")
        self.clock.tick()


@pytest.fixture
def sender(vault: LocalVault, clock: Hours) -> Sender:
    made = Sender(vault, clock)
    made.night()
    assert looked(made).exit is Exit.OK
    return made


def looked(sender: Sender) -> Report:
    return witness(begin(offsite(sender.vault, sender.clock), "witness"))


def outcome(sender: Sender) -> Outcome:
    return of(looked(sender), NAME)


def clones(vault: LocalVault) -> list[str]:
    return [one.name for one in vault.far.datasets("vault/zborg-scratch") if "ledger" in one.name]


def holds(sender: Sender) -> list[tuple[str, str]]:
    names = [one.full for one in sender.vault.far.snapshots(NAME)]
    return [(one.snapshot, one.tag) for one in sender.vault.far.holds(names)]


def newest(sender: Sender) -> str:
    return sender.vault.far.snapshots(NAME)[-1].full


def test_what_grows_is_accepted(sender: Sender) -> None:
    sender.night()
    found = outcome(sender)
    assert found.status is Status.OK
    assert (
        "7 entries in " in found.message and "the first 4 are those that had arrived before" in found.message
    )
    assert "nothing new since " in outcome(sender).message
    for _ in range(3):
        sender.night()
    assert "the first 7 are" in outcome(sender).message
    assert clones(sender.vault) == [] and holds(sender) == []


def test_the_first_is_trusted_and_its_key_is_shown(vault: LocalVault, clock: Hours) -> None:
    assert looked(Sender(vault, clock)).outcomes[0].status is Status.SKIPPED
    vault.far.destroy(NAME, {})
    made = Sender.__new__(Sender)
    made.vault, made.clock, made.key, made.lines, made.sizes = vault, clock, KEY, ["a"], []
    made.night()
    found = outcome(made)
    assert found.status is Status.OK and f"with the key {KEY.public}" in found.message


def rewrite(sender: Sender) -> None:
    sender.lines[1] = '{"n":-1}'


def drop(sender: Sender) -> None:
    del sender.lines[1]


def insert(sender: Sender) -> None:
    sender.lines.insert(1, "{}")


def reorder(sender: Sender) -> None:
    sender.lines[1], sender.lines[2] = sender.lines[2], sender.lines[1]


def cut(sender: Sender) -> None:
    del sender.lines[2:]


def other_key(sender: Sender) -> None:
    sender.key = Key("backup1/99999999", bytes(range(32)))


def same_name(sender: Sender) -> None:
    sender.key = Key(KEY.public.name, bytes(range(32)))


@pytest.mark.parametrize("change", [rewrite, drop, insert, reorder, cut, other_key, same_name])
def test_a_past_that_was_changed_and_signed_anew_is_found(
    sender: Sender, change: Callable[[Sender], None]
) -> None:
    """The last good is held, again every night, until somebody here has looked."""
    good = newest(sender)
    change(sender)
    if change not in (cut, drop):
        sender.lines += ["{}"] * 3
        sender.sizes.append(len(sender.lines))
    sender.send()
    for _ in range(2):
        report = looked(sender)
        assert report.exit is Exit.DAMAGE, report.outcomes
        found = of(report, NAME)
        assert "the server's past was changed: " in found.message
        assert "which was" not in found.message and "is held now (zborg:keep:witness:-)" in found.message
        assert holds(sender) == [(good, "zborg:keep:witness:-")]
        sender.lines.append("{}")
        sender.night()
    record = offsite(sender.vault, sender.clock).config.state_dir / "ledger" / "arrived.json"
    assert f"mv {record}" in found.remedy
    record.rename(record.with_suffix(".refused"))
    assert outcome(sender).status is Status.OK, "root accepted it by hand"
    assert clones(sender.vault) == []


def test_a_ledger_that_is_gone_is_damage(sender: Sender) -> None:
    for one in sender.vault.far.snapshots(NAME):
        sender.vault.far.destroy(NAME, {one.snapname: one.guid})
    found = outcome(sender)
    assert found.status is Status.DAMAGED and "no snapshot of it is here any more" in found.message


STRANGE: dict[str, Callable[[Path], object]] = {
    "a link to a file of ours": lambda home: (home / "entries.jsonl").symlink_to("/etc/passwd"),
    "a link to a device": lambda home: (home / "entries.jsonl").symlink_to("/dev/zero"),
    "a directory": lambda home: (home / "entries.jsonl").mkdir(),
    "no lines": lambda home: (home / "entries.jsonl").write_text(""),
    "nothing": lambda home: None,
    "bytes": lambda home: (home / "entries.jsonl").write_bytes(os.urandom(5000)),
    "an empty line": lambda home: (home / "entries.jsonl").write_text("a\n\nb\n"),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_files_of_a_hostile_sender_are_damage_and_nothing_else(sender: Sender, kind: str) -> None:
    (sender.home / "entries.jsonl").unlink()
    STRANGE[kind](sender.home)
    sender.arrive()
    found = outcome(sender)
    assert found.status is Status.DAMAGED, found
    assert "root:" not in found.message
    assert clones(sender.vault) == []


@pytest.mark.parametrize("name", ["checkpoints", "key.pub", "checkpoints/000000000004.note"])
def test_no_link_is_followed(sender: Sender, name: str) -> None:
    path = sender.home / name
    path.rename(sender.vault.directory / "moved")
    path.symlink_to(sender.vault.directory / "moved")
    sender.arrive()
    assert outcome(sender).status is Status.DAMAGED


def test_the_clone_goes_whatever_happens(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    sender.night()
    context = offsite(sender.vault, sender.clock)

    def broken(*_: object, **__: object) -> None:
        raise ZborgError("python3 cannot be started")

    monkeypatch.setattr(context.storage.runner, "run", broken)
    assert witness(begin(context, "witness")).exit is Exit.FAILED
    assert clones(sender.vault) == []
    sender.vault.far.clone(newest(sender), "vault/zborg-scratch/20260212T144933Z-0001/zborg-ledger")
    assert outcome(sender).status is Status.OK, "one of a run that was killed is removed"
    assert clones(sender.vault) == []


def test_a_dry_run_changes_nothing(sender: Sender) -> None:
    sender.night()
    context = offsite(sender.vault, sender.clock)
    record = context.config.state_dir / "ledger" / "arrived.json"
    before = record.read_text()
    report = witness(begin(context, "witness", dry_run=True))
    assert report.plan == (f"compare {newest(sender)} with what arrived before",)
    assert record.read_text() == before


def test_what_was_accepted_is_never_trusted_anew(sender: Sender) -> None:
    record = offsite(sender.vault, sender.clock).config.state_dir / "ledger" / "arrived.json"
    good = json.loads(record.read_text())
    for text in ("", "{", "[]", "{}", json.dumps(good | {"at": None}), json.dumps(good | {"note": "x"})):
        record.write_text(text)
        assert looked(sender).exit is Exit.FAILED, text
        assert record.read_text() == text


def test_the_night_of_an_off_site_looks_and_the_sender_hears_of_it(sender: Sender) -> None:
    report = night(offsite(sender.vault, sender.clock))
    assert [one.data["step"] for one in report.outcomes][0] == "witness"
    rewrite(sender)
    sender.night()
    report = night(offsite(sender.vault, sender.clock))
    assert (report.status, report.exit) == (Status.DAMAGED, Exit.DAMAGE)
    (root,) = (one for one in sender.vault.far.datasets(ROOT) if one.name == ROOT)
    (seen,) = (one for one in published_report.read(root.properties[P_REPORT]) if one.command == "witness")
    assert seen.status is Status.DAMAGED and "the server's past was changed" in seen.words[0]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request(hosts=()), "hosts that have checkpoints are its server's"),
        (Request(hosts=("web1",)), "hosts that have checkpoints are its server's"),
        (Request(public_key=Path("key.pub")), "the key that was accepted first"),
    ],
)
def test_what_only_the_server_can_be_asked_is_refused_and_not_ignored(
    sender: Sender, request_: Request, words: str
) -> None:
    run = begin(offsite(sender.vault, sender.clock), "ledger check")
    with pytest.raises(UsageError, match=words):
        check_arrived(run, request_)
    assert check_arrived(run, Request()).exit is Exit.OK
