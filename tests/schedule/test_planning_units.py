"""The files that start zborg by time, and what becomes of those that are there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zborg.cli.doctor import parsed
from zborg.model import Endpoint, Host, Status
from zborg.planning.doctor.schedule import Wanted as Needed
from zborg.planning.doctor.schedule import schedule
from zborg.planning.doctor.starts import Found, Table, Timer
from zborg.planning.schedule.plan import State, in_the_way, state_of, states
from zborg.planning.schedule.render import UNITS, Wanted, crontab, is_ours, marked, units

pytestmark = pytest.mark.unit

BIN = "/usr/bin/zborg"
HOSTS = (Host("web1", Endpoint("root", "web1", 22, "k", "i"), 26 * 3600, 60),)
WANTED = [
    Wanted(BIN),
    Wanted(BIN, report=True),
    Wanted(BIN, received=True),
    Wanted(BIN, config="/srv/a b/zborg.toml", report=True, secrets="/srv/a b/secrets.toml"),
]


def starts(text: str) -> tuple[str, ...]:
    return tuple(line.partition("=")[2] for line in text.splitlines() if line.startswith("ExecStart="))


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("by_cron", [False, True])
def test_doctor_accepts_what_is_installed(wanted: Wanted, *, by_cron: bool) -> None:
    needed = Needed(wanted.config or "/etc/zborg/zborg.toml", HOSTS, ("offsite",), wanted.received)
    found = Found(programs=frozenset({BIN}), daemon="cron" if by_cron else "")
    if by_cron:
        found = Found((Table("/etc/cron.d/zborg", crontab(wanted)),), programs=found.programs, daemon="cron")
    else:
        texts = units(wanted)
        named = [name for name in texts if name.endswith(".timer")]
        timers = [
            Timer(one, starts(texts[one.replace(".timer", ".service")]), "enabled", "active") for one in named
        ]
        found = Found(timers=timers, programs=found.programs)
    (one,) = schedule(found, needed, parsed)
    assert one.level is Status.OK, one


def test_the_files_are_those_that_are_looked_for() -> None:
    assert tuple(units(Wanted(BIN, report=True))) == UNITS
    assert tuple(units(Wanted(BIN))) == UNITS[:2]


def test_an_off_site_runs_later_and_wants_all_of_it() -> None:
    assert "08:30" in units(Wanted(BIN, received=True))["zborg-night.timer"]
    assert crontab(Wanted(BIN, received=True)).endswith(f"\n30 8 * * *  root  {BIN} run --quiet\n")


def test_odd_paths_are_quoted_for_systemd_and_for_cron() -> None:
    odd = Wanted('/opt/100% "z"/zborg', config="/a $b/'c'.toml", secrets="/a %b/s")
    service = units(odd)["zborg-night.service"]
    start = '"/opt/100%% \\"z\\"/zborg" run --quiet --allow-partial --config "/a $$b/\'c\'.toml"'
    assert f"\nExecStart={start}\n" in service
    assert "\nLoadCredential=zborg-secrets:/a %%b/s\nSetCredential=zborg-secrets:#\n" in service
    line = crontab(odd).splitlines()[1]
    program, config = "'/opt/100\\% \"z\"/zborg'", r"'/a $b/'\''c'\''.toml'"
    assert line.endswith(f"root  {program} run --quiet --allow-partial --config {config}")


def test_without_secrets_there_is_no_credential() -> None:
    assert "Credential" not in units(Wanted(BIN))["zborg-night.service"]


def test_no_wall_makes_a_mount_namespace() -> None:
    """systemd.exec(5): each of these gives the service mounts of its own, or takes /dev/zfs away."""
    service = units(Wanted(BIN))["zborg-night.service"]
    keys = {line.partition("=")[0] for line in service.splitlines()}
    for key in (
        "ProtectSystem",
        "ProtectHome",
        "PrivateTmp",
        "PrivateDevices",
        "PrivateMounts",
        "MountFlags",
    ):
        assert key not in keys
    for key in ("ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups"):
        assert key not in keys
    for key in ("ReadWritePaths", "InaccessiblePaths", "ProtectProc", "ProtectClock", "DeviceAllow"):
        assert key not in keys
    assert {"NoNewPrivileges", "SystemCallFilter", "CapabilityBoundingSet"} <= keys


@given(st.text(), st.text(min_size=1))
def test_whatever_is_marked_is_known_until_it_is_changed(text: str, more: str) -> None:
    assert is_ours(marked(text)) is True
    assert is_ours(marked(text) + more) is None
    assert is_ours(more + marked(text)) is (more + marked(text) == marked(text))


@given(st.text())
def test_what_others_wrote_is_theirs(text: str) -> None:
    assert is_ours(text) is False
    assert state_of(text, None) is State.FOREIGN


def test_what_becomes_of_each_file() -> None:
    old, new = marked("old\n"), marked("new\n")
    assert state_of(None, new) is State.MISSING
    assert state_of(new, new) is State.CURRENT
    assert state_of(old, new) is state_of(old, None) is State.OLD
    assert state_of(f"{old}#\n", new) is State.CHANGED
    found = {"/a": None, "/b": new, "/c": old, "/d": "x", "/e": None, "/f": f"{old}#"}
    named = states(found, {"/a": new, "/b": new})
    assert "/e" not in named, "neither there nor wanted"
    assert in_the_way(named) == ("/d", "/f")
