"""What is released: the same bytes each time, all that zborg needs, and nothing else."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.checkout import CHECKOUT
from tests.harness.generated.completion import FILES

version_of = runpy.run_path(str(CHECKOUT / "setup.py"))["version_of"]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("described", "version"),
    [
        ("v1.2.0", "1.2.0"),
        ("v1.2.0-0-gabc1234", "1.2.0"),
        ("v1.2.0rc1-0-gabc1234", "1.2.0rc1"),
        ("v1.2.0-5-gabc1234", "1.2.0.post5+gabc1234"),
        ("v1.2.0-0-gabc1234-dirty", "1.2.0.post0+gabc1234.dirty"),
        ("abc1234", "0.1.0.dev0+gabc1234"),
        ("0123456-dirty", "0.1.0.dev0+g0123456.dirty"),
        ("", "0.1.0.dev0"),
        ("fatal: no names found", "0.1.0.dev0"),
    ],
)
def test_the_version_is_the_tag_s(described: str, version: str) -> None:
    from packaging.version import Version

    assert version_of(described) == version == str(Version(version))


@pytest.mark.unit
def test_versions_are_in_the_order_of_the_commits() -> None:
    from packaging.version import Version

    line = ("abc1234", "v0.1.0", "v0.1.0-5-gabc1234", "v0.2.0rc1", "v0.2.0")
    versions = [Version(version_of(one)) for one in line]
    assert versions == sorted(versions)


def started(*words: str, cwd: Path = CHECKOUT, environment: dict[str, str] | None = None) -> str:
    """The standard output of a command that has to end well."""
    env = {key: value for key, value in os.environ.items() if key != "SOURCE_DATE_EPOCH"}
    env |= environment or {}
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_git_its_archives_and_trees_without_it_have_a_version(tmp_path: Path) -> None:
    tree, plain = tmp_path / "tree", tmp_path / "plain"
    tree.mkdir()
    plain.mkdir()
    for name in ("setup.py", ".gitattributes"):
        (tree / name).write_bytes((CHECKOUT / name).read_bytes())
    program = "import runpy; print(runpy.run_path('setup.py')['version']())"

    def version_in(folder: Path) -> str:
        return started(sys.executable, "-c", program, cwd=folder)

    assert version_in(tree) == "0.1.0.dev0"
    started("git", "init", "-q", cwd=tree)
    commit = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x")
    started("git", "add", ".", cwd=tree)
    for tag, version in (("", r"0\.1\.0\.dev0\+g[0-9a-f]+"), ("v1.2.0", "1.2.0")):
        started(*commit, cwd=tree)
        if tag:
            started("git", "tag", tag, cwd=tree)
        assert re.fullmatch(version, version_in(tree))
        started("sh", "-c", f"git archive HEAD | tar -x -C '{plain}'", cwd=tree)
        assert re.fullmatch(version, version_in(plain))
    started(*commit, cwd=tree)
    assert re.fullmatch(r"1\.2\.0\.post1\+g[0-9a-f]+", version_in(tree))
    (tree / "PKG-INFO").write_text("Metadata-Version: 2.4\nName: zborg\nVersion: 7.0\n")
    assert version_in(tree) == "7.0", "an sdist that lies in some repository"


@dataclass(frozen=True)
class Built:
    sdist: Path
    wheel: Path

    @property
    def epoch(self) -> int:
        return int(started("git", "log", "-1", "--format=%ct"))


def build(to: Path, mask: str = "022", environment: dict[str, str] | None = None) -> Built:
    words = ("sh", "-c", 'umask "$1" && exec scripts/release "$2"', "sh", mask, str(to))
    return Built(*map(Path, started(*words, environment=environment).splitlines()))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    yield build(tmp_path_factory.mktemp("first"))


def test_two_builds_are_the_same_bytes(built: Built, tmp_path: Path) -> None:
    """Under another umask, in another time zone and language, with another order of hashes."""
    other = {"TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "7", "HOME": str(tmp_path)}
    again = build(tmp_path, "077", other)
    assert again.sdist.name == built.sdist.name and again.sdist.read_bytes() == built.sdist.read_bytes()
    assert again.wheel.name == built.wheel.name and again.wheel.read_bytes() == built.wheel.read_bytes()


def test_no_time_and_nobody_of_this_machine_is_in_them(built: Built) -> None:
    with tarfile.open(built.sdist) as sdist:
        found = {(one.mtime, one.uid, one.gid, one.uname, one.mode & 0o7022) for one in sdist.getmembers()}
    assert found == {(built.epoch, 0, 0, "", 0)}
    assert built.sdist.read_bytes()[4:8] == bytes(4), "gzip's own time"
    with zipfile.ZipFile(built.wheel) as wheel:
        assert len({one.date_time for one in wheel.infolist()}) == 1


def test_the_wheel_has_the_program_and_nothing_else(built: Built) -> None:
    tracked = started("git", "ls-files").splitlines()
    program = {one for one in tracked if one.startswith("zborg/") and not one.endswith(".shellcheckrc")}
    shared = {one.removeprefix("scripts/") for one in tracked if one.startswith("scripts/share/")}
    shared |= {"share/zborg/zborg.toml"}
    with zipfile.ZipFile(built.wheel) as wheel:
        names = [one for one in wheel.namelist() if ".dist-info/" not in one]
    assert {one for one in names if one.startswith("zborg/")} == program
    rest = {one.partition(".data/data/")[2] for one in names if not one.startswith("zborg/")}
    assert rest == shared
    assert {one.removeprefix("scripts/") for one in FILES} < shared


def test_the_sdist_is_what_the_wheel_is_built_of(built: Built) -> None:
    with tarfile.open(built.sdist) as sdist:
        names = {one.name.partition("/")[2] for one in sdist.getmembers() if one.isfile()}
    made = {"PKG-INFO", "setup.cfg"} | {one for one in names if one.startswith("zborg.egg-info/")}
    tops = {one.split("/")[0] for one in names - made}
    files = {"pyproject.toml", "setup.py", "MANIFEST.in", "zborg.toml"}
    assert tops == {"zborg", "scripts", "README.md", "LICENSE", "CHANGELOG.md", "requirements.lock"} | files
    assert not [one for one in names if one.startswith(("zborg/tests", "tests"))]


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel, and beside it the packages that zborg runs on."""
    venv = tmp_path_factory.mktemp("fresh") / "venv"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    for words in (
        [sys.executable, "-m", "venv", "--without-pip", str(venv)],
        [*pip, "--python", str(venv), "install", "-q", "--no-index", "--no-deps", str(built.wheel)],
    ):
        subprocess.run(words, cwd=venv.parent, capture_output=True, timeout=280, check=True)
    (packages,) = venv.glob("lib/*/site-packages")
    own = next(one for one in sys.path if one.endswith("site-packages"))
    (packages / "others.pth").write_text(
        f"{own}\n"
    )  # an editable zborg there is not seen: its .pth is not read
    return venv


