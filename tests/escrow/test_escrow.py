"""A challenge, its proof and its answer: real borg and age, the custodian's machine without a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.harness.machines.borgs import borg_of
from tests.harness.machines.custodian import both, programs, prove
from tests.harness.machines.host import find_borg
from tests.harness.steps import accept, audit, backup, challenge, escrow_status, reseal, snapshot
from tests.harness.watch import next_second
from tests.harness.worlds.fresh import custodian
from tests.harness.worlds.site import NAME, Site
from tests.harness.worlds.steps import of
from zborg.errors import Exit
from zborg.model import Status
from zborg.model.escrow.challenge import Challenge, answer, parse, parse_answer
from zborg.model.ledger.proved import PROVED
from zborg.steps.escrow.prove import Request
from zborg.steps.escrow.prove import prove as proving
from zborg.steps.ledger.store import files_of


@dataclass(frozen=True)
class Made:
    """A challenge of the site's only host."""

    site: Site
    file: Path
    parsed: Challenge
    directory: Path  # for files of a test's own

    def changed(self, sealed: str = "", **facts: object) -> Path:
        """The same with something else sealed, or in it."""
        (case,) = self.parsed.cases
        case = replace(case, sealed=sealed or case.sealed)
        path = self.directory / "changed.json"
        path.write_text(replace(self.parsed, cases=(case,), **facts).text())  # type: ignore[arg-type]  # by name
        return path

    def why(self, path: Path, identity: Path | None = None) -> str:
        """Why a proof fails."""
        report = proving(Request(path, identity or self.site.secret))
        (outcome,) = report.outcomes
        assert (outcome.status, report.exit) == (Status.FAILED, Exit.FAILED)
        assert outcome.remedy
        return outcome.message


