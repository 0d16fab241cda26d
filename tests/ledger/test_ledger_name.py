"""No host is called as the ledger's dataset, and what is said of prunes fits the tunnel."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.builders.config_files import HOST, LEAST, problems, write
from zborg.cli.hosts.enrolment_inputs import operator_of
from zborg.config import load
from zborg.errors import UsageError
from zborg.model.machines import name_problem
from zborg.planning.inventory import orphans

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("name", ["web1", "zborg", "zborg-ledger1", "ledger"])
def test_other_names_are_names(name: str) -> None:
    assert name_problem(name) == ""


def test_the_ledger_s_name_is_refused_everywhere(tmp_path: Path) -> None:
    found = problems(tmp_path, hosts={"zborg-ledger": HOST})
    assert any("hosts.zborg-ledger: zborg-ledger is the name of the ledger's dataset" in one for one in found)
    with pytest.raises(UsageError, match="is no name for a host") as refused:
        operator_of("zborg-ledger", "ssh://root@web1:22", "ssh-ed25519 AAAA")
    assert refused.value.remedy == "zborg-ledger is the name of the ledger's dataset"


def test_its_dataset_is_no_orphan() -> None:
    found = orphans("tank/borg", ["tank/borg/zborg-ledger", "tank/borg/old", "tank/borg"], ["web1"], [])
    assert found == {"tank/borg/old": "old"}


def test_prunes_is_for_hosts_that_run_their_own_borgmatic(tmp_path: Path) -> None:
    found = problems(tmp_path, hosts={"web1": HOST | {"prunes": True}})
    assert any('hosts.web1.prunes: only goes with tunnel = "reverse"' in one for one in found)
    path = write(
        tmp_path / "zborg.toml", LEAST | {"hosts": {"web1": HOST | {"prunes": True, "tunnel": "reverse"}}}
    )
    (host,) = load(path).hosts
    assert host.prunes
