"""The version, by git's tags; all else about the build is in pyproject.toml.

v1.2.0 gives 1.2.0, and five commits later 1.2.0.post5+gabc1234. Before the first tag it is
0.1.0.dev0+gabc1234.
An archive that git made has the tag in `ARCHIVED`, an sdist has the version in PKG-INFO, and where there is
nothing of these it is 0.1.0.dev0.
"""

import re
import subprocess
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent
FIRST = "0.1.0.dev0"
ARCHIVED = "$Format:%(describe:tags=true,match=v[0-9]*)|%h$"  # .gitattributes: git archive writes it
# `safe.directory`: root builds in a clone of somebody else's, and runs its setup.py anyway.
GIT = ("git", "-c", "safe.directory=*", "describe", "--tags", "--match=v[0-9]*")
DESCRIBED = re.compile(
    r"(?:v(?P<tag>\d[\w.]*?)(?:-(?P<commits>\d+)-g)?)?(?P<hash>[0-9a-f]{4,})?(?P<dirty>-dirty)?"
)


def version_of(described: str) -> str:
    """Of what git describe says: TAG, TAG-COMMITS-gHASH or HASH, each perhaps with -dirty behind."""
    words = DESCRIBED.fullmatch(described)
    if not described or words is None:
        return FIRST
    dirty = ".dirty" if words["dirty"] else ""
    if words["tag"] and not dirty and not int(words["commits"] or 0):
        return words["tag"]
    base = f"{words['tag']}.post{words['commits'] or 0}" if words["tag"] else FIRST
    return f"{base}+g{words['hash']}{dirty}" if words["hash"] else base


def version() -> str:
    """Of this tree, wherever it came from."""
    if (info := HERE / "PKG-INFO").is_file():
        return re.search(r"(?m)^Version: (.+)$", info.read_text(encoding="utf-8"))[1]
    if not ARCHIVED.startswith("$"):
        tag, _, commit = ARCHIVED.partition("|")
        return version_of(tag or commit)
    if not (HERE / ".git").exists():  # never the repository that this tree may lie in
        return FIRST
    try:
        words = (*GIT, "--long", "--always", "--dirty")
        done = subprocess.run(words, cwd=HERE, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return FIRST
    return version_of(done.stdout.strip())


if __name__ == "__main__":
    setup(version=version())