@pytest.fixture(scope="module")
def made(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    directory = tmp_path_factory.mktemp("custodian")
    file = directory / "web1.challenge"
    report = challenge(site.context(), file)
    assert report.exit is Exit.OK, report.outcomes
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{both(directory / 'bin')}:{os.environ['PATH']}")
        yield Made(site, file, parse(file.read_text()), directory)


@pytest.fixture(scope="module")
def export(site: Site) -> str:
    """What the host seals, in clear."""
    return site.host.sh("/usr/local/libexec/zborg-agent --key-export")


@pytest.fixture
def seal(site: Site) -> Callable[[str], str]:
    recipient = site.config.custodians[0]

    def sealed(text: str) -> str:
        argv = ["age", "--armor", "-r", recipient]
        return subprocess.run(argv, input=text, check=True, capture_output=True, text=True).stdout

    return sealed


# --- what is right ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.4", "1.2"])
def test_a_proof_without_a_network_counts_once(made: Made, site: Site, tmp_path: Path, version: str) -> None:
    file = tmp_path / "challenge"
    assert challenge(site.context(), file).exit is Exit.OK
    done = prove(file, site.secret, both(tmp_path / "bin", version), "--json")
    assert done.status == 0, (done.out, done.err)
    read = parse_answer(done.answer)
    assert (read.host, read.archives) == (NAME, 2)
    accepted = of(accept(site.context(), done.answer), NAME)
    assert accepted.status is Status.OK, accepted
    lines, notes = files_of(site.context(), site.vault.zfs.datasets("tank/borg/zborg-ledger")).read()
    assert f'"kind":"{PROVED}"'.encode() in lines[int(accepted.data["entry"])]
    assert notes[-1].checkpoint.size == len(lines)
    status = of(escrow_status(site.context()), NAME)
    assert (status.status, status.data["current"], status.data["archives"]) == (Status.OK, True, 2)
    again = of(accept(site.context(), done.answer), NAME)
    assert again.status is Status.FAILED
    assert "answered already" in again.message


def test_people_see_the_line_and_nothing_secret(made: Made, site: Site, tmp_path: Path, export: str) -> None:
    done = prove(made.file, site.secret, both(tmp_path / "bin"))
    assert done.status == 0, done.err
    assert "2 archives, the newest of" in done.out
    assert re.search(r"^ +zborg escrow accept zborg-proof@1@web1@\S+$", done.out, re.MULTILINE), done.out
    secrets = [line for line in export.splitlines() if len(line) > 40 and not line.startswith("#")]
    assert len(secrets) > 3
    assert [line for line in secrets if line in done.out + done.err + made.file.read_text()] == []


def test_it_imports_nothing_that_reaches_others(made: Made) -> None:
    code = (
        "import sys, pathlib; from zborg.steps.escrow.prove import Request, prove;"
        f"r = prove(Request(pathlib.Path({str(made.file)!r}), pathlib.Path({str(made.site.secret)!r})));"
        "print(r.exit.value, [one for one in sys.modules if one.startswith(('paramiko', 'zborg.hosts'))])"
    )
    argv = [sys.executable, "-P", "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=240, check=True)
    assert done.stdout.strip() == "0 []"


def test_a_challenge_is_of_the_newest_snapshot_and_names_the_ledger(made: Made, site: Site) -> None:
    (case,) = made.parsed.cases
    newest = site.vault.zfs.snapshots(f"tank/borg/{NAME}")[-1]
    home = Path(site.vault.zfs.contents(newest, str(site.home)))
    assert any(case.manifest in path.read_bytes() for path in home.glob("data/*/*"))
    assert made.file.stat().st_mode & 0o777 == 0o600
    assert len(made.file.read_bytes()) < 8192


# --- what is wrong with what was sealed ---------------------------------------------------------------------


def test_sealed_garbage(made: Made, seal: Callable[[str], str]) -> None:
    assert "what the host has sealed is garbage: it is no armoured file" in made.why(made.changed("garbage"))
    assert "what the host has sealed is no key of a backup" in made.why(made.changed(seal("garbage")))


def test_a_key_that_only_looks_like_one(made: Made, export: str, seal: Callable[[str], str]) -> None:
    head, start, _ = export.partition("\n# Key file:\n")
    (case,) = made.parsed.cases
    body = urlsafe_b64encode(b"\x86" + bytes(400)).decode().replace("-", "A").replace("_", "A")
    forged = f"{head}{start}BORG_KEY {case.repository}\n{body}\n"
    assert "does not open the manifest" in made.why(made.changed(seal(forged)))


def test_the_key_of_another_host(made: Made, export: str, seal: Callable[[str], str]) -> None:
    (case,) = made.parsed.cases
    other = export.replace(case.repository, "e" * 64).replace("of web1's", "of db1's")
    words = made.why(made.changed(seal(other)))
    assert "the sealed key is that of db1, of the repository eeeeeeee, and not of web1" in words


def test_the_key_of_a_replaced_repository(made: Made, export: str, seal: Callable[[str], str]) -> None:
    (case,) = made.parsed.cases
    words = made.why(made.changed(seal(export.replace(case.repository, "e" * 64))))
    assert (
        f"is of a repository that was replaced, eeeeeeee: what lies there now is {case.repository[:8]}"
        in words
    )


def test_another_key_under_the_id_of_the_repository(
    made: Made, export: str, seal: Callable[[str], str], tmp_path: Path
) -> None:
    passphrase = export.partition("# Passphrase:\n")[2].partition("\n")[0]
    env = {"PATH": os.defpath, "BORG_BASE_DIR": str(tmp_path), "BORG_PASSPHRASE": passphrase}
    init = [find_borg(), "init", "--encryption", "keyfile-blake2", str(tmp_path / "other")]
    subprocess.run(init, env=env, check=True, capture_output=True)
    (key,) = (tmp_path / ".config/borg/keys").iterdir()
    head, start, _ = export.partition("\n# Key file:\n")
    (case,) = made.parsed.cases
    forged = f"{head}{start}BORG_KEY {case.repository}\n{key.read_text().partition(chr(10))[2]}"
    assert "it is another key under this repository's id" in made.why(made.changed(seal(forged)))


def test_a_wrong_passphrase(made: Made, export: str, seal: Callable[[str], str]) -> None:
    passphrase = export.partition("# Passphrase:\n")[2].partition("\n")[0]
    words = made.why(made.changed(seal(export.replace(passphrase, "f" * 64))))
    assert words == "the passphrase that was sealed does not open the key that was sealed with it"


# --- what is wrong with the custodian's side ----------------------------------------------------------------


def test_an_identity_that_opens_none_of_it(made: Made, tmp_path: Path) -> None:
    stranger, _ = custodian(tmp_path)
    words = made.why(made.file, stranger)
    assert f"{stranger} does not open what was sealed: it was sealed for others, or is damaged" in words


def test_an_identity_that_is_not_there(made: Made, tmp_path: Path) -> None:
    done = prove(made.file, tmp_path / "nothing", both(tmp_path / "bin"))
    assert done.status == 2
    assert "is no file that can be read" in done.err


@pytest.mark.parametrize(("there", "missing"), [("age", "borg"), ("borg", "age")])
def test_a_program_that_is_missing(made: Made, site: Site, tmp_path: Path, there: str, missing: str) -> None:
    found = {"age": "/usr/bin/age", "borg": borg_of("1.4")}[there]
    done = prove(made.file, site.secret, programs(tmp_path / "bin", **{there: found}))
    assert done.status == 4
    assert f"{missing} is missing on this machine" in done.err
    assert "apt-get install" in done.err


def test_another_format_and_one_that_has_ended(made: Made, site: Site, tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    newer.write_text(made.file.read_text().replace('challenge": 1', 'challenge": 2'))
    path = both(tmp_path / "bin")
    done = prove(newer, site.secret, path)
    assert (done.status, "of form 2, and this zborg knows form 1" in done.err) == (2, True)
    done = prove(made.changed(until=datetime.now(UTC) - timedelta(days=1)), site.secret, path)
    assert (done.status, "the challenge is too old" in done.err) == (4, True)
    done = prove(site.secret, site.secret, path)
    assert (done.status, "no challenge of zborg's" in done.err) == (2, True)


def test_a_manifest_that_was_changed_on_the_way(made: Made) -> None:
    (case,) = made.parsed.cases
    changed = case.manifest[:-1] + bytes([case.manifest[-1] ^ 1])
    path = made.directory / "damaged.json"
    path.write_text(replace(made.parsed, cases=(replace(case, manifest=changed),)).text())
    assert "the challenge is damaged: its manifest was changed on the way" in made.why(path)


# --- answers that do not count ------------------------------------------------------------------------------


def test_no_answer_is_made_without_the_manifest(made: Made, site: Site) -> None:
    """With all that the challenge holds, and any key that it could yield: zeros are the manifest's own id."""
    (case,) = made.parsed.cases
    now = made.parsed.made
    guesses = [bytes(32), bytes.fromhex(case.repository), bytes.fromhex(case.bound.manifest), os.urandom(32)]
    for guess in guesses:
        refused = of(accept(site.context(), answer(case.bound, 2, now, guess).word), NAME)
        assert refused.status is Status.FAILED
        assert "made by nobody who has opened the manifest" in refused.message


def test_an_answer_of_before_the_key_was_sealed_anew(made: Made, site: Site, tmp_path: Path) -> None:
    file = tmp_path / "challenge"
    challenge(site.context(), file)
    (outcome,) = proving(Request(file, site.secret)).outcomes
    next_second()
    sealed = of(reseal(site.context()), NAME)
    assert sealed.status is Status.OK
    assert len(sealed.data["older"]) >= 1
    assert "current" not in sealed.data
    refused = of(accept(site.context(), outcome.data["answer"]), NAME)
    assert (refused.status, "sealed anew" in refused.message) == (Status.FAILED, True)


def test_an_answer_counts_when_the_host_was_backed_up_meanwhile(
    made: Made, site: Site, tmp_path: Path
) -> None:
    """The custodian may take weeks: the repository goes on, and the newest archive of that time is in it."""
    file = tmp_path / "challenge"
    challenge(site.context(), file)
    next_second()
    assert backup(site.context()).exit is Exit.OK
    assert snapshot(site.context()).exit is Exit.OK
    assert audit(site.context()).exit is Exit.OK  # the entry of a proof disturbs no audit
    (outcome,) = proving(Request(file, site.secret)).outcomes
    accepted = of(accept(site.context(), outcome.data["answer"]), NAME)
    assert accepted.status is Status.OK, accepted
