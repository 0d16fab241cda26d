"""The blocks of docs/restore.md, and a `zborg` for a shell that acts on a world in this process."""

from __future__ import annotations

import io
import json
import re
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from tests.harness.checkout import CHECKOUT
from zborg.cli.command.options import Common
from zborg.cli.main import application, guarded
from zborg.steps.context import Context

PAGE = CHECKOUT / "docs" / "restore.md"
_SHIM = """#!{python}
import json, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({path!r})
    server.sendall(json.dumps(sys.argv[1:]).encode() + b"\\n")
    code, out, err = json.load(server.makefile())
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""


def blocks() -> dict[str, str]:
    """Every block by its chapter and first line: "The host is gone: on rescue, with ..."."""
    found, chapter, lines = {}, "", [*PAGE.read_text().splitlines(), ""]
    block: list[str] = []
    for line in lines:
        if line.startswith("    "):
            block.append(line.removeprefix("    "))
        elif block:
            found[f"{chapter}: {block[0].removeprefix('# ')}"] = "\n".join(block)
            block = []
        if line.startswith("## "):
            chapter = line.removeprefix("## ")
    return found


def replaced(block: str, names: Mapping[str, str]) -> str:
    """Each name once, the longest first: what was put in is not looked at again."""
    pattern = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    return re.sub(pattern, lambda match: names[match.group()], block)


class Shim:
    """`zborg` in `directory` for a shell's PATH; what it is told is done in `context`, in this process."""

    def __init__(self, directory: Path, context: Context) -> None:
        self.context = context
        self._path = str(directory / "zborg.socket")
        directory.mkdir()
        program = directory / "zborg"
        program.write_text(_SHIM.format(python=sys.executable, path=self._path))
        program.chmod(0o755)

    def __enter__(self) -> Shim:
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self._path)
        self._server.listen()
        self._patch = mock.patch("zborg.cli.command.compose.compose", self._compose)
        self._patch.start()
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.stop()
        self._server.close()

    @contextmanager
    def _compose(self, common: Common, *, make_state: bool = False) -> Iterator[Context]:
        yield self.context

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client, client.makefile("rw") as lines:
            words = json.loads(lines.readline())
            out, err = io.StringIO(), io.StringIO()
            with redirect_stdout(out), redirect_stderr(err):
                code = guarded(lambda: application(words)(words, standalone_mode=False))
            json.dump([code, out.getvalue(), err.getvalue()], lines)


ANEW = "The server is gone: on vault, the new one"
IN_THE_LAB = (
    ANEW,
    "Everything is gone but the off-site: on rescue",
    "Everything is gone but the off-site: on rescue, going on",
    "Everything is gone but the off-site: on rescue, in the end",
    "Everything is gone but the off-site: on offsite",
)
