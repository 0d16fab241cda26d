"""requirements.lock: one version each, with hashes, as pyproject.toml wants it, and no registry named."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import distribution

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.harness.checkout import CHECKOUT

pytestmark = pytest.mark.unit

LOCK = (CHECKOUT / "requirements.lock").read_text()
PINNED = {
    canonicalize_name(name): version
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", LOCK, re.MULTILINE)
}
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())


def test_it_has_what_pyproject_wants_and_what_builds_it() -> None:
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    for one in map(Requirement, wanted):
        version = PINNED.get(canonicalize_name(one.name))
        assert version and one.specifier.contains(version), f"{one}: {version} (scripts/lock)"


def test_it_has_whatever_those_bring() -> None:
    """On this Python; for the others scripts/lock resolves as well."""
    seen: set[str] = set()
    left = [Requirement(one) for one in PROJECT["project"]["dependencies"]]
    while left:
        one = left.pop()
        name = canonicalize_name(one.name)
        if name in seen or (one.marker and not one.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        assert name in PINNED, f"{name} is not in requirements.lock: scripts/lock"
        left += map(Requirement, distribution(name).requires or ())
    assert len(seen) > 20


def test_every_package_has_hashes() -> None:
    entries = re.split(r"^(?=[A-Za-z0-9._-]+==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) == len(PINNED)
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
        for line in entry.splitlines()[1:]:
            assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line), line


def test_it_names_no_registry() -> None:
    assert not re.search(r"://|--(extra-)?index|--find-links|--trusted-host", LOCK)


def test_readme_and_the_tests_install_from_it() -> None:
    for path in ("README.md", "scripts/setup", "scripts/wheelhouse"):
        assert "--require-hashes" in (CHECKOUT / path).read_text(), path
