"""doctor as a whole: what a healthy world says, that nothing is written, and that no trouble hides another.

Single faults are in test_doctor_faults.py, the real ZFS in test_doctor_lab.py.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.harness.builders.findings import bad, tree
from tests.harness.doctor.clinic import Clinic, Plant
from tests.harness.worlds.world import ZBORG
from zborg.errors import ConfigError, Exit, TimedOut, UsageError
from zborg.model import Finding, Notify, Status
from zborg.notify.reach import troubles
from zborg.planning.doctor.remote import AGENT
from zborg.reporting.text import render
from zborg.steps.doctor.step import AREAS, doctor

# --- a healthy world --------------------------------------------------------------------------------


def test_a_healthy_world_has_no_bad_finding_and_every_area_is_told(clinic: Clinic) -> None:
    report = clinic.look()
    assert (report.status, report.exit, bad(report)) == (Status.OK, Exit.OK, [])
    assert {one.kind for one in report.outcomes} == {*AREAS} - {"off-site"}
    hosts = next(one for one in report.outcomes if one.kind == "hosts")
    assert hosts.message == "1 host answers with its pinned key"


def test_nothing_is_written_anywhere(clinic: Clinic, plant: Plant) -> None:
    """Neither here nor on the host, its repository included; nor in what ZFS keeps."""
    inputs = clinic.inputs()
    calls: list[str] = []
    for zfs in (clinic.vault.zfs, clinic.vault.far):
        plant.attribute(zfs, "fail", lambda method, _: calls.append(method))
    before = tree(clinic.directory)
    assert bad(doctor(inputs)) == []
    assert tree(clinic.directory) == before
    assert set(calls) == {"datasets", "pool"}, "no other method of ZFS was called"


def test_no_line_is_longer_than_a_terminal_but_commands_to_copy(clinic: Clinic, plant: Plant) -> None:
    plant.attribute(clinic.far, "has_sink", False)
    plant.away(clinic.cron)
    plant.mode(clinic.toml, 0o644)
    for key, value in (("atime", "on"), ("sync", "disabled"), ("dedup", "on"), ("compression", "off")):
        plant.entry(clinic.near.own, ("tank/borg", key), value)
    report = clinic.look()
    assert len(bad(report)) == 7, bad(report)
    long = [line.text for line in render(report, verbose=True) if len(line.text) > 80]
    commands = {command for one in report.outcomes for command in one.data.get("commands", ())}
    words = [line.split()[-1] for line in long if line.strip().removeprefix("-> ") not in commands]
    assert all(str(clinic.directory) in word for word in words), long


# --- trouble that must not hide other trouble -------------------------------------------------------


def test_a_probe_that_cannot_be_asked_is_a_finding_and_ends_no_other(clinic: Clinic, plant: Plant) -> None:
    def fail(method: str, arguments: tuple[object, ...]) -> None:
        raise TimedOut(("zfs", method), -1, "", "no answer within 120 s")

    plant.attribute(clinic.vault.zfs, "fail", fail)
    report = clinic.look()
    told = bad(report)
    assert {one.message for one in told} == {"no answer within 120 s"}, told
    areas = {one.kind for one in report.outcomes if one.status is Status.OK}
    assert {"config", "state", "keys", "programs", "hosts", "targets", "schedule"} <= areas
    assert not {"properties", "repositories"} & {one.kind for one in told}, "which would only say it again"


def test_of_a_repository_that_cannot_be_seen_no_escrow_is_missed(clinic: Clinic, plant: Plant) -> None:
    """Whose key is sealed here is known by the repository's id."""
    plant.without(clinic.vault.zfs._all, "tank/borg/web1")
    plant.entry(clinic.config_changes, "custodians", ("age1xxxxxxxxxx",))
    told = bad(clinic.look())
    assert told and not [one for one in told if "escrow" in one.message], told


def test_even_a_bug_in_a_probe_ends_no_other(clinic: Clinic) -> None:
    def broken(_: object) -> list[Finding]:
        raise RuntimeError("the sky fell")

    report = doctor(replace(clinic.inputs(), more=(("notify", broken),)), only=("notify", "state"))
    told = {one.kind: one for one in report.outcomes}
    assert told["state"].status is Status.OK
    assert "this is a bug in zborg: RuntimeError: the sky fell" in told["notify"].message


def test_a_further_row_is_told_like_the_others(clinic: Clinic) -> None:
    row = (
        "notify",
        lambda config: [Finding("notify", Status.WARNING, f"{config.name}: no answer", "see to it")],
    )
    report = doctor(replace(clinic.inputs(), more=(row,)), only=("notify",))
    (one,) = report.outcomes
    assert (one.kind, one.message, one.remedy) == ("notify", "test: no answer", "see to it")


def test_with_mistakes_in_zborg_toml_the_rest_is_looked_at(clinic: Clinic, plant: Plant) -> None:
    """A wrong host, a wrong key, a drop-in that is none: web1 is still reached, and all are told."""
    text = clinic.toml.read_text() + '[hosts.db1]\nssh = "telnet://db1"\n[backup]\nparalel = 3\n'
    plant.text(clinic.toml, text)
    plant.text(clinic.directory / "hosts.d" / "db2.toml", "[hosts.db2\n", 0o600)
    report = clinic.look()
    told = "\n".join(one.message for one in bad(report))
    assert {one.kind for one in bad(report)} == {"config"} and report.exit is Exit.FAILED
    for words in (
        "hosts.db1.ssh: ",
        "hosts.db1.host_key: is missing",
        "backup.paralel: is not known",
        "db2.toml: ",
    ):
        assert words in told, (words, told)
    assert "1 host answers with its pinned key" in {one.message for one in report.outcomes}


