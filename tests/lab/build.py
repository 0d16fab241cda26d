"""Builds a guest image: kernel modules, root tree, disk with initrd.

Each stage is cached by its own key (recipe.py), so a failed or killed build goes on with the
stage that failed. From nothing it takes about seven minutes on two cores.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.lab import tools
from tests.lab.cache import StageCache, cache_dir
from tests.lab.errors import CommandFailed, LabError
from tests.lab.recipe import HOST_PACKAGES, USER_PACKAGES, Recipe, Stage, recipe

# The longest a stage may take: ten times what it took where it was measured.
STAGE_TIMEOUT = 3600.0
PROGRESS_EVERY = 15.0

Make = Callable[[Path, Callable[[list[str]], None]], None]


@dataclass(frozen=True)
class Image:
    """The files a guest boots from; all are read only."""

    kernel: Path
    initrd: Path
    root: Path
    suite: str

    @property
    def built(self) -> bool:
        """Whether every file is there."""
        return all(path.is_file() for path in (self.kernel, self.initrd, self.root))


def image(suite: str = "trixie") -> Image:
    """Where the image of the current recipe is, built or not."""
    made = recipe(suite)
    cache = StageCache(cache_dir())
    modules, disk = cache.path(made.modules), cache.path(made.disk)
    return Image(modules / "vmlinuz", disk / "initrd", disk / "root.raw", suite)


def build(suite: str = "trixie", say: tools.Say = print) -> Image:
    """Build what is not built yet and return the image. LabError says what failed and why."""
    folder = cache_dir()

    def waiting() -> None:
        say("another build is running: waiting for it")

    with tools.locked(folder / "build.lock", timeout=3 * STAGE_TIMEOUT, waiting=waiting):
        builder = Builder(recipe(suite), StageCache(folder), folder / "build.log", say)
        builder.build_all()
    return image(suite)


@dataclass(frozen=True)
class Builder:
    """Makes the stages of one recipe; the caller holds the build lock."""

    recipe: Recipe
    cache: StageCache
    log: Path
    say: tools.Say

    def build_all(self) -> None:
        """Make every stage that is not finished, in order."""
        todo = [stage for stage in self.recipe.stages if not self.cache.has(stage)]
        if not todo:
            self.say(f"already built: {self.recipe.disk.suite}")
            return
        self.log.write_text("")
        self.say(f"log: {self.log}")
        extra = () if os.geteuid() == 0 else USER_PACKAGES
        tools.require_packages(HOST_PACKAGES + extra, self.log, self.say)
        makers: dict[str, Make] = {
            "modules": self._modules,
            "root": self._root,
            "disk": self._disk,
        }
        for stage in todo:
            self.build_stage(stage, makers[stage.name])

    def build_stage(self, stage: Stage, make: Make) -> Path:
        """Make one stage; its final name appears only when `make` returned."""
        if self.cache.has(stage):
            return self.cache.path(stage)
        started = time.monotonic()
        part = self.cache.begin(stage)
        self.say(f"{stage.name}: started")
        try:
            make(part, lambda argv: self._run(stage, argv, started))
        except CommandFailed as error:
            raise LabError(
                f"{stage.name}: failed after {time.monotonic() - started:.0f} s, "
                f"the log is {self.log}; it ends:\n{error.stderr}"
            ) from error
        done = self.cache.finish(stage, part)
        self.say(f"{stage.name}: done in {time.monotonic() - started:.0f} s")
        return done

    def _run(self, stage: Stage, argv: list[str], started: float) -> None:
        said = time.monotonic()

        def tick() -> None:
            nonlocal said
            if time.monotonic() - said >= PROGRESS_EVERY:
                said = time.monotonic()
                self.say(f"{stage.name}: {said - started:.0f} s")

        tools.run_logged(argv, self.log, timeout=STAGE_TIMEOUT, tick=tick)

    def _modules(self, part: Path, run: Callable[[list[str]], None]) -> None:
        script = _write_files(self.recipe.modules, part) / "modules.sh"
        hooks = [
            f"copy-in {script} /",
            'chroot "$1" sh /modules.sh',
            f"copy-out /out/vmlinuz /out/kernel-version /out/tree /out/initrd-modules {part}",
        ]
        options = ["--format=null", *(f"--customize-hook={hook}" for hook in hooks)]
        run([*_mmdebstrap(self.recipe.modules), *options, self.recipe.modules.suite, "/dev/null"])

    def _root(self, part: Path, run: Callable[[list[str]], None]) -> None:
        target = part / "root.tar"
        run([*_mmdebstrap(self.recipe.root), self.recipe.root.suite, str(target)])

    def _disk(self, part: Path, run: Callable[[list[str]], None]) -> None:
        root_tar = self.cache.path(self.recipe.root) / "root.tar"
        modules = self.cache.path(self.recipe.modules)
        namespace = [] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--map-auto"]
        files = _write_files(self.recipe.disk, part)
        script = ["sh", str(files / "tree.sh")]
        run([*namespace, *script, str(root_tar), str(modules), str(files), str(part)])


def _write_files(stage: Stage, part: Path) -> Path:
    # From the recipe, not from the source folder: what is built is what was hashed, even if
    # somebody edits a script meanwhile.
    folder = part / "files"
    folder.mkdir()
    for name, text in stage.files.items():
        (folder / name).write_text(text)
    return folder


def _mmdebstrap(stage: Stage) -> list[str]:
    # No mirror is named: mmdebstrap knows the one of the release.
    return [
        "mmdebstrap",
        "--variant=minbase",
        "--components=main,contrib",
        f"--include={','.join(stage.packages)}",
    ]
