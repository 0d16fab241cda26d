"""doctor as a whole: what a healthy world says, that nothing is written, and that no trouble hides another.

Single faults are in test_doctor_faults.py, the real ZFS in test_doctor_lab.py.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.checkout import CHECKOUT
from tests.harness.worlds.clinic import DELEGATED, Clinic, Plant, ZfsWords
from tests.harness.worlds.world import ZBORG
from zborg.errors import CommandFailed, ConfigError, Exit, TimedOut, UsageError
from zborg.model import Finding, Notify, Outcome, Report, Status
from zborg.model.storage.grants import Grant
from zborg.notify.reach import troubles
from zborg.planning.doctor.remote import AGENT, DoorFacts, door
from zborg.planning.doctor.storage import Account, delegation
from zborg.reporting.text import render
from zborg.steps.doctor.step import AREAS, doctor
from zborg.zfs.output.allowed import grants


def bad(report: Report) -> list[Outcome]:
    return [one for one in report.outcomes if one.status is not Status.OK]


def said(found: Sequence[Finding]) -> str:
    return "\n".join(f"{one.level}: {one.message} -> {one.remedy}" for one in found)


def tree(*tops: Path) -> dict[str, tuple[int, int, int, int, str]]:
    """Every path with mode, owner, size, time and where it points to; the sshd's own log grows."""
    found = {}
    for top in tops:
        for path in (top, *sorted(top.rglob("*"))):
            facts = path.lstat()
            link = str(path.readlink()) if path.is_symlink() else ""
            if path.name != "log":
                found[str(path)] = (facts.st_mode, facts.st_uid, facts.st_size, facts.st_mtime_ns, link)
    return found


# --- a healthy world --------------------------------------------------------------------------------


def test_a_healthy_world_has_no_bad_finding_and_every_area_is_told(clinic: Clinic) -> None:
    report = clinic.look()
    assert (report.status, report.exit, bad(report)) == (Status.OK, Exit.OK, [])
    assert {one.kind for one in report.outcomes} == {*AREAS} - {"off-site"}
    hosts = next(one for one in report.outcomes if one.kind == "hosts")
    assert hosts.message == "1 host answers with its pinned key"


def test_nothing_is_written_anywhere(clinic: Clinic, plant: Plant) -> None:
    """Neither here nor on the host, its repository included; nor in what ZFS keeps."""
    bench = clinic.bench()
    calls: list[str] = []
    for zfs in (clinic.vault.zfs, clinic.vault.far):
        plant.attribute(zfs, "fail", lambda method, _: calls.append(method))
    before = tree(clinic.directory)
    assert bad(doctor(bench)) == []
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

    report = doctor(replace(clinic.bench(), more=(("notify", broken),)), only=("notify", "state"))
    told = {one.kind: one for one in report.outcomes}
    assert told["state"].status is Status.OK
    assert "this is a bug in zborg: RuntimeError: the sky fell" in told["notify"].message


def test_a_further_row_is_told_like_the_others(clinic: Clinic) -> None:
    row = (
        "notify",
        lambda config: [Finding("notify", Status.WARNING, f"{config.name}: no answer", "see to it")],
    )
    report = doctor(replace(clinic.bench(), more=(row,)), only=("notify",))
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
        doctor(clinic.bench(), ["db1"])
    with pytest.raises(UsageError, match="no such area: pools"):
        doctor(clinic.bench(), only=["pools"])


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


# --- delegation -------------------------------------------------------------------------------------

WANTED = frozenset({"receive:append", "create", "mount", "userprop"})
LINE = "zfs allow -u zborg-sink receive:append,create,mount,userprop vault/zborg"


def judged(*lines: str, append: bool = True, groups: Sequence[str] = ()) -> str:
    """The bad findings on what `zfs allow` shows of the parent."""
    head = "\n".join(DELEGATED.splitlines()[:2])
    found = grants("\n".join([head, *(f"\t{line}" for line in lines), ""]))
    account = Account("zborg-sink", "vault/zborg", found, groups, WANTED, append, LINE)
    return said([one for one in delegation(account, "") if one.level is not Status.OK])


@pytest.mark.unit
def test_exactly_what_the_sink_needs_is_good() -> None:
    assert judged("user zborg-sink create,mount,receive:append,userprop") == ""
    assert judged("group backup create,mount,receive:append,userprop", groups=["backup"]) == ""
    assert judged("user zborg-sink create,mount,receive:append,userprop", "user zborg-read send") == ""


