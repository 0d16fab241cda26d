"""host add on a fresh host: what it makes, what a kill or a failure leaves, and what it refuses."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.harness.steps import backup, enroll
from tests.harness.worlds.site import NAME, Site
from tests.harness.worlds.steps import of
from zborg.errors import CommandFailed, Exit
from zborg.hosts.enrol import text
from zborg.interrupt import cancelled
from zborg.model import Adopt, Event, Host, Lines, Report, Runner, Status, Tunnel, Wall
from zborg.steps.context import Context

STEPS = [
    "dataset",
    "agent",
    "configuration",
    "connection",
    "repository",
    "first archive",
    "escrow",
    "clean-up",
]
# What the host's side makes, in its order, as shell patterns.
MADE = [
    "dir:/usr/local/libexec",
    "file:/usr/local/libexec/zborg-agent",
    "dir:/etc/zborg",
    "file:/etc/zborg/agent.conf",
    "file:/etc/zborg/custodians",
    "tree:/var/lib/zborg",
    "tree:/run/zborg",
    "file:/etc/zborg/passphrase",
    "sshd:/etc/ssh/sshd_config.d/zborg.conf",
    "line:*",
]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


MINE = "# mine, without an end"


@dataclass(frozen=True)
class Added:
    """A site after one undisturbed `host add`, and what it was."""

    site: Site
    report: Report
    authorized: str  # root's keys before
    shape: set[str]


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Added]:
    """Tests leave it as it is."""
    site = Site(tmp_path_factory.mktemp("added"))
    site.path.write_text("# a word\n" + site.path.read_text())
    site.host.sh(f"printf '{MINE}' >>/root/.ssh/authorized_keys")
    authorized = site.host.sh("cat /root/.ssh/authorized_keys")
    report = site.add()
    assert report.exit is Exit.OK, report.outcomes
    yield Added(site, report, authorized, site.shape())
    site.close()


@pytest.fixture
def reference(added: Added) -> set[str]:
    """How both sides look after an undisturbed `host add`."""
    return added.shape


def some(points: Sequence[str], ordinary: Sequence[str]) -> list[object]:
    """All of them with --deep."""
    return [pytest.param(p, marks=() if p in ordinary else pytest.mark.deep) for p in points]


def at(site: Site, point: str, action: str) -> str:
    """The host's script with `action` at the moment when it has made `point`."""
    made = 'made() { made="$1$newline$made"; echo "made $1"; case $1 in %s) %s ;; esac; }\n'
    body, main, end = text(site.request).rpartition('main "$@"')
    return body + made % (point, action) + main + end


def test_one_command_ends_in_a_restorable_backup(added: Added) -> None:
    site = added.site
    assert [outcome.subject for outcome in added.report.outcomes] == STEPS
    assert of(added.report, "agent").message.endswith(", a line of authorized_keys")
    assert site.rescue() == {"/etc/zborg/agent.conf": site.host.sh("cat /etc/zborg/agent.conf")}
    done = backup(site.context())
    assert done.exit is Exit.OK, done.outcomes
    assert of(done, NAME).data["files"] == 1


def test_once_more_changes_nothing_and_says_so(added: Added) -> None:
    before = added.site.host.changed(), added.site.server_tree()
    again = added.site.add()
    assert [o.message for o in again.outcomes] == ["is enrolled already; nothing was changed"]
    assert (added.site.host.changed(), added.site.server_tree()) == before


def test_what_is_made_belongs_to_root_alone(added: Added) -> None:
    site, facts = added.site, added.site.host.changed()
    assert facts["/usr/local/libexec/zborg-agent"][:3] == ("-", 0o755, 0)
    assert facts["/etc/zborg"][:3] == ("d", 0o700, 0)
    assert {facts[f"/etc/zborg/{n}"][1] for n in ("agent.conf", "passphrase", "custodians")} == {0o600}
    assert (site.folder / "hosts.d" / "web1.toml").stat().st_mode & 0o777 == 0o600
    assert (site.vault.state / "escrow" / "web1.age").stat().st_mode & 0o777 == 0o600


def test_what_was_there_before_stays(added: Added) -> None:
    site = added.site
    line = f'restrict,command="/usr/local/libexec/zborg-agent" {site.vault.key.public}\n'
    assert added.authorized.endswith(MINE)
    assert site.host.sh("cat /root/.ssh/authorized_keys") == f"{added.authorized}\n{line}"
    assert site.host.changed()["/root/.ssh/authorized_keys"][1] == 0o644
    assert site.path.read_text().startswith("# a word\n")


def test_its_sshd_notices_dead_connections_from_now_on(added: Added) -> None:
    assert added.site.host.sh("sshd -T | grep -c '^clientaliveinterval 15'") == "1\n"


# --- killed anywhere, and run again -----------------------------------------------------------------------


def ends_the_same(site: Site, reference: set[str]) -> None:
    report = site.add()
    assert report.exit is Exit.OK, report.outcomes
    assert site.shape() == reference
    assert "BORG_KEY" in site.escrow()
    assert (site.home / "transactions").read_text().count("transaction") == 1, "one archive"
    assert site.add().outcomes[0].message == "is enrolled already; nothing was changed"


@pytest.mark.parametrize("title", some(STEPS, ["configuration", "escrow"]))
def test_killed_at_a_step_and_run_again_it_ends_the_same(site: Site, reference: set[str], title: str) -> None:
    site.killed_at(title)
    ends_the_same(site, reference)


def test_killed_while_the_repository_is_made_and_run_again_it_ends_the_same(
    site: Site, reference: set[str]
) -> None:
    site.killed_when((site.home / "config").exists)
    ends_the_same(site, reference)


