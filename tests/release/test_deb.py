"""The Debian packages, in clean roots of their suites: installed, run, removed, and what is left then.

Deep: wheels are downloaded, and a root of each suite is made, which takes minutes.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.harness.checkout import CHECKOUT

pytestmark = [
    pytest.mark.deep,
    pytest.mark.timeout(1800),
]
HOME = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}
LEFT = ("etc/zborg/zborg.toml", "etc/zborg/hosts.d", "var/lib/zborg/runs")


def done(*words: str, cwd: Path = CHECKOUT, env: dict[str, str] | None = None) -> str:
    """The standard output of a command that has to end well."""
    one = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=1500, check=False)
    assert one.returncode == 0, f"{words}: {one.stdout}{one.stderr}"
    return one.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = done("scripts/deb", str(tmp_path_factory.mktemp("debs"))).split()
    return dict(zip(("bookworm", "trixie"), map(Path, made), strict=True))


def test_two_builds_are_the_same_bytes(packages: dict[str, Path], tmp_path: Path) -> None:
    again = Path(done("scripts/deb", str(tmp_path), "bookworm").strip())
    assert again.name == packages["bookworm"].name
    assert again.read_bytes() == packages["bookworm"].read_bytes()


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_it_is_installed_runs_and_leaves_what_is_yours(
    packages: dict[str, Path], suite: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    brought = "python3,openssh-client,cron"
    done("mmdebstrap", "--quiet", "--variant=minbase", f"--include={brought}", suite, str(root))
    shutil.copy(packages[suite], root / "zborg.deb")

    def inside(*words: str) -> str:
        return done("chroot", str(root), *words, cwd=Path("/"), env=HOME)

    before = {str(one.relative_to(root)) for one in (root / "usr").rglob("*")}
    assert "zborg schedule install" in inside("dpkg", "-i", "/zborg.deb")
    assert inside("zborg", "--version").startswith("zborg ")
    assert (root / "etc/zborg/zborg.toml").stat().st_mode & 0o7777 == 0o600
    assert "zborg-night" in inside("zborg", "schedule", "show", "--root", "/tree")
    inside("zborg", "schedule", "install", "--cron")
    line = "30 2 * * *  root  /usr/bin/zborg run --quiet --allow-partial\n"
    assert (root / "etc/cron.d/zborg").read_text().endswith(line)
    (root / "var/lib/zborg/runs").mkdir(parents=True)
    (root / "etc/zborg/zborg.toml").write_text("mine\n")

    inside("dpkg", "-i", "/zborg.deb")
    assert (root / "etc/zborg/zborg.toml").read_text() == "mine\n", "an update leaves it"
    for words in (("-r",), ("--purge",)):
        printed = inside("dpkg", *words, "zborg")
        assert "/etc/zborg with the configuration" in printed and all((root / one).exists() for one in LEFT)
    assert not (root / "etc/cron.d/zborg").exists(), "it would start nothing any more"
    after = {str(one.relative_to(root)) for one in (root / "usr").rglob("*")}
    assert [one for one in after - before if "__pycache__" not in one] == []
    assert not (root / "usr/lib/zborg").exists()
