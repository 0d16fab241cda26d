"""A copy for somebody else: what it proves is checked by another implementation, and without a zborg.toml."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.audit import transparency
from tests.harness.audit.vault import AuditedVault, audited_vault
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, world
from zborg.errors import Exit, UsageError
from zborg.model import Status
from zborg.state.ledger.files import in_folder
from zborg.steps.context import begin
from zborg.steps.ledger.check import Request, check_copy, check_own
from zborg.steps.ledger.export import export


@pytest.fixture
def scene(vault: LocalVault, clock: Hours) -> AuditedVault:
    return audited_vault(vault, clock)


def exported(scene: AuditedVault, folder: Path) -> Path:
    report = export(begin(world(scene.vault, scene.clock), "ledger export"), folder)
    assert report.exit is Exit.OK, report.outcomes
    return folder


def test_every_proof_of_a_copy_is_good_by_another_implementation(scene: AuditedVault, tmp_path: Path) -> None:
    copy = exported(scene, tmp_path / "copy")
    verifier = (copy / "key.pub").read_text().strip()
    roots = {}
    for path in (copy / "checkpoints").iterdir():
        _, size, root = transparency.opened(path.read_text(), verifier).splitlines()
        roots[int(size)] = base64.b64decode(root)
    lines = (copy / "entries.jsonl").read_bytes().splitlines()
    assert sorted(roots) == [2, 3, 4] and len(lines) == 4
    seen = []
    for line in (copy / "proofs.jsonl").read_text().splitlines():
        proof = json.loads(line)
        hashes = [bytes.fromhex(one) for one in proof["hashes"]]
        if "consistency" in proof:
            first, last = proof["consistency"]
            assert transparency.continues(roots[first], first, roots[last], last, hashes)
            seen.append((first, last))
        else:
            index, size = proof["inclusion"]
            assert transparency.includes(roots[size], size, lines[index], index, hashes)
            seen.append((index, size))
    assert seen == [(2, 3), (3, 4), (3, 4)]


def test_a_copy_is_checked_without_a_zborg_toml_and_stands_for_the_past(
    scene: AuditedVault, tmp_path: Path
) -> None:
    copy = exported(scene, tmp_path / "copy")
    argv = [sys.executable, "-m", "zborg", "ledger", "check", str(copy)]
    env = {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path)}
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "4 entries: it agrees with itself" in " ".join(done.stdout.split()), done
    assert scene.night().status is Status.OK
    run = begin(world(scene.vault, scene.clock), "ledger check")
    (found,) = check_own(run, Request(witnesses=[copy])).outcomes
    assert found.message == "5 entries: nothing was changed in the first 4, by the word of a witness"


def test_root_on_the_server_with_all_keys_cannot_change_what_a_copy_stands_for(
    scene: AuditedVault, tmp_path: Path
) -> None:
    """The past written anew and signed by the server's own key: alone it is good, beside a copy it is not."""
    from zborg.model.ledger.merkle import Frontier, leaf_hash
    from zborg.model.ledger.note import Checkpoint, signed
    from zborg.steps.ledger.store import key_of

    copy = exported(scene, tmp_path / "copy")
    own = scene.vault.zfs.directory("tank/borg/zborg-ledger")
    lines = (own / "entries.jsonl").read_text().splitlines()
    lines[2] = lines[2].replace('"deletes":0', '"deletes":9')
    (own / "entries.jsonl").write_text("".join(f"{line}\n" for line in lines))
    signer = key_of(world(scene.vault, scene.clock).config)
    assert signer
    for path in (own / "checkpoints").iterdir():
        size = int(path.stem)
        tree = Frontier().extended(leaf_hash(line.encode()) for line in lines[:size])
        path.write_text(signed(Checkpoint(signer.public.name, size, tree.root), signer.public, signer.sign))
    run = begin(world(scene.vault, scene.clock), "ledger check")
    assert check_own(run, Request()).outcomes[0].status is Status.OK
    (found,) = check_own(run, Request(witnesses=[copy])).outcomes
    assert found.status is Status.DAMAGED
    assert "entry 2 is the first that is not what it was" in found.message
    (found,) = check_own(run, Request(witnesses=[max((copy / "checkpoints").iterdir())])).outcomes
    assert "entries 0 to 3 are not what they were" in found.message
    assert check_copy(Request(folder=copy)).status is Status.OK


@pytest.mark.parametrize("harm", ["no lines", "a note that is none", "no key", "another key"])
def test_a_copy_that_is_none_is_refused_with_a_reason(scene: AuditedVault, tmp_path: Path, harm: str) -> None:
    copy = exported(scene, tmp_path / "copy")
    if harm == "no lines":
        (copy / "entries.jsonl").unlink()
    elif harm == "a note that is none":
        max((copy / "checkpoints").iterdir()).write_text("nonsense")
    elif harm == "no key":
        (copy / "key.pub").unlink()
    else:
        (copy / "key.pub").write_text("backup1+00000000+AAAA\n")
    with pytest.raises(UsageError, match="holds no") as error:
        check_copy(Request(folder=copy))
    assert error.value.remedy


def test_an_empty_copy_has_nothing_to_check(tmp_path: Path) -> None:
    (tmp_path / "entries.jsonl").touch()
    assert in_folder(tmp_path) == ((), ())
