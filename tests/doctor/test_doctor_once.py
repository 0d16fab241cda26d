"""doctor of machines that do not let us in: one try each, reported once. And what waits is shown, no more."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.harness.doctor.clinic import Clinic, Plant
from tests.harness.machines.keys import make_key
from tests.harness.machines.sshd import Sshd
from tests.harness.worlds.world import ZBORG
from zborg.cli.doctor import doctor as command
from zborg.errors import KeyRefused, UsageError
from zborg.hosts.ssh.connection import SshRunner
from zborg.model import Endpoint, Status
from zborg.process import LocalRunner


def tries(sshd: Sshd) -> int:
    """Connections that its log has."""
    return len(re.findall(r"(?m)Connection from ", (sshd.directory / "log").read_text()))


def test_a_storage_and_a_target_without_a_login_are_tried_once(clinic: Clinic, tmp_path: Path) -> None:
    storage, target = (Sshd(tmp_path / name, ["LogLevel VERBOSE"]) for name in ("storage", "target"))
    stranger, serving = (make_key(tmp_path / name).private for name in ("id_stranger", "id_serving"))
    with storage, target:
        toml = tmp_path / "zborg.toml"
        ends = {
            name: f'ssh = "ssh://root@127.0.0.1:{one.port}"\nhost_key = "{one.host_key}"\n'
            for name, one in (("storage", storage), ("target", target))
        }
        toml.write_text(
            f'name = "t"\nstate_dir = "state"\nidentity = "{stranger}"\n[storage]\ndataset = "tank/borg"\n'
            f'serve_identity = "{serving}"\n{ends["storage"]}[targets.offsite]\n{ends["target"]}'
            'dataset = "vault/zborg"\n[hosts.web1]\nssh = "ssh://root@127.0.0.1:1"\n'
            f'host_key = "{storage.host_key}"\n'
        )
        toml.chmod(0o600)
        before = tries(storage), tries(target)
        argv = [str(ZBORG), "doctor", "--json", "--config", str(toml)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, env=dict(os.environ))
        assert (tries(storage) - before[0], tries(target) - before[1]) == (1, 1), done.stdout
    told = [one for one in json.loads(done.stdout)["outcomes"] if "refuses our key" in one["message"]]
    assert len(told) == 2, told


def test_without_once_a_machine_that_came_back_is_reached(tmp_path: Path) -> None:
    sshd, key = Sshd(tmp_path / "sshd"), make_key(tmp_path / "key")
    with sshd:
        endpoint = Endpoint("root", "127.0.0.1", sshd.port, sshd.host_key, str(key.private))
        patient, once = (SshRunner("web1", endpoint, tmp_path / "known", LocalRunner()) for _ in range(2))
        once.once = True
        for runner in (patient, once):
            with pytest.raises(KeyRefused):
                runner.run(["true"])
        sshd.authorize(key.public)
        assert patient.run(["true"]).status == 0
        with pytest.raises(KeyRefused):
            once.run(["true"])
        patient.close()


def test_what_does_not_wait_is_not_announced(clinic: Clinic, plant: Plant) -> None:
    clinic.vault.events.clear()
    plant.entry(clinic.config_changes, "hosts", ())
    plant.entry(clinic.config_changes, "targets", ())
    report = clinic.look()
    assert [event.subject for event in clinic.vault.events if event.kind == "started"] == []
    assert "names no host yet" in next(one.message for one in report.outcomes if one.kind == "storage")
    assert {"targets"} <= {one.kind for one in report.outcomes if one.status is Status.WARNING}


def test_an_exported_pool_is_reported_as_such_alone(clinic: Clinic, plant: Plant) -> None:
    plant.entry(clinic.vault.zfs._all, "tank/borg", clinic.vault.zfs._all["tank/borg"])
    for name in [one for one in clinic.vault.zfs._all if one.startswith("tank")]:
        plant.without(clinic.vault.zfs._all, name)
    plant.without(clinic.vault.zfs.pools, "tank")
    told = [one for one in clinic.look().outcomes if one.status is Status.FAILED]
    assert not [one for one in told if "nonexistent" in one.message or one.kind == "serving"], told
    assert any("tank" in one.message or one.subject == "tank" for one in told), told


def test_the_list_of_areas_is_whole(clinic: Clinic, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError) as caught:
        command(only=["xyz"], config=str(clinic.toml))
    assert "notify" in caught.value.remedy and "schedule" in caught.value.remedy


@pytest.mark.parametrize(("programs", "level"), [(("sendmail",), Status.SKIPPED), ((), Status.WARNING)])
def test_no_notifier_is_no_good_news(
    clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: tuple[str, ...], level: Status
) -> None:
    from zborg.cli import doctor as module

    for name in programs:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(module, "_MAILERS", str(tmp_path))
    (one,) = module._notifiers(clinic.config)
    assert one.level is level and one.message.startswith("none is configured")