def run(venv: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": "/usr/bin:/bin", "HOME": str(venv.parent)}
    command = [str(venv / "bin" / "zborg"), *words]
    return subprocess.run(
        command, cwd=venv.parent, env=env, capture_output=True, text=True, timeout=120, check=False
    )


def test_it_works_without_the_source(installed: Path, built: Built) -> None:
    shown = run(installed, "--version")
    assert shown.stdout == f"zborg {built.wheel.name.split('-')[1]}\n", shown.stderr
    where = [str(installed / "bin" / "python"), "-P", "-c", "import zborg; print(zborg.__file__)"]
    found = subprocess.run(where, capture_output=True, text=True, timeout=60, check=True).stdout
    assert found.startswith(str(installed))


def test_its_sample_is_read_and_its_scripts_are_there(installed: Path) -> None:
    """`host bundle` writes agent and enrolment out of the package's own files."""
    toml = installed.parent / "zborg.toml"
    (installed.parent / "hosts.d").mkdir()
    toml.write_bytes((installed / "share/zborg/zborg.toml").read_bytes())
    toml.chmod(0o600)
    state = installed.parent / "state"
    text = toml.read_text().replace('# state_dir = "/var/lib/zborg"', f'state_dir = "{state}"')
    toml.write_text(text.replace('# identity = "/etc/zborg/id_ed25519"', f'identity = "{state}.key"'))
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{state}.key"]
    subprocess.run(keygen, capture_output=True, timeout=60, check=True)
    state.mkdir(mode=0o700)
    bundle = installed.parent / "web1.sh"
    url = "ssh://root@web1.example.net:22"
    done = run(installed, "host", "bundle", "web1", url, "--no-escrow", "--output", str(bundle))
    assert done.returncode == 0, done.stdout + done.stderr
    parts = sorted((CHECKOUT / "zborg/hosts/agent").glob("*.sh"))
    assert parts and all(part.read_text().strip().splitlines()[-1] in bundle.read_text() for part in parts)