@pytest.mark.unit
@pytest.mark.parametrize(
    "right", ["destroy", "rollback", "mountpoint", "readonly", "quota", "snapshot_limit", "allow"]
)
@pytest.mark.parametrize("whose", ["user zborg-sink", "user anna", "group staff", "everyone"])
def test_who_may_destroy_or_mount_is_an_error_whoever_it_is(whose: str, right: str) -> None:
    flags = {"user": f"-u {whose[5:]}", "grou": f"-g {whose[6:]}", "ever": "-e"}[whose[:4]]
    told = judged("user zborg-sink create,mount,receive:append,userprop", f"{whose} {right},send")
    assert told.startswith(f"failed: {whose} may {right} on vault/zborg"), told
    assert told.endswith(f"-> zfs unallow {flags} {right} vault/zborg"), told


@pytest.mark.unit
def test_receive_is_enough_to_destroy_where_there_is_a_word_for_less() -> None:
    told = judged("user zborg-sink create,mount,receive,userprop")
    assert told.startswith("failed: zborg-sink holds receive on vault/zborg: enough to destroy"), told
    assert told.endswith(f"-> zfs unallow -u zborg-sink receive vault/zborg\n{LINE}")
    older = judged("user zborg-sink create,mount,receive,userprop", append=False)
    assert older.startswith("warning: ") and "the sink is the only wall" in older


@pytest.mark.unit
def test_what_is_missing_is_given_by_the_line_of_the_documents() -> None:
    assert judged("user zborg-sink receive:append,mount").endswith(
        f"failed: zborg-sink lacks create, userprop on vault/zborg -> {LINE}"
    )


@pytest.mark.unit
def test_a_set_is_taken_back_as_a_set() -> None:
    grant = Grant("vault", "user", "anna", frozenset({"destroy", "mount"}), frozenset({"@all"}), below=True)
    account = Account("zborg-sink", "vault/zborg", [grant], (), frozenset(), True, LINE)
    assert said(delegation(account, "")).endswith("zfs unallow -u anna @all vault")


# --- the off-site itself ----------------------------------------------------------------------------

ROOT = "vault/zborg"
FORCED = f'restrict,command="/usr/local/bin/zborg sink {ROOT}"'
GOOD = f"{FORCED} ssh-ed25519 AAAA vault"


def at(clinic: Clinic, plant: Plant, delegated: str, keys: str) -> Report:
    """doctor as the off-site's own root runs it."""
    plant.attribute(clinic.far, "has_sink", False)
    plant.attribute(clinic.far, "delegated", delegated)
    plant.attribute(clinic.far, "home", str(clinic.directory / "sink"))
    ssh = clinic.directory / "sink" / ".ssh"
    ssh.mkdir(parents=True, exist_ok=True)
    plant.text(ssh / "authorized_keys", keys, 0o600)
    bench = clinic.bench()
    assert bench.config and bench.context
    storage = replace(bench.config.storage, dataset=ROOT, received=True)
    config = replace(bench.config, storage=storage, hosts=(), targets=())
    context = replace(bench.context, config=config, zfs=clinic.vault.far, storage=clinic.far)
    return doctor(replace(bench, config=config, context=context))


def test_an_off_site_as_the_documents_make_it_is_good(clinic: Clinic, plant: Plant) -> None:
    report = at(clinic, plant, DELEGATED, f"# the server\n{GOOD}\n")
    assert bad(report) == []
    told = {one.kind: one.message for one in report.outcomes}
    assert told["off-site"] == f"zborg-sink may receive below {ROOT} and do no more; its keys end in the sink"
    assert not {"storage", "properties", "repositories", "serving", "hosts"} & set(told)


def test_an_off_site_is_started_when_the_night_has_arrived(clinic: Clinic, plant: Plant) -> None:
    plant.away(clinic.cron)
    (one,) = bad(at(clinic, plant, DELEGATED, f"{GOOD}\n"))
    line = "30 8 * * *  root  /usr/local/bin/zborg run --quiet"
    assert one.data["commands"] == [f"echo '{line}' >>/etc/cron.d/zborg"]
    assert f"`{line}`" in (CHECKOUT / "docs" / "sink.md").read_text()


