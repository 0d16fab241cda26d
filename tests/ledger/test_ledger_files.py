"""The ledger on disk: what a killed writer, a full disk, a careless root or a new server leaves of it."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.harness.audit import transparency
from zborg.errors import ConfigError, Damage, ZborgError
from zborg.model.ledger.entries import Anomaly, Audited, Rule, audited, parse
from zborg.model.ledger.sealed import Listing, Log, SealedObject
from zborg.model.ledger.sessions import Purpose, Session
from zborg.process import LocalRunner
from zborg.state.ledger import key
from zborg.state.ledger.files import Files, Strange, in_folder
from zborg.state.ledger.key import Key
from zborg.state.ledger.ledger import Ledger

NOW = datetime(2026, 2, 12, 14, 49, 33, tzinfo=UTC)
SIGNER = Key("backup1/1f2e3d4c", bytes(32))


def entry(host: str = "web1", last: int = 5, *, clean: bool = True) -> Audited:
    return Audited(
        host=host,
        run="20260211T023000Z-0001",
        at=NOW,
        snapshot="zborg_2026-02-11T023000Z",
        guid="17",
        taken=NOW,
        repository="5a" * 32,
        last=last,
        prior=1,
        config="c" * 64,
        manifest=535,
        most=535,
        nonce=1 << 60,
        log=Log(90, "d" * 64, ""),
        sealed=Listing(6, 1000, "a" * 64),
        bytes=1100,
        objects=(SealedObject("0/5", 17, f"{last:064x}"),),
        puts=3,
        deletes=0,
        sessions=(Session(Purpose.PRUNE, "run", NOW, 1, None),),
        anomalies=() if clean else (Anomaly(Rule.CONFIG, "caf\u00e9"),),
        clean=clean,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "storage").mkdir()
    return tmp_path / "storage"


def opened(tmp_path: Path, signer: Key = SIGNER) -> Ledger:
    return Ledger(tmp_path / "server", Files(LocalRunner(), str(tmp_path / "storage")), signer, lambda: NOW)


def kinds(folder: Path) -> list[str]:
    return [parse(line).kind for line in (folder / "entries.jsonl").read_text().splitlines()]


def good(folder: Path) -> None:
    """By another implementation: each checkpoint is signed, and is over the lines that it names."""
    lines, _ = in_folder(folder)
    notes = sorted((folder / "checkpoints").glob("*.note"))
    assert notes
    for path in notes:
        name, size, root = transparency.opened(path.read_text(), str(SIGNER.public)).splitlines()
        assert name == SIGNER.public.name
        import base64

        assert base64.b64decode(root) == transparency.tree_hash(lines[: int(size)])
    assert int(size) == len(lines), "the last one is over all"


def test_an_entry_reads_as_it_was_written() -> None:
    for one in (entry(), entry(clean=False), replace(entry(), manifest=None, nonce=None, sessions=())):
        line = one.line()
        assert line.isascii() and "\n" not in line
        assert audited(parse(line)) == one


@pytest.mark.parametrize("line", ["", "{", "[]", "7", "[" * 100_000, '{"kind": 7}', '{"at": "x"}'])
def test_what_is_no_entry_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="."):
        parse(line)


@pytest.mark.parametrize(
    "change", [{"snapshot": []}, {"at": "x"}, {"kind": "begun"}, {"objects": 7}, {"log": None}]
)
def test_what_audit_did_not_write_is_refused(change: dict[str, object]) -> None:
    table = json.loads(entry().line()) | change
    with pytest.raises(ValueError, match="not an entry that audit wrote"):
        audited(parse(json.dumps(table)))


def test_it_grows_and_every_checkpoint_fits(tmp_path: Path, folder: Path) -> None:
    for night in range(5):
        checkpoint = opened(tmp_path).append([entry("web1", 5 + night), entry("web2", 5 + night)])
    assert checkpoint.size == 11
    assert kinds(folder) == ["begun", *["audit"] * 10]
    good(folder)
    assert len(list((folder / "checkpoints").iterdir())) == 5
    latest = opened(tmp_path).latest("web2")
    assert latest and latest.last == 9 and opened(tmp_path).latest("web3") is None


def test_what_was_recorded_is_found_by_name_the_last_record_first(tmp_path: Path, folder: Path) -> None:
    ledger = opened(tmp_path)
    ledger.append([entry(last=5), entry(last=6), entry("web2", 7)])
    assert ledger.digests("web1", ["0/5", "0/9"]) == {"0/5": f"{6:064x}"}
    assert ledger.digests("web1", []) == {}
    ledger.append([entry(last=8, clean=False)])
    clean = ledger.last_clean("web1")
    assert clean and clean.last == 6 and ledger.last_clean("web3") is None


@pytest.mark.parametrize("cut", [1, 100, 700])
def test_a_line_that_was_not_finished_is_removed_and_named(tmp_path: Path, folder: Path, cut: int) -> None:
    opened(tmp_path).append([entry()])
    lines = folder / "entries.jsonl"
    with lines.open("a") as file:
        file.write(entry(last=9).line()[:cut])
    ledger = opened(tmp_path)
    assert ledger.digests("web1", ["0/5"]) == {"0/5": f"{5:064x}"}, "it is read all the same"
    ledger.append([entry(last=7)])
    assert kinds(folder) == ["begun", "audit", "healed", "audit"]
    assert f"{cut} bytes of a line that was not finished were removed" in ledger.notices[0]
    good(folder)


def test_one_that_is_too_short_is_begun_anew_before_it_is_asked(tmp_path: Path, folder: Path) -> None:
    opened(tmp_path).heal()  # there is none yet, and that is no reason to begin one
    assert not list(folder.iterdir())
    opened(tmp_path).append([entry()])
    opened(tmp_path).heal()
    assert kinds(folder) == ["begun", "audit"]
    (folder / "entries.jsonl").write_text("cut")
    ledger = opened(tmp_path)
    ledger.heal()
    assert "a new ledger begins" in ledger.notices[0] and kinds(folder) == ["begun"]
    assert opened(tmp_path).digests("web1", ["0/5"]) == {}
    good(folder)


def test_lines_without_a_checkpoint_are_taken_in(tmp_path: Path, folder: Path) -> None:
    """Killed after the lines were on disk, and before the server knew of it."""
    opened(tmp_path).append([entry()])
    before = (tmp_path / "server/frontier.json").read_text()
    opened(tmp_path).append([entry(last=7)])
    (tmp_path / "server/frontier.json").write_text(before)
    newest = max((folder / "checkpoints").iterdir())
    newest.unlink()
    ledger = opened(tmp_path)
    ledger.append([entry(last=9)])
    assert kinds(folder) == ["begun", "audit", "audit", "audit"] and not ledger.notices
    good(folder)


def test_a_ledger_that_lost_lines_is_set_aside_and_a_new_one_begins_with_a_word(
    tmp_path: Path, folder: Path
) -> None:
    opened(tmp_path).append([entry()])
    lines = folder / "entries.jsonl"
    lines.write_text(lines.read_text().splitlines()[0] + "\n")
    ledger = opened(tmp_path)
    ledger.append([entry(last=7)])
    assert (
        "a new ledger begins" in ledger.notices[0] and "is shorter than what was written" in ledger.notices[0]
    )
    assert kinds(folder) == ["begun", "audit"]
    first = parse(lines.read_text().splitlines()[0])
    assert first.table["before"][0] == 2 and "shorter" in first.table["because"]
    assert len(list(folder.glob("*.broken-*"))) == 2, "what was there stays"
    good(folder)


def test_lines_that_this_server_did_not_write_are_not_signed_for(tmp_path: Path, folder: Path) -> None:
    opened(tmp_path).append([entry()])
    with (folder / "entries.jsonl").open("a") as file:
        file.write(entry(last=99).line() + "\n")
    ledger = opened(tmp_path)
    ledger.append([entry(last=7)])
    assert "there are lines in it that this server did not write" in ledger.notices[0]
    assert kinds(folder) == ["begun", "audit"]
    latest = opened(tmp_path).latest("web1")
    assert latest and latest.last == 7


def test_a_state_directory_of_an_earlier_night_learns_what_it_signed_since(
    tmp_path: Path, folder: Path
) -> None:
    opened(tmp_path).append([entry()])
    shutil.copytree(tmp_path / "server", tmp_path / "older")
    opened(tmp_path).append([entry(last=7), entry("web2", 8)])
    shutil.rmtree(tmp_path / "server")
    (tmp_path / "older").rename(tmp_path / "server")
    ledger = opened(tmp_path)
    ledger.append([entry(last=9)])
    assert kinds(folder) == ["begun", "audit", "audit", "audit", "audit"] and not ledger.notices
    latest = opened(tmp_path).latest("web2")
    assert latest and latest.last == 8
    good(folder)


def test_what_was_changed_on_the_storage_is_damage_and_nothing_is_taken_from_it(
    tmp_path: Path, folder: Path
) -> None:
    opened(tmp_path).append([entry()])
    lines = folder / "entries.jsonl"
    lines.write_text(lines.read_text().replace(f"{5:064x}", "f" * 64))
    with pytest.raises(Damage, match="is not what this server wrote"):
        opened(tmp_path).digests("web1", ["0/5"])
    with pytest.raises(Damage, match="is not what this server wrote"):
        opened(tmp_path).last_clean("web1")


def test_what_a_newer_version_wrote_is_passed_over(tmp_path: Path, folder: Path) -> None:
    lines = [entry().line(), entry(last=8).line().replace('"findings":[]', '"findings":[["later","x"]]')]
    ledger = opened(tmp_path)
    ledger.append([entry(), entry(last=8)])
    path, frontier = folder / "entries.jsonl", tmp_path / "server/frontier.json"
    path.write_text("".join(f"{line}\n" for line in [path.read_text().splitlines()[0], *lines]))
    frontier.unlink()
    clean = opened(tmp_path).last_clean("web1")
    assert clean and clean.last == 5


def test_a_server_that_was_set_up_anew_goes_on_if_it_has_the_key(tmp_path: Path, folder: Path) -> None:
    opened(tmp_path).append([entry()])
    for path in (tmp_path / "server").iterdir():
        path.unlink()
    ledger = opened(tmp_path)
    ledger.append([entry(last=7)])
    assert kinds(folder) == ["begun", "audit", "audit"] and "goes on, with 2 entries" in ledger.notices[0]
    good(folder)


@pytest.mark.parametrize("what", ["another key", "a changed line", "no checkpoint", "a broken checkpoint"])
def test_without_what_the_server_knew_only_a_ledger_that_fits_goes_on(
    tmp_path: Path, folder: Path, what: str
) -> None:
    opened(tmp_path).append([entry()])
    for path in (tmp_path / "server").iterdir():
        path.unlink()
    (note,) = (folder / "checkpoints").iterdir()
    if what == "a changed line":
        lines = folder / "entries.jsonl"
        lines.write_text(lines.read_text().replace("web1", "web7"))
    elif what == "no checkpoint":
        note.unlink()
    elif what == "a broken checkpoint":
        note.write_text("nonsense\n")
    ledger = opened(tmp_path, Key("other/1", b"x" * 32) if what == "another key" else SIGNER)
    ledger.append([entry(last=7)])
    assert "a new ledger begins" in ledger.notices[0]
    assert kinds(folder) == ["begun", "audit"]


def test_what_the_server_knows_and_cannot_read_is_read_anew(tmp_path: Path, folder: Path) -> None:
    opened(tmp_path).append([entry()])
    (tmp_path / "server/frontier.json").write_text("{")
    (tmp_path / "server/host-web1.json").write_text("{")
    ledger = opened(tmp_path)
    assert ledger.latest("web1") is None
    ledger.append([entry(last=7)])
    assert "is read from its beginning" in ledger.notices[0]
    assert kinds(folder) == ["begun", "audit", "audit"]
    good(folder)


def test_a_folder_that_is_gone_is_an_error_and_nothing_is_lost(tmp_path: Path, folder: Path) -> None:
    opened(tmp_path).append([entry()])
    known = (tmp_path / "server/frontier.json").read_text()
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(ZborgError, match="No such file"):
        opened(tmp_path).append([entry(last=7)])
    assert (tmp_path / "server/frontier.json").read_text() == known


# --- the key ----------------------------------------------------------------------------------------------


def test_a_key_is_made_once_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert key.load(path) is None
    made = key.make(path, "backup 1/x")
    again = key.load(path)
    assert again and again.public == made.public and str(again) == str(made)
    assert path.stat().st_mode & 0o777 == 0o600
    assert made.public.name.startswith("backup-1-x/")
    assert (tmp_path / "key.pub").read_text() == f"{made.public}\n"
    assert key.verify(made.public.key, made.sign(b"x"), b"x") and not key.verify(
        made.public.key, made.sign(b"x"), b"y"
    )
    assert not key.verify(b"short", made.sign(b"x"), b"x")


@pytest.mark.parametrize("text", ["", "PRIVATE+KEY+a+b+*", "PRIVATE+KEY+a+b+AAAA", "a+b+AAAA"])
def test_a_file_that_holds_no_key_is_an_error_with_a_remedy(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    with pytest.raises(ConfigError, match="holds no key of a ledger") as error:
        key.load(tmp_path / "key")
    assert error.value.remedy == f"mv {tmp_path}/key {tmp_path}/key.broken"


def test_a_key_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        key.load(tmp_path / "key")


@pytest.mark.parametrize("name", ["entries.jsonl", "checkpoints/000000000002.note", "checkpoints", "key.pub"])
def test_nothing_but_plain_files_is_opened(tmp_path: Path, folder: Path, name: str) -> None:
    """A pipe would be waited for, and what a link points to is none of ours."""
    opened(tmp_path).append([entry()])
    (folder / "key.pub").write_text(f"{SIGNER.public}\n")
    files = Files(LocalRunner(), str(folder))
    assert files.public_key() == f"{SIGNER.public}\n" and len(files.read()[0]) == 2
    path, aside = folder / name, tmp_path / "aside"
    path.rename(aside)
    for make in (os.mkfifo, lambda place: place.symlink_to(aside)):
        make(path)
        with pytest.raises(Strange, match="is no plain file"):
            files.public_key() if name == "key.pub" else files.read()
        path.unlink()
