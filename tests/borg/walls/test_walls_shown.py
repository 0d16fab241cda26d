"""Which wall stands is shown: by the backup itself, status, the report and doctor; none is a finding."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from tests.harness.builders.reports import result
from tests.harness.steps import backup
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, of, world
from zborg.errors import Exit
from zborg.hosts import SCRIPTS
from zborg.hosts import serve as serving_side
from zborg.hosts.serve import bring
from zborg.hosts.tunnel import SshTunnel
from zborg.model import Child, Outcome, Report, Status, Wall
from zborg.model.text.remedy import is_command
from zborg.model.text.remedy import parse as parted
from zborg.model.wall import NONE, parse, reported
from zborg.planning.backup.walls import walls
from zborg.planning.doctor.walls import behind_sshd, serving, unconfined
from zborg.planning.observe.figures import Recorded, figures
from zborg.process import LocalRunner
from zborg.reporting.report_html import html
from zborg.state.recorded.moment import Moment
from zborg.steps.backup.walls import standing
from zborg.steps.observe.status import saved

BOTH = Wall(own_uid=True, files="landlock-7", no_network=True)
OPEN = Wall(own_uid=True, files="", no_network=False)
KINDS = [BOTH, OPEN, NONE, Wall(own_uid=False, files="bwrap", no_network=True)]


@pytest.mark.unit
@pytest.mark.parametrize("wall", KINDS)
def test_words_of_a_wall_are_read_again(wall: Wall) -> None:
    assert parse(wall.words) == wall
    assert reported(f"zborg-serve: wall {wall.words}") == wall


@pytest.mark.unit
@pytest.mark.parametrize("text", ["", "unknown", "landlock", "landlock-x", "uidlandlock-7", "Landlock-7 UID"])
def test_words_that_are_unknown_are_no_wall(text: str) -> None:
    assert not parse(text).stands


def test_a_later_line_that_looks_like_the_report_is_the_host_s() -> None:
    """Code in borg serve can print what it likes, but only after serve.sh has."""
    lines = [f"zborg-serve: wall {NONE.words}", f"zborg-serve: wall {BOTH.words}"]

    def forging(_command: str, stdin: int, stdout: int) -> Child:
        printing = "".join(f"echo '{line}' >&2; " for line in lines)
        return LocalRunner().start(["sh", "-c", printing], stdin=stdin, stdout=stdout)

    tunnel = SshTunnel(Path("/nonexistent"), LocalRunner(), forging, None)
    assert tunnel.try_serve("web1") == NONE == tunnel.wall("web1")


def test_a_backup_has_the_wall_that_stood_and_status_and_report_show_it(
    vault: LocalVault, clock: Hours
) -> None:
    vault.add("web1")
    context = world(vault, clock)
    made = of(backup(context), "web1")
    assert parse(made.data["wall"]).files.startswith("landlock-"), made.data
    status = saved(context.config, context.runs, context.locks, clock())
    shown = of(status, "borg serve")
    assert (shown.kind, shown.status) == ("wall", Status.OK)
    assert shown.message == f"{parse(made.data['wall'])}: 1 host"


def test_a_good_backup_without_a_wall_is_of_an_older_version_and_ends_the_search(
    vault: LocalVault, clock: Hours
) -> None:
    """Else `status` opens every run file there is: it took twice as long after a year."""
    vault.add("web1")
    context = world(vault, clock)
    for run, data in (("20260101T000000Z-0001", {"wall": BOTH.words}), ("20260102T000000Z-0002", {})):
        good = Outcome("host", "web1", Status.OK, "", result=result("host", data))
        context.runs.save(Report("backup", run, "vault", clock(), clock(), Status.OK, Exit.OK, (good,)))
    assert standing(context.config, Moment(context.runs)) == []


@pytest.mark.unit
def test_no_wall_and_an_open_network_are_findings_for_all_hosts_in_one_line() -> None:
    (good,) = walls({"web1": BOTH.words, "web2": BOTH.words})
    assert (good.status, good.message) == (Status.OK, f"{BOTH}: 2 hosts")
    (none,) = walls({"web1": BOTH.words, "web2": NONE.words, "web3": "unknown"})
    assert none.status is Status.WARNING
    assert none.message == f"no wall around web2, web3; {BOTH}: 1 host"
    (network,) = walls({"web1": OPEN.words})
    assert network.status is Status.WARNING and "network open" in network.message
    assert walls({}) == [], "nothing was backed up by a version that reports it"
    (many,) = walls({f"web{number}": NONE.words for number in range(9)})
    assert many.message.endswith("web4 and 4 more")


def test_the_report_shows_it_beside_each_host(clock: Hours) -> None:
    now = clock()
    status = Report("status", "r", "vault", now, now, Status.OK, Exit.OK, tuple(walls({"web1": BOTH.words})))
    nothing: dict[str, Any] = dict.fromkeys(("hosts", "datasets", "replicas", "pools"), ())
    told = Recorded(first=now.date(), last=now.date(), names=["web1", "web2"], sealed=frozenset(), **nothing)
    page = html(figures(told), status)
    assert page.count("Around its last borg serve") == 1
    assert f"Around its last borg serve: {BOTH}." in page


@pytest.mark.unit
def test_doctor_names_what_stands_and_what_to_do_where_nothing_does() -> None:
    assert serving("web1", BOTH, "").level is Status.OK
    assert str(BOTH) in serving("web1", BOTH, "").message
    findings = [serving("web1", wall, "nas") for wall in (None, NONE, OPEN)]
    findings += [*behind_sshd(["old1"]), unconfined("web1", "/tank/borg/web1", "")]
    for found in findings:
        assert found.level in (Status.WARNING, Status.FAILED)
        assert all(is_command(line) for line in parted(found.remedy)[1]) and parted(found.remedy)[1]
    assert list(behind_sshd([])) == []


# --- a storage elsewhere ------------------------------------------------------------------------------


def test_init_writes_what_serves_on_a_storage_elsewhere_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, wall = tmp_path / "new" / "zborg-serve", tmp_path / "zborg-wall.py"
    places = [("serve.sh", script, "0755"), ("wall.py", wall, "0644")]
    installed = tuple((name, str(path), mode) for name, path, mode in places)
    monkeypatch.setattr(serving_side, "_INSTALLED", installed)
    assert bring(LocalRunner()) == tuple(str(path) for _, path, _ in places)
    for name, path, mode in places:
        assert path.read_text() == (SCRIPTS / name).read_text()
        assert stat.S_IMODE(path.stat().st_mode) == int(mode, 8)
    assert bring(LocalRunner()) == ()
    places[0][1].write_text("# of an older zborg\n")
    assert bring(LocalRunner()) == (str(places[0][1]),)
    assert not list(tmp_path.glob("**/*.new"))
