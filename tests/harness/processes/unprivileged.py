"""Running as `nobody`, so that files have owners who matter: root, as which the tests run, may do all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from zborg.model import MAX_OUTPUT, Child, Completed
from zborg.process import LocalRunner

USER = "nobody"


def as_nobody(paths: Sequence[Path], place: Path, number: int | None = None) -> list[str]:
    """An argv prefix: what follows runs as nobody, or as a number, and can enter `paths`, wherever they lie.

    A Python or a checkout below somebody's home is closed to others. In a mount namespace of its own the
    closed directory is covered by one in `place` that shows `paths` and nothing else.
    """
    covers: dict[Path, Path] = {}
    lines = ["set -e"]
    for path in (path.resolve() for path in paths):
        closed = next((one for one in reversed(path.parents) if not one.stat().st_mode & 0o001), None)
        if closed:
            cover = covers.setdefault(closed, place / f"cover{len(covers)}")
            (cover / path.relative_to(closed)).mkdir(parents=True, exist_ok=True)
            lines.append(f"mount --bind {path} {cover / path.relative_to(closed)}")
    last = sorted(covers.items(), key=lambda cover: cover[0] in place.parents)  # it hides the others' covers
    lines += [f"mount --rbind {cover} {closed}" for closed, cover in last]
    uid, gid = (USER, "nogroup") if number is None else (str(number), str(number))
    who = ["setpriv", "--pdeathsig", "TERM", "--reuid", uid, "--regid", gid, "--clear-groups"]
    return [
        "unshare",
        "--mount",
        "sh",
        "-c",
        "\n".join([*lines, 'exec "$@"']),
        "sh",
        *who,
        "--no-new-privs",
        "--",
    ]


class Unprivileged:
    """A model.Runner that puts a prefix before each command."""

    def __init__(self, prefix: Sequence[str], env: Mapping[str, str]) -> None:
        self._prefix, self._local = prefix, LocalRunner("", env)

    def start(self, argv: Sequence[str], *, stdin: int, stdout: int) -> Child:
        return self._local.start([*self._prefix, *argv], stdin=stdin, stdout=stdout)

    def run(
        self, argv: Sequence[str], *, timeout: float = 60, stdin: str = "", max_bytes: int = MAX_OUTPUT
    ) -> Completed:
        return self._local.run([*self._prefix, *argv], timeout=timeout, stdin=stdin, max_bytes=max_bytes)
