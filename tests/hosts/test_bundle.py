"""host bundle and host accept: an owner who alone may enter."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.harness.steps import enroll
from tests.harness.worlds.site import NAME, Site
from zborg.errors import Exit, UsageError
from zborg.hosts.enrol import text
from zborg.model import Report
from zborg.model.keys import fingerprint
from zborg.planning.hosts.accept_line import Acceptance, parse


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site where nobody enrols anybody: for what changes nothing."""
    made = Site(tmp_path_factory.mktemp("empty"))
    yield made
    made.close()


def bundled(site: Site) -> str:
    """What the owner's terminal shows."""
    script = site.host.directory / "bundle.sh"
    script.write_text(text(site.request, url=site.host.url))
    return site.host.sh(f"sh {script}")


def accept(site: Site, line: str) -> Report:
    found = parse(line, fingerprint(site.vault.key.public))
    endpoint = replace(site.request.host.endpoint, host_key=found.host_key)
    request = replace(site.request, host=replace(site.request.host, endpoint=endpoint))
    return enroll(site.context(), request, None)


def test_an_owner_runs_a_bundle_and_one_line_enrols_the_host(tmp_path: Path) -> None:
    site = Site(tmp_path)
    try:
        line = bundled(site).splitlines()[-1]
        assert line.split()[:4] == ["zborg-accept", "1", NAME, site.host.url]
        assert " ".join(line.split()[4:6]) == site.host.host_key
        before = site.host.changed()
        assert bundled(site).splitlines()[-1] == line
        assert site.host.changed() == before
        report = accept(site, line)
        assert report.exit is Exit.OK, report.outcomes
        assert list(site.rescue()) == ["/etc/zborg/agent.conf"]
        assert accept(site, line).outcomes[0].message == "is enrolled already; nothing was changed"
    finally:
        site.close()


@pytest.mark.parametrize("shell", ["bash --posix", "busybox sh"])
def test_other_shells_see_and_say_the_same(empty: Site, shell: str) -> None:
    script = empty.host.directory / "bundle.sh"
    script.write_text(text(empty.request, url=empty.host.url))

    def facts(told: str) -> list[str]:
        return [line for line in told.splitlines() if not line.startswith(("clock ", "free_kib "))]

    assert facts(empty.host.sh(f"{shell} {script} probe")) == facts(empty.host.sh(f"dash {script} probe"))


def test_a_bundle_changes_nothing_where_something_must_be_mended(empty: Site) -> None:
    empty.host.sh("echo 'echo welcome' >/root/.bashrc")
    before = empty.host.changed()
    try:
        with pytest.raises(subprocess.CalledProcessError) as failure:
            bundled(empty)
        assert "to be fixed first: root's login shell prints" in failure.value.stdout
        assert empty.host.changed() == before
    finally:
        empty.host.sh("rm /root/.bashrc")


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEy8/VH33qPOZMKWAAVmqzY3CMZvF8P3DXxF3nuHVINd"
OURS = fingerprint(KEY)
LINE = f"zborg-accept 1 web1 ssh://root@web1.example.net:22 {KEY} agent 1 borg 1.2.4 server {OURS}"


def test_a_line_is_taken_as_a_terminal_has_wrapped_it() -> None:
    found = Acceptance("web1", "ssh://root@web1.example.net:22", KEY, "1.2.4")
    assert parse(LINE, OURS) == parse(LINE.replace(" agent", "\n  agent"), OURS) == found


@pytest.mark.parametrize(
    "line",
    [
        "",
        LINE.replace(" 1 web1", " 2 web1"),
        LINE.replace("web1 ssh", "../x ssh"),
        LINE.replace("root@", "bob@"),
        LINE.replace("root@", "root@-oProxyCommand=x "),
        LINE + " more",
        LINE.replace("borg 1.2.4", "borg $(id)"),
        LINE.replace(OURS, fingerprint("ssh-ed25519 AAAA")),
    ],
)
def test_any_other_line_is_refused(line: str) -> None:
    with pytest.raises(UsageError):
        parse(line, OURS)
