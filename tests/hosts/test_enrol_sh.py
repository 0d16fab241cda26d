"""The enrolment script on a host where things go wrong: nobody is shut out, and half a text does nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.worlds.site import Site
from zborg.errors import CommandFailed, TimedOut
from zborg.hosts.enrol import OperatorEntry, text

KEYS = "/root/.ssh/authorized_keys"
OURS = 'restrict,command="/usr/local/libexec/zborg-agent" '


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Nobody is enrolled here; each test leaves root's keys as they were."""
    made = Site(tmp_path_factory.mktemp("site"))
    yield made
    made.close()


@pytest.fixture
def keys(site: Site) -> Iterator[Path]:
    """root's keys, as the host sees them."""
    file = site.host.root / KEYS.lstrip("/")
    before = file.read_bytes()
    yield file
    file.write_bytes(before)


def broken(site: Site, program: str) -> Path:
    """A program that says nothing and fails, as one that was killed; but not for sh's own texts."""
    real = "/usr/bin/" + program
    script = f'#!/bin/sh\ncase $* in *{KEYS}*) exit 2 ;; esac\nexec {real} "$@"\n'
    place = site.host.root / "usr/local/sbin" / program
    place.write_text(script)
    place.chmod(0o755)
    return place


@pytest.mark.parametrize("program", ["cat", "cp", "grep", "mv", "sed"])
def test_root_is_not_shut_out_when_a_program_fails(site: Site, keys: Path, program: str) -> None:
    entry, ours = site.entry(), site.vault.key.public
    entry.add_key("ssh-ed25519 AAAAC3other another")
    mine = keys.read_text().partition(OURS)[0]
    place = broken(site, program)
    try:
        for change, key in ((entry.add_key, ours), (entry.drop_key, "ssh-ed25519 AAAAC3other")):
            before = keys.read_text()
            try:
                change(key)
            except CommandFailed:
                assert keys.read_text() == before, "all or nothing"
    finally:
        place.unlink()
    assert keys.read_text().startswith(mine)
    assert not keys.with_name("authorized_keys.zborg-new").exists()


def test_a_byte_that_is_no_text_hides_no_line(site: Site, keys: Path) -> None:
    """After a power cut a file may end in NULs."""
    odd = keys.read_bytes() + "# Jürgen\n".encode("latin-1") + b"ssh-ed25519 AAAA x\r\n" + bytes(3)
    keys.write_bytes(odd)
    entry, ours = site.entry(), site.vault.key.public
    for _ in range(2):
        entry.add_key(ours)
    assert keys.read_bytes() == odd + f"\n{OURS}{ours}\n".encode()
    assert entry.authorized() == (" ".join(ours.split()[:2]),)
    entry.drop_key(ours)
    assert keys.read_bytes() == odd + b"\n"


def test_a_text_that_was_cut_off_does_nothing(site: Site) -> None:
    """The connection may break anywhere: only the whole text may act, and then as it was told."""
    whole = text(site.request)
    before = site.host.changed()
    for length in range(len(whole) - len("agent\n}\n{ main }") - 20, len(whole)):
        told = site.host.sh(f"sh -s -- probe <<'cut_off' 2>&1 || :\n{whole[:length]}\ncut_off\n")
        assert "made " not in told, whole[:length][-30:]
    assert site.host.changed() == before


def test_an_owner_who_is_not_root_is_told_so(site: Site) -> None:
    script = site.directory / "bundle.sh"
    script.write_text(text(site.request))
    argv = ["setpriv", "--reuid=65534", "--clear-groups", "sh", "-s"]
    done = subprocess.run(argv, input=script.read_text(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "this is not root" in done.stdout
    assert not done.stderr


def test_a_host_key_is_known_without_its_public_file(site: Site) -> None:
    pub = "/etc/ssh/ssh_host_ed25519_key.pub"
    site.host.sh(f"mv {pub} /root/pub")
    try:
        assert site.entry().probe().values["host_key"] == site.host.host_key
    finally:
        site.host.sh(f"mv /root/pub {pub}")


def test_who_hangs_is_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OperatorEntry._run, "__kwdefaults__", {"timeout": 0.5})
    site.host.sh("echo sleep 9 >/root/.bashrc")
    try:
        with pytest.raises(TimedOut, match=r"web1, probe: no answer within 0\.5 s"):
            site.entry().probe()
    finally:
        site.host.sh("rm /root/.bashrc")


def test_an_sshd_that_takes_another_interval_is_enrolled_and_said(tmp_path: Path) -> None:
    """CIS has asked for ClientAliveCountMax 0, and a file whose name comes first wins."""
    site = Site(tmp_path)
    try:
        site.host.sh("echo ClientAliveCountMax 0 >/etc/ssh/sshd_config.d/50-hard.conf")
        assert not site.add().outcomes[0].status.bad
        told = site.entry().probe()
        assert told.values["keepalive"] == "cannot"
        assert "than /etc/ssh/sshd_config.d/zborg.conf says" in told.remarks[0]
        assert site.add().outcomes[0].message == "is enrolled already; nothing was changed"
    finally:
        site.close()
