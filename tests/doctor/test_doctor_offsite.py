"""doctor of delegations, of an off-site and of a target: what each account may do, where each key ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.builders.findings import LINE, bad, said
from tests.harness.checkout import CHECKOUT
from tests.harness.doctor.clinic import DELEGATED, Clinic, Plant, ZfsWords
from zborg.errors import CommandFailed
from zborg.model import Machine, Report, Status
from zborg.model.storage.grants import Grant
from zborg.planning.doctor.remote import DoorFacts, door
from zborg.planning.doctor.storage import Account, delegation
from zborg.steps.doctor.step import doctor
from zborg.zfs.output.allowed import grants

# --- delegation -------------------------------------------------------------------------------------

WANTED = frozenset({"receive:append", "create", "mount", "userprop"})


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
        f"failed: zborg-sink has no create, userprop on vault/zborg -> {LINE}"
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
    inputs = clinic.inputs()
    assert inputs.config and inputs.context
    storage = replace(inputs.config.storage, dataset=ROOT, received=True)
    config = replace(inputs.config, storage=storage, hosts=(), targets=())
    context = replace(inputs.context, config=config, storage=Machine(clinic.far, clinic.vault.far))
    return doctor(replace(inputs, config=config, context=context))


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
    (install,) = one.data["commands"]
    assert install.startswith("zborg schedule install --config ")
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
        (GOOD.replace("restrict,", ""), "line 1 has no restrict"),
        (GOOD.replace("zborg sink", "zfs receive"), "line 1 runs"),
        (
            GOOD.replace(ROOT, "vault"),
            "line 1 lets its key reach below vault; what arrives here is below vault/zborg",
        ),
        (GOOD.replace(ROOT, f"{ROOT}; sh"), "line 1 runs"),
        (GOOD.replace('sink vault/zborg"', 'sink vault/zborg",no-restrict'), ""),
        ('from="10.0.0.1",' + GOOD.replace("restrict,", ""), "line 1 has no restrict"),
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