def test_faults_of_an_off_site_are_named_with_their_mend(clinic: Clinic, plant: Plant) -> None:
    for key in ("quota", "snapshot_limit", "filesystem_limit"):
        plant.entry(clinic.far.own, (ROOT, key), "0" if key == "quota" else "18446744073709551615")
    plant.entry(clinic.far.own, (ROOT, "readonly"), "off")
    keys = f"{GOOD}\nssh-ed25519 BBBB anna\n"
    report = at(clinic, plant, DELEGATED.replace("mount,", "destroy,mount,"), keys)
    told = {f"{one.message} -> {one.remedy}": one.status for one in bad(report) if one.kind == "off-site"}
    path = clinic.directory / "sink" / ".ssh" / "authorized_keys"
    wanted = {
        "quota of vault/zborg is not set": "zfs set quota=4T vault/zborg",
        "snapshot_limit of vault/zborg is not set": "zfs set snapshot_limit=20000 vault/zborg",
        "filesystem_limit of vault/zborg is not set": "zfs set filesystem_limit=200 vault/zborg",
        "readonly of vault/zborg is off": "zfs set readonly=on vault/zborg",
        "user zborg-sink may destroy on vault/zborg": "zfs unallow -u zborg-sink destroy vault/zborg",
        "line 2 opens a shell for zborg-sink": f"{FORCED} ssh-ed25519 BBBB anna|' {path}",
    }
    assert len(told) == len(wanted), told
    for words, mend in wanted.items():
        assert any(one.startswith(words) and one.endswith(mend) for one in told), (words, told)


def test_an_off_site_where_nobody_may_receive_gets_the_lines(clinic: Clinic, plant: Plant) -> None:
    report = at(clinic, plant, "", "")
    (one,) = [one for one in bad(report) if one.kind == "off-site"]
    assert one.message == "no account may receive here"
    assert one.data["commands"] == [
        "useradd --system --home-dir /home/zborg-sink --shell /bin/sh zborg-sink",
        LINE,
    ]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ssh-ed25519 AAAA", "line 1 opens a shell"),
        ("restrict ssh-ed25519 AAAA", "line 1 opens a shell"),
        (GOOD.replace("restrict,", ""), "line 1 lacks restrict"),
        (GOOD.replace("zborg sink", "zfs receive"), "line 1 runs"),
        (
            GOOD.replace(ROOT, "vault"),
            "line 1 lets its key reach below vault; what arrives here is below vault/zborg",
        ),
        (GOOD.replace(ROOT, f"{ROOT}; sh"), "line 1 runs"),
        (GOOD.replace('sink vault/zborg"', 'sink vault/zborg",no-restrict'), ""),
        ('from="10.0.0.1",' + GOOD.replace("restrict,", ""), "line 1 lacks restrict"),
        ('command="echo ssh-ed25519 AAAA",restrict ssh-ed25519 AAAA', "line 1 runs"),
        ("# ssh-ed25519 AAAA", "no key may come in"),
        ("", "no key may come in"),
    ],
)
def test_every_key_has_to_end_in_the_sink(line: str, words: str) -> None:
    told = said(
        list(door(DoorFacts("zborg-sink", "/home/zborg-sink/.ssh/authorized_keys", [line], False, ROOT)))
    )
    assert (words in told) if words else told == "", told


@pytest.mark.unit
@given(st.lists(st.text(alphabet='ssh-ed25519 ,="restrict command\\A#', max_size=80), max_size=5))
def test_any_authorized_keys_is_judged(lines: list[str]) -> None:
    assert isinstance(list(door(DoorFacts("u", "/k", lines, True, ROOT))), list)


# --- small things -----------------------------------------------------------------------------------


@pytest.mark.unit
def test_our_number_of_the_agent_is_the_scripts() -> None:
    from zborg.hosts.agent import script

    assert f'"agent {AGENT}"' in script()


def test_a_target_of_ours_without_a_sink_shows_what_its_account_may_do(clinic: Clinic, plant: Plant) -> None:
    plant.attribute(clinic.far, "has_sink", False)
    plant.attribute(clinic.far, "delegated", DELEGATED.replace("mount,", "destroy,mount,"))
    told = "\n".join(f"{one.message} -> {one.remedy}" for one in bad(clinic.look("targets")))
    assert "has no sink there" in told
    assert "-> on offsite, as root:\nzfs unallow -u zborg-sink destroy vault/zborg" in told


def test_a_sink_of_an_older_zborg_is_known_by_its_refusal(clinic: Clinic, plant: Plant) -> None:
    class Older(ZfsWords):
        def run(self, argv_, **options):  # type: ignore[no-untyped-def]  # as its parent's
            if argv_[0] == "echo":
                raise CommandFailed(
                    tuple(argv_), 4, "zborg: refused by the sink: it does not do 'echo zborg'"
                )
            return super().run(argv_, **options)

    plant.attribute(clinic.far, "__class__", Older)
    assert bad(clinic.look("targets")) == []


def test_salvage_takes_no_file_that_others_could_have_written(clinic: Clinic, plant: Plant) -> None:
    plant.mode(clinic.toml, 0o620)
    bench = clinic.bench()
    assert bench.config is None and isinstance(bench.mistakes[0], ConfigError)