@pytest.mark.parametrize("point", some(MADE, ["file:/etc/zborg/passphrase"]))
def test_killed_on_the_host_and_run_again_it_ends_the_same(
    site: Site, reference: set[str], point: str
) -> None:
    report = site.add(at(site, point, "kill -9 $$"))
    assert report.exit is Exit.FAILED
    ends_the_same(site, reference)


# --- made to fail anywhere ----------------------------------------------------------------------------------


@pytest.mark.parametrize("point", some(MADE, ["line:*"]))
def test_what_fails_on_the_host_takes_all_back(site: Site, point: str) -> None:
    before = site.host.changed(), site.server_tree()
    report = site.add(at(site, point, "fail 'made to fail'"))
    assert (report.exit, of(report, "agent").status) == (Exit.FAILED, Status.FAILED)
    assert "made to fail" in of(report, "agent").message
    assert of(report, "dataset").message.endswith("created")
    assert report.outcomes[-1].message == "taken back"
    assert (site.host.changed(), site.server_tree()) == before


class Failing:
    """A Tunnel in which one verb fails, after it was done."""

    def __init__(self, real: Tunnel, verb: str) -> None:
        self._real, self._verb = real, verb

    def _fail(self, verb: str) -> None:
        if verb == self._verb:
            raise CommandFailed(("ssh",), 2, "", "made to fail")

    def ask(self, host: Host, *words: str) -> str:
        answer = self._real.ask(host, *words)
        self._fail(words[0])
        return answer

    def try_serve(self, name: str) -> Wall | None:
        self._fail("serve")
        return self._real.try_serve(name)

    def wall(self, name: str) -> Wall | None:
        return self._real.wall(name)

    def serve_below(self, root: str) -> None:
        self._real.serve_below(root)

    def serve_within(self, limits: Mapping[str, int]) -> None:
        self._real.serve_within(limits)

    def bring(self, storage: Runner) -> tuple[str, ...]:
        return self._real.bring(storage)

    def verb(
        self, host: Host, words: Sequence[str], lines: Lines, *, scratch: str = "", adopt: Adopt | None = None
    ) -> int:
        if words[0] == "sample":
            self._fail(words[0])
        status = self._real.verb(host, words, lines, scratch=scratch, adopt=adopt)
        self._fail(words[0])
        return status

    def forced(self, host: Host, lines: Lines, *, adopt: Adopt | None = None) -> int:
        return self._real.forced(host, lines, adopt=adopt)

    def compact(self, name: str, lines: Lines, *, timeout: float, adopt: Adopt | None = None) -> int:
        return self._real.compact(name, lines, timeout=timeout, adopt=adopt)


def failing(site: Site, verb: str) -> Context:
    context = site.context()
    return replace(context, tunnel=Failing(context.tunnel, verb))


@pytest.mark.parametrize("verb", some(["serve", "version", "init", "sample"], ["version", "sample"]))
def test_what_fails_on_the_way_takes_all_back(site: Site, verb: str) -> None:
    before = site.host.changed(), site.server_tree()
    report = site.add(context=failing(site, verb))
    assert report.exit is Exit.FAILED
    assert "made to fail" in str(report.outcomes)
    assert (site.host.changed(), site.server_tree()) == before


def test_a_drop_in_that_cannot_be_written_takes_all_back(site: Site) -> None:
    (site.folder / "hosts.d" / f".web1.toml.{os.getpid()}.new").mkdir()
    before = site.host.changed(), site.server_tree()
    report = site.add()
    assert report.exit is Exit.FAILED
    assert (site.host.changed(), site.server_tree()) == before


def test_a_repository_with_an_archive_is_never_taken_back(site: Site, reference: set[str]) -> None:
    report = site.add(context=failing(site, "escrow"))
    assert report.exit is Exit.FAILED
    assert of(report, "what was made").message == "stays: the repository holds an archive"
    assert "goes on" in of(report, "what was made").remedy
    assert (site.home / "transactions").exists()
    ends_the_same(site, reference)


def test_a_host_whose_repository_was_lost_keeps_its_key(added: Added) -> None:
    """Making another repository would need a new key; taking that back must not take the old one."""
    site = added.site
    aside = site.home.rename(site.directory / "aside")
    site.home.mkdir(mode=0o700)
    before = site.host.changed()
    report = site.add()
    assert (report.exit, of(report, "repository").status) == (Exit.CONFLICT, Status.CONFLICT)
    assert "is empty" in of(report, "repository").message
    assert site.host.changed() == before
    site.home.rmdir()
    aside.rename(site.home)


def test_a_name_that_is_taken_is_refused(added: Added) -> None:
    site = added.site
    before = site.host.changed(), site.server_tree()
    other = replace(site.request.host.endpoint, address="127.0.0.2")
    request = replace(site.request, host=replace(site.request.host, endpoint=other))
    report = enroll(site.context(), request, site.entry())
    assert report.exit is Exit.FAILED
    assert "is ssh://root@127.0.0.1" in report.outcomes[0].message
    assert (site.host.changed(), site.server_tree()) == before


def test_an_interrupted_enrolment_takes_all_back(site: Site) -> None:
    """Ctrl-C while the host works: what was made goes, although everything else is to stop."""
    before = site.host.changed(), site.server_tree()

    def emit(event: Event) -> None:
        if event.message == "connection":
            cancelled.set()

    try:
        report = site.add(context=site.context(emit))
    finally:
        cancelled.clear()
    assert report.exit is Exit.INTERRUPTED
    assert (site.host.changed(), site.server_tree()) == before
