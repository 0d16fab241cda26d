"""A repository that was backed up, to be restored: as it is and as it comes back."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.harness.machines.host import BackedUpHost, find_borg
from tests.harness.steps import backup, snapshot
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, world
from zborg.process import LocalRunner
from zborg.steps.context import Context


def backed_up(vault: LocalVault, clock: Hours) -> tuple[BackedUpHost, Context]:
    """web1 with two good snapshots, the file "of web1" in the first and "changed" in the second."""
    host, context = vault.add("web1"), world(vault, clock)
    for text in ("of web1", "changed"):
        (host.data / "file").write_text(text)
        backup(context)
        clock.tick()
        snapshot(context)
        clock.tick()
    return host, context


def content(host: BackedUpHost, repository: Path) -> str:
    """The file in the newest archive of a copy, read with the host's exported key alone."""
    export = host.local("--key-export").stdout
    place = repository.parent / "rescue"
    place.mkdir()
    (place / "export").write_text(export)
    passphrase = export.partition("# Passphrase:\n")[2].splitlines()[0]
    script = f"""
        sed -n '/^BORG_KEY/,$p' export > key
        {find_borg()} key import {repository} key
        {find_borg()} extract {repository}::$({find_borg()} list --short --last 1 {repository})
    """
    env = {"PATH": os.environ["PATH"], "BORG_BASE_DIR": str(place / "base"), "BORG_PASSPHRASE": passphrase}
    env["BORG_RELOCATED_REPO_ACCESS_IS_OK"] = "yes"  # the one at the keyboard says so
    subprocess.run(["sh", "-eu", "-c", script], cwd=place, env=env, check=True, stdin=subprocess.DEVNULL)
    return (place / str(host.data / "file").lstrip("/")).read_text()


def clones(vault: LocalVault) -> list[str]:
    datasets = (*vault.zfs.datasets("tank"), *vault.far.datasets("vault"))
    return [one.name for one in datasets if "/zborg-scratch/" in one.name]


class Instead(LocalRunner):
    """Runs `script` in place of tar; $1 is the directory to write to."""

    script = ""

    def start(self, argv, *, stdin, stdout):  # type: ignore[no-untyped-def]  # as its parent
        return super().start(["sh", "-c", self.script, "sh", argv[-1]], stdin=stdin, stdout=stdout)
