"""host rotate-key on a host that was enrolled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.harness.site import NAME, Site
from tests.harness.steps import of
from zborg.config import drop_in
from zborg.errors import CommandFailed, Exit
from zborg.model import Report
from zborg.process import LocalRunner
from zborg.steps.context import Context
from zborg.steps.hosts import reach_hosts
from zborg.steps.rotate_key import rotate_key


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose host was enrolled; each test leaves it so."""
    made = Site(tmp_path_factory.mktemp("enrolled"))
    report = made.add()
    assert report.exit is Exit.OK, report.outcomes
    yield made
    made.close()


ROTATION = ["new key", "host", "trial", "configuration", "old key"]


def rotate(site: Site, context: Context | None = None) -> Report:
    return rotate_key(context or site.context(), LocalRunner(), NAME, site.entry())


def lines(site: Site) -> list[str]:
    return re.findall(r"^restrict.*$", site.host.sh("cat /root/.ssh/authorized_keys"), re.MULTILINE)


def is_rotated(site: Site, old: str) -> None:
    """One line, the configured key's, and no other key of this host is left here."""
    (host,) = site.config.hosts
    public = Path(f"{host.endpoint.identity}.pub").read_text().strip()
    assert host.endpoint.identity != old
    assert [line.partition('" ')[2] for line in lines(site)] == [public]
    own = sorted(path.name for path in Path(host.endpoint.identity).parent.glob("id_web1.*"))
    assert own == [Path(host.endpoint.identity).name, f"{Path(host.endpoint.identity).name}.pub"]
    assert reach_hosts(site.context(), []).exit is Exit.OK


@pytest.mark.parametrize(
    "title", [pytest.param(t, marks=() if t in ("host", "old key") else pytest.mark.deep) for t in ROTATION]
)
def test_a_rotation_killed_anywhere_ends_well_when_run_again(enrolled: Site, title: str) -> None:
    old = enrolled.config.hosts[0].endpoint.identity
    enrolled.killed_at(title, lambda context: rotate(enrolled, context))
    assert reach_hosts(enrolled.context(), []).exit is Exit.OK
    report = rotate(enrolled)
    assert report.exit is Exit.OK, report.outcomes
    is_rotated(enrolled, old)


def test_a_key_that_does_not_open_is_taken_back(enrolled: Site) -> None:
    before = enrolled.host.changed(), enrolled.server_tree()
    keys = sorted(enrolled.vault.directory.iterdir())
    context = enrolled.context()

    class Closed:
        def ask(self, *_: object) -> str:
            raise CommandFailed(("ssh",), 255, "", "no way in")

    report = rotate(enrolled, replace(context, tunnel=Closed()))  # type: ignore[arg-type]  # ask is all it needs
    assert (report.exit, of(report, "trial").message) == (Exit.FAILED, "no way in")
    assert (enrolled.host.changed(), enrolled.server_tree()) == before
    assert sorted(enrolled.vault.directory.iterdir()) == keys


def test_a_table_that_people_wrote_is_not_rotated(enrolled: Site) -> None:
    path = drop_in.path_of(enrolled.config, NAME)
    written = path.read_text()
    path.write_text(written.split("\n", 1)[1])
    before = lines(enrolled)
    assert rotate(enrolled).exit is Exit.FAILED
    assert lines(enrolled) == before
    path.write_text(written)
