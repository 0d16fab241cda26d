"""Where the lab keeps its things, and how a finished stage is told from an unfinished one."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tests.lab.recipe import Stage


def cache_dir() -> Path:
    """The lab's cache: $ZBORG_LAB_CACHE, else zborg-lab in the user's cache."""
    given = os.environ.get("ZBORG_LAB_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "zborg-lab"


def run_dir() -> Path:
    """Where guests run: $ZBORG_LAB_RUN, else run in the cache."""
    given = os.environ.get("ZBORG_LAB_RUN")
    return Path(given) if given else cache_dir() / "run"


class StageCache:
    """Finished stages in one folder.

    A stage is made in a folder with a temporary name, which is renamed when it is complete:
    a folder with the final name is always a finished stage.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, stage: Stage) -> Path:
        """The folder the finished stage has or will have."""
        return self.folder / f"{stage.suite}-{stage.name}-{stage.key}"

    def has(self, stage: Stage) -> bool:
        """Whether the stage is finished."""
        return self.path(stage).is_dir()

    def begin(self, stage: Stage) -> Path:
        """A new empty folder to make the stage in; what a failed attempt left is removed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for stale in self.folder.glob(f"{self.path(stage).name}.part-*"):
            shutil.rmtree(stale, ignore_errors=True)
        part = Path(tempfile.mkdtemp(prefix=f"{self.path(stage).name}.part-", dir=self.folder))
        # mkdtemp makes it private; the helpers of a user namespace must be able to look in.
        part.chmod(0o755)
        return part

    def finish(self, stage: Stage, part: Path) -> Path:
        """Give the complete stage its final name, on disk before the name is."""
        os.sync()
        return part.rename(self.path(stage))
