"""The key that a machine showed against those on its disk: another machine answers, or sshd has several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.harness.machines.keys import make_key
from tests.harness.worlds.site import Site
from zborg.model.keys import fingerprint
from zborg.model.text import remedy
from zborg.steps.hosts.obstacles import other_key


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("keys"))
    yield made
    made.close()


def test_another_machine_is_named_with_both_fingerprints_and_the_file(site: Site, tmp_path: Path) -> None:
    facts = site.entry().probe()
    assert not list(other_key(site.request, facts)), "its own key"
    strange = make_key(tmp_path / "strange").public
    endpoint = replace(site.request.host.endpoint, host_key=strange)
    request = replace(site.request, host=replace(site.request.host, endpoint=endpoint))
    (problem,) = other_key(request, facts)
    file = "/etc/ssh/ssh_host_ed25519_key.pub"
    for words in (fingerprint(strange), fingerprint(site.host.host_key), file):
        assert words in problem.message, problem
    (line,) = remedy.parse(problem.remedy)[1]
    assert fingerprint(site.host.host_key) in site.host.sh(line)


def test_any_host_key_of_its_disk_can_be_enrolled(site: Site) -> None:
    """An sshd may show the second of two, or have a configuration of its own."""
    other = "/etc/ssh/ssh_host_other_ed25519_key"
    site.host.sh(f"ssh-keygen -q -t ed25519 -N '' -f {other}")
    try:
        public = " ".join(site.host.sh(f"cat {other}.pub").split()[:2])
        endpoint = replace(site.request.host.endpoint, host_key=public)
        request = replace(site.request, host=replace(site.request.host, endpoint=endpoint))
        facts = site.entry().probe()
        assert facts.host_keys[other] == public
        assert not list(other_key(request, facts))
    finally:
        site.host.sh(f"rm {other} {other}.pub")


def test_odd_words_of_a_machine_are_no_traceback(site: Site) -> None:
    facts = replace(site.entry().probe(), host_keys={"/etc/ssh/x": "ssh-ed25519 A"})
    (problem,) = other_key(site.request, facts)
    assert "something that is no key" in problem.message