def test_hosts_and_areas_that_are_not_known(clinic: Clinic) -> None:
    with pytest.raises(UsageError, match="no such host: db1"):
        doctor(clinic.inputs(), ["db1"])
    with pytest.raises(UsageError, match="no such area: pools"):
        doctor(clinic.inputs(), only=["pools"])


# --- before zborg init, on the command line ---------------------------------------------------------


def run(path: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    argv = [str(ZBORG), "doctor", "--config", str(path), *words]
    done = subprocess.run(
        argv,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


def test_before_init_it_says_what_is_missing_and_makes_none_of_it(clinic: Clinic, tmp_path: Path) -> None:
    toml = tmp_path / "etc" / "zborg.toml"
    toml.parent.mkdir(mode=0o700)
    toml.write_text(
        clinic.toml.read_text().replace(f'state_dir = "{clinic.vault.state}"', 'state_dir = "state"')
    )
    toml.chmod(0o600)
    home = tmp_path / "home"
    home.mkdir()
    before = tree(tmp_path)
    done = run(toml, "--json", HOME=str(home), TMPDIR=str(home))
    after = tree(tmp_path)
    assert {path: facts[:3] for path, facts in after.items()} == {
        path: facts[:3] for path, facts in before.items()
    }
    report = json.loads(done.stdout)
    assert (done.returncode, report["exit"]) == (Exit.FAILED, Exit.FAILED)
    told = {one["kind"]: one for one in report["outcomes"]}
    assert told["state"]["message"] == "the state directory does not exist"
    assert told["hosts"]["message"] == "1 host answers with its pinned key"


@pytest.mark.parametrize("text", ["[storage", "[storage]\ndataset = 5\n"])
def test_a_zborg_toml_of_which_nothing_can_be_used(tmp_path: Path, text: str) -> None:
    path = tmp_path / "zborg.toml"
    path.write_text(text)
    path.chmod(0o600)
    done = run(path)
    assert done.returncode == Exit.FAILED, done.stderr
    assert f"{path}" in done.stdout and "programs" in done.stdout


def test_no_zborg_toml_at_all(tmp_path: Path) -> None:
    done = run(tmp_path / "none.toml")
    assert (done.returncode, "does not exist" in done.stdout) == (Exit.FAILED, True), done.stdout


# --- the adapter and the notifiers ------------------------------------------------------------------


def test_an_adapter_that_cannot_be_had_is_a_mistake_and_the_rest_is_asked_by_the_other(
    clinic: Clinic, tmp_path: Path
) -> None:
    (tmp_path / "hosts.d").mkdir(mode=0o700)
    toml = tmp_path / "zborg.toml"
    toml.write_text(clinic.toml.read_text().replace("[storage]\n", '[storage]\nzfs = "libzfs"\n'))
    toml.chmod(0o600)
    told = json.loads(run(toml, "--json", "--only", "config", "--only", "hosts").stdout)["outcomes"]
    found = {one["subject"]: one for one in told}
    config, hosts = found["config"], found["hosts"]  # the inventory needs a ZFS, which is not here
    assert (config["status"], "libzfs" in config["message"]) == ("failed", True), config
    assert (hosts["status"], hosts["kind"]) == ("ok", "hosts"), hosts


def test_notifiers_are_reached_and_nothing_is_sent(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        up, down = (one.getsockname()[1] for one in (server, nobody))
        settings = Notify(
            urls=(
                f"mailto://u:secretword@127.0.0.1:{up}?from=a@b.org&to=c@d.org",
                f"json://127.0.0.1:{up}",
                "nothing://x",
            ),
            pings={"run": f"http://127.0.0.1:{up}/ping", "scrub": f"http://127.0.0.1:{down}/secretword"},
            command=("/nonexistent/tell",),
        )
        found = {name: wrong for name, wrong, _ in troubles(settings)}
        server.settimeout(0.1)
        heard = [server.accept()[0] for _ in range(2)]
        assert [one.recv(1) for one in heard] == [b"", b""], "opened and closed"
        for one in heard:
            one.close()
    good = {name for name, wrong in found.items() if not wrong}
    assert good == {"ping of run", "url 1", "url 2"}, found
    assert f"no connection to 127.0.0.1:{down}" in found["ping of scrub"]
    assert found["url 3"].startswith("its scheme, nothing://, is none that Apprise knows")
    assert found["command"] == "there is no /nonexistent/tell"
    assert "secretword" not in str(found)


@pytest.mark.unit
def test_a_notifier_whose_secret_is_missing_is_told(tmp_path: Path) -> None:
    settings = Notify(urls=("mailtos://u:${PASSWORD}@127.0.0.1",), secrets=str(tmp_path / "none.toml"))
    ((name, wrong, mend),) = troubles(settings)
    assert (name, "No such file" in wrong, mend) == ("url 1", True, "secrets under [notify] names it")


# --- small things -----------------------------------------------------------------------------------


@pytest.mark.unit
def test_our_number_of_the_agent_is_the_scripts() -> None:
    from zborg.hosts.agent import script

    assert f'"agent {AGENT}"' in script()


def test_salvage_takes_no_file_that_others_could_have_written(clinic: Clinic, plant: Plant) -> None:
    plant.mode(clinic.toml, 0o620)
    inputs = clinic.inputs()
    assert inputs.config is None and isinstance(inputs.mistakes[0], ConfigError)
