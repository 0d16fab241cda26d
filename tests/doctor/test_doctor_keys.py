"""What doctor and host test say of a host whose key does not open, by the agent's own trial."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.harness.doctor.clinic import Clinic, Plant
from tests.harness.steps import reach_hosts
from zborg.model import Endpoint, Host, Outcome, Status
from zborg.model.text import remedy
from zborg.planning.hosts.agent_version import answer_of, judge

HOST = Host("web1", Endpoint("root", "web1", 22, "k", "i"), 3600, 60)


def conf(clinic: Clinic) -> Path:
    return clinic.host.state / "borg/.config/borg"


def bad(clinic: Clinic) -> Outcome:
    (one,) = [one for one in clinic.look("hosts").outcomes if one.status is not Status.OK]
    return one


def wrong(plant: Plant) -> None:
    plant.text(plant.clinic.host.confdir / "passphrase", "f" * 64)


LOST: dict[str, tuple[Callable[[Plant], None], str, str]] = {
    "another passphrase": (
        wrong,
        "/etc/zborg/passphrase on web1 does not open",
        "cat >/etc/zborg/passphrase && ",
    ),
    "no passphrase": (
        lambda plant: plant.away(plant.clinic.host.confdir / "passphrase"),
        "/etc/zborg/passphrase on web1 is gone, or others",
        "/usr/local/libexec/zborg-agent --setup web1",
    ),
    "no key file": (
        lambda plant: plant.away(conf(plant.clinic) / "keys"),
        "the key file of its repository is gone",
        "cat >/var/lib/zborg/borg/.config/borg/keys/web1 && ",
    ),
    "no memory": (
        lambda plant: plant.away(conf(plant.clinic) / "security"),
        "borg's memory of its repository is gone",
        "ls -l /var/lib/zborg/borg/.config/borg/security",
    ),
}


@pytest.mark.parametrize("name", LOST)
def test_a_lost_part_of_the_key_is_named_by_doctor_and_by_host_test(
    clinic: Clinic, plant: Plant, name: str
) -> None:
    sow, words, line = LOST[name]
    sow(plant)
    one = bad(clinic)
    assert one.status is Status.FAILED and words in one.message, one
    first, (typed,) = remedy.parse(one.remedy)
    assert "web1" in first and typed.startswith(line), one
    (tested,) = reach_hosts(clinic.vault.context(), ()).outcomes
    assert (tested.status, tested.message) == (Status.FAILED, one.message)


def test_the_printed_line_takes_the_safe_copy(clinic: Clinic, plant: Plant) -> None:
    secret = clinic.host.confdir / "passphrase"
    true = secret.read_text()
    wrong(plant)
    (line,) = remedy.parse(bad(clinic).remedy)[1]
    typed = line.replace("/etc/zborg", str(clinic.host.confdir))
    subprocess.run(["sh", "-c", typed], input=f"{true}\n", text=True, check=True, timeout=120)
    assert not [one for one in clinic.look("hosts").outcomes if one.status is not Status.OK]


@pytest.mark.unit
@pytest.mark.parametrize("opens", ["", "opens unknown\n", "opens yes\n"])
def test_an_older_agent_and_one_that_could_not_try_are_no_fault(opens: str) -> None:
    now = datetime(2026, 11, 30, tzinfo=UTC)
    said = f"agent 1\nname web1\nborg 1.2.4\nclock {int(now.timestamp())}\ninitialised yes\nalarm no\n{opens}"
    found = judge(HOST, answer_of(said), now, escrow=False, sealed=False)
    assert found.level is Status.OK
    assert ("opens its key" in found.message) is opens.endswith("yes\n")
