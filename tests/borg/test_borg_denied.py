"""A repository that the account of `borg serve` cannot write: the reason names the file, with a remedy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.machines.borgs import BORGS, borg_of
from tests.harness.machines.host import BackedUpHost
from tests.harness.processes.unprivileged import as_nobody
from zborg.borg.denied import of_errors
from zborg.borg.log import BorgLog
from zborg.borg.verdict import judge
from zborg.model import Status

ARCHIVE = "web1-2026-01-0{}T000000Z"


@pytest.mark.parametrize("version", BORGS)
@pytest.mark.parametrize("part", ["data", "data/0", "."])
def test_a_backup_names_what_cannot_be_written(tmp_path: Path, version: str, part: str) -> None:
    borg = borg_of(version)
    root = tmp_path / "srv"
    repository = root / "web1"
    repository.mkdir(parents=True)
    for path in (root, repository):
        path.chmod(0o755)
    os.chown(repository, 65534, -1)
    with BackedUpHost(tmp_path / "host").setup("web1", [tmp_path / "host" / "data"], borg=borg) as host:
        (host.data / "file").write_text("x")
        serve = [
            *as_nobody([root, Path(sys.prefix), Path(sys.base_prefix)], tmp_path / "covers"),
            "env",
            f"BORG_BASE_DIR={root}/.borg",
        ]
        serve += [borg, "serve", "--append-only", "--restrict-to-repository", str(repository)]
        (root / ".borg").mkdir()
        os.chown(root / ".borg", 65534, -1)
        assert host.verb(root, "init", "web1", serve=serve).status == 0
        subprocess.run(["chown", "-R", "root", str(repository / part)], check=True, timeout=120)
        joined = host.verb(root, "create", "web1", ARCHIVE.format(1), serve=serve)
    log = BorgLog()
    for line in joined.stderr.splitlines():
        log.feed(line)
    status, message, remedy = judge(joined.status, log)
    assert status is Status.FAILED, (message, joined.stderr)
    assert message.startswith("on the storage, the account of borg serve may not write "), joined.stderr
    assert str(repository) in message
    assert remedy == "zborg doctor --only repositories"


@pytest.mark.parametrize(
    "text",
    [
        "PermissionError: [Errno 13] Permission denied: '/var/lib/zborg/borg/.cache/borg/ab/data'",
        "File borg/remote.py, line 1, in call\nPermissionError: [Errno 13] Permission denied: '/root/x'",
        "Failed to create/acquire the lock /v/borg/.cache/borg/ab/lock.exclusive "
        "([Errno 13] Permission denied: '/v/borg/.cache/borg/ab/lock.exclusive.x.tmp').",
        "permission denied",
    ],
)
def test_the_host_s_own_files_are_not_the_storage_s(text: str) -> None:
    assert of_errors([("", text)]) is None
