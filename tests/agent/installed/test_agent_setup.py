"""`zborg-agent --setup` again on a host that has a repository, and what `version` says of its key.

What a key depends on (passphrase, key file, borg's memory) is never made anew.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.harness.machines.agent import A1, A2, Lab
from tests.harness.machines.borgs import BORGS, borg_of


def state(lab: Lab) -> dict[str, str]:
    """The lines of `version` that are about the key."""
    lines = lab.host.call("version").stdout.decode().splitlines()
    said = dict(line.partition(" ")[::2] for line in lines)
    return {key: said[key] for key in ("passphrase", "key", "memory", "opens") if key in said}


GOOD = {"passphrase": "yes", "key": "yes", "memory": "yes", "opens": "yes"}


def files(lab: Lab) -> set[tuple[str, int]]:
    """All that is on the host, each with its time; sshd's own log grows, and run counts sessions."""
    counted = lab.host.directory / "run"
    found = [path for path in lab.host.directory.rglob("*") if "sshd" not in path.parts and path != counted]
    return {(str(path), path.lstat().st_mtime_ns) for path in found}


def left(lab: Lab) -> list[Path]:
    """Trial repositories of this host that were not removed."""
    own = (lab.host.state / "repository-id").read_text().strip()
    return [one for one in Path("/tmp").glob("zborg.*/repository/config") if own in one.read_text()]


@pytest.mark.parametrize("version", BORGS)
@pytest.mark.parametrize("shell", ["sh", "busybox"])
def test_version_opens_the_key_and_leaves_nothing(tmp_path: Path, shell: str, version: str) -> None:
    lab = Lab(tmp_path, shell, "auto")
    lab.configure(borg=borg_of(version))
    with lab.host:
        assert state(lab) == {"passphrase": "yes"}, "without a repository there is no key to speak of"
        lab.init()
        before = files(lab)
        assert state(lab) == GOOD
        assert files(lab) == before and left(lab) == []
        (lab.host.confdir / "passphrase").write_text("another")
        assert state(lab) == GOOD | {"opens": "no"}


def test_version_says_what_of_the_key_is_gone(lab: Lab) -> None:
    keys = lab.host.state / "borg/.config/borg/keys"
    aside = keys.rename(keys.with_name("aside"))
    assert state(lab) == GOOD | {"key": "no", "opens": "unknown"}
    aside.rename(keys)
    memory = lab.host.state / "borg/.config/borg/security"
    aside = memory.rename(memory.with_name("aside"))
    assert state(lab) == GOOD | {"memory": "no"}
    aside.rename(memory)
    (lab.host.confdir / "passphrase").chmod(0o640)
    assert state(lab) == GOOD | {"passphrase": "no", "opens": "unknown"}


def test_setup_narrows_modes_and_says_so(lab: Lab) -> None:
    secret = lab.host.confdir / "passphrase"
    first = secret.read_text()
    places = {secret: 0o600, lab.host.confdir: 0o700, lab.host.state: 0o700, lab.host.run: 0o700}
    for place in places:
        place.chmod(places[place] | 0o055)
    done = lab.host.local("--setup", "web1")
    assert done.returncode == 0, done.stderr
    for place, mode in places.items():
        assert place.stat().st_mode & 0o7777 == mode
        assert f"the mode of {place} was too wide" in done.stderr
    assert secret.read_text() == first
    assert lab.verb("create", "web1", A1).status == 0


@pytest.mark.parametrize("loss", ["gone", "empty"])
@pytest.mark.parametrize("left", ["all", "key", "memory"])
def test_setup_makes_no_passphrase_for_a_key_that_it_would_not_open(lab: Lab, loss: str, left: str) -> None:
    secret = lab.host.confdir / "passphrase"
    first = secret.read_text()
    if loss == "gone":
        secret.unlink()
    else:
        secret.write_text("")
    config = lab.host.state / "borg/.config/borg"
    if left != "all":
        (lab.host.state / "repository-id").unlink()
        shutil.rmtree(config / {"key": "security", "memory": "keys"}[left])
    done = lab.host.local("--setup", "web1")
    assert done.returncode == 2 and "ready" not in done.stdout
    assert f"{secret} is gone or empty, and a new one would not open this host's key" in done.stderr
    assert not secret.exists() or not secret.read_text()
    typed = done.stderr.splitlines()[-1]
    subprocess.run(["sh", "-c", typed], input=first + "\n", text=True, check=True, timeout=120)
    assert lab.host.local("--setup", "web1").returncode == 0
    if left == "all":
        assert lab.verb("create", "web1", A1).status == 0


def test_setup_is_not_ready_with_a_passphrase_that_opens_nothing(lab: Lab) -> None:
    secret = lab.host.confdir / "passphrase"
    first = secret.read_text()
    secret.write_text("f" * 64)
    done = lab.host.local("--setup", "web1")
    assert done.returncode == 2 and "does not open the key of repository" in done.stderr
    assert secret.read_text() == "f" * 64
    typed = done.stderr.splitlines()[-1]
    subprocess.run(["sh", "-c", typed], input=first, text=True, check=True, timeout=120)
    assert lab.host.local("--setup", "web1").returncode == 0


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("keys", "the key file of this repository is gone"),
        ("security", "borg's memory of the repository is gone"),
    ],
)
def test_setup_makes_nothing_in_place_of_a_lost_part(lab: Lab, part: str, words: str) -> None:
    config = lab.host.state / "borg/.config/borg"
    aside = (config / part).rename(lab.host.directory / "aside")
    done = lab.host.local("--setup", "web1")
    assert done.returncode == 2 and words in done.stderr
    assert not (config / part).exists()
    aside.rename(config / part)
    assert lab.host.local("--setup", "web1").returncode == 0


def test_setup_follows_no_link_and_takes_no_stranger_s_file(lab: Lab) -> None:
    secret = lab.host.confdir / "passphrase"
    first = secret.read_text()
    elsewhere = lab.host.directory / "elsewhere"
    elsewhere.write_text(first)
    secret.unlink()
    secret.symlink_to(elsewhere)
    elsewhere.chmod(0o644)
    done = lab.host.local("--setup", "web1")
    assert done.returncode == 2 and f"{secret} is a link or does not belong to root" in done.stderr
    assert elsewhere.stat().st_mode & 0o777 == 0o644
    elsewhere.unlink()
    done = lab.host.local("--setup", "web1")
    assert done.returncode == 2 and secret.is_symlink(), "a link to nowhere is not replaced"


def test_a_link_to_nowhere_is_not_replaced_on_a_new_host(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "sh", "auto")
    secret = lab.host.confdir / "passphrase"
    secret.unlink()
    secret.symlink_to(tmp_path / "on-a-stick")
    done = lab.host.local("--setup", "web1")
    assert done.returncode == 2 and f"{secret} is a link or does not belong to root" in done.stderr
    assert secret.is_symlink()


def test_setup_makes_a_passphrase_where_nothing_needs_another(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "sh", "auto")
    secret = lab.host.confdir / "passphrase"
    first = secret.read_text()
    secret.write_text("")
    assert lab.host.local("--setup", "web1").returncode == 0
    assert len(secret.read_text()) == 64 and secret.read_text() != first
    with lab.host:
        lab.init()
        lab.ok("create", "web1", A2)
