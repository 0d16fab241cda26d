"""host rotate-key on a host that was enrolled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.harness.steps import reach_hosts, remove_host, rotate_key
from tests.harness.worlds.site import NAME, Site, enrolled_site
from tests.harness.worlds.steps import of
from zborg.config import drop_in
from zborg.errors import CommandFailed, Exit
from zborg.model import Report
from zborg.steps.context import Context


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose host was enrolled; each test leaves it so."""
    yield from enrolled_site(tmp_path_factory.mktemp("enrolled"))


ROTATION = ["new key", "host", "trial", "configuration", "old key"]


def rotate(site: Site, context: Context | None = None) -> Report:
    return rotate_key(context or site.context(), NAME, site.entry())


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


@pytest.mark.parametrize(
    "added", ["# why\nmin_files = 3 # few\n", "# why\nidentity = '/old'\n[hosts.web1.more]\nidentity = 1\n"]
)
def test_what_people_add_to_our_file_stays(tmp_path: Path, added: str) -> None:
    path = tmp_path / "web1.toml"
    drop_in.write(path, NAME, {"ssh": "ssh://root@web1:22"})
    path.write_text(path.read_text() + added)
    tables = drop_in.read(path)
    for identity in ("/etc/zborg/id_web1.1Z", "/etc/zborg/id_web1.2Z"):
        drop_in.write_identity(path, NAME, identity)
        tables["hosts"][NAME]["identity"] = identity
        assert drop_in.read(path) == tables
        assert drop_in.is_ours(path, NAME)
    assert ("# why" in path.read_text()) == ("more" not in added)


def test_a_removed_host_leaves_no_key_to_go_back_to(enrolled: Site) -> None:
    assert rotate(enrolled).exit is Exit.OK
    old = enrolled.config.hosts[0].endpoint.identity
    removed = remove_host(enrolled.context(), NAME)
    assert not list(Path(old).parent.glob("id_web1.*"))
    # Root there, who follows what is printed and heeds its warning, keeps what opens the backups.
    careful = [command for command in removed.outcomes[0].data["commands"] if "only once" not in command]
    enrolled.host.sh("\n".join(["set -e", *careful]))
    enrolled.host.sh("test -s /etc/zborg/passphrase && ls /var/lib/zborg/borg/.config/borg/keys/* >/dev/null")
    assert lines(enrolled) == []
    assert enrolled.add().exit is Exit.OK
    assert rotate(enrolled).exit is Exit.OK
    assert enrolled.config.hosts[0].endpoint.identity != old
    is_rotated(enrolled, old)


def test_a_table_that_people_wrote_is_not_rotated(enrolled: Site) -> None:
    path = drop_in.path_of(enrolled.config, NAME)
    written = path.read_text()
    path.write_text(written.split("\n", 1)[1])
    before = lines(enrolled)
    assert rotate(enrolled).exit is Exit.FAILED
    assert lines(enrolled) == before
    path.write_text(written)
