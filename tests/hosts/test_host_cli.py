"""zborg host on the command line: one confirmation on a real terminal, JSON and exit codes elsewhere."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.harness.watch import until
from tests.harness.worlds.site import NAME, Site
from zborg.cli.command.live import Way, listener
from zborg.cli.command.options import Common
from zborg.config import Config
from zborg.errors import Exit
from zborg.model.keys import fingerprint
from zborg.steps.context import Context


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def argv(site: Site, *words: str) -> list[str]:
    given = ["--operator-key", str(site.host.operator.private), "--path", str(site.data), "--quota", "500G"]
    return ["zborg", "host", "add", NAME, site.host.url, *given, "--config", str(site.path), *words]


def run_here(site: Site, words: Sequence[str]) -> None:
    """zborg in this process, to its end, with the in-memory ZFS in place of the pool."""
    from zborg.cli import main
    from zborg.cli.command import compose

    @contextmanager
    def composed(
        common: Common,
        *,
        make_state: bool = False,
        pinned: Mapping[str, Any] | None = None,
        config: Config | None = None,
    ) -> Iterator[Context]:
        with listener(Way.SILENT if common.json else Way.USUAL, verbose=common.verbose) as emit:
            yield site.context(emit)

    compose.compose = composed
    sys.argv = list(words)
    main.run()


def _exit_as(site: Site, words: Sequence[str]) -> NoReturn:
    """In a child: its own streams instead of the tests', and its exit code."""
    try:
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115  # for good
        run_here(site, words)
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(end.code or 0))
    finally:
        os._exit(70)


_READS = frozenset({"0", "7", "23", "270", "271"})  # x86-64's read, poll, select, pselect6, ppoll


def waits_for_input(pid: int) -> bool:
    """Whether it waits in a system call that reads or selects, see proc_pid_syscall(5)."""
    return Path(f"/proc/{pid}/syscall").read_text().split()[0] in _READS


def in_child(site: Site, words: Sequence[str], answer: str = "") -> tuple[int, str]:
    """Exit code and all that was shown on a terminal of its own; `answer` is typed when it is asked."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        _exit_as(site, words)
    shown = ""
    while select.select([terminal], [], [], 60)[0]:
        try:
            chunk = os.read(terminal, 1 << 16)
        except OSError:  # EIO: nobody is left at the other end
            break
        if not chunk:
            break
        shown += chunk.decode(errors="replace")
        if answer and "[y/N]:" in shown:
            # Python notices a Ctrl-C between the question and the read only after the read.
            until(lambda: waits_for_input(pid), "it reads the answer")
            os.write(terminal, answer.encode())
            answer = ""
    else:
        os.kill(pid, signal.SIGKILL)  # it neither ends nor says anything
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    site.remember()
    return os.waitstatus_to_exitcode(status), shown


def piped(site: Site, words: Sequence[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr without a terminal, as in cron."""
    out, err = site.directory / "stdout", site.directory / "stderr"
    pid = os.fork()
    if pid == 0:
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        _exit_as(site, words)
    _, status = os.waitpid(pid, 0)
    site.remember()
    return os.waitstatus_to_exitcode(status), out.read_text(), err.read_text()


def test_one_question_on_a_terminal_with_fingerprint_and_plan_before_it(site: Site) -> None:
    before = site.host.changed(), site.server_tree()
    code, shown = in_child(site, argv(site), "n\r")
    assert code == Exit.INTERRUPTED, shown
    assert fingerprint(site.host.host_key) in shown
    assert "vault  create tank/borg/web1, quota 500.0 GiB" in shown
    assert (site.host.changed(), site.server_tree()) == before
    code, shown = in_child(site, argv(site), "y\r")
    assert code == Exit.OK, shown
    assert shown.count("[y/N]:") == 1
    assert "host add ok on vault" in re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown)
    assert "first archive" in shown, "each step is told while it lasts"


def test_ctrl_c_at_the_question_is_an_answer(site: Site) -> None:
    before = site.host.changed(), site.server_tree()
    code, shown = in_child(site, argv(site), "\x03")
    assert code == Exit.INTERRUPTED, shown
    assert (site.host.changed(), site.server_tree()) == before


def test_a_script_says_yes_and_names_the_host_key(site: Site) -> None:
    code, out, err = piped(site, argv(site, "--yes", "--json"))
    assert code == Exit.USAGE
    assert "--yes needs --host-key" in json.loads(out)["message"]
    code, out, err = piped(site, argv(site, "--host-key", site.host.host_key))
    assert (code, "nobody is here to answer" in err) == (Exit.USAGE, True), err
    code, out, err = piped(site, argv(site, "--yes", "--host-key", site.host.host_key, "--json"))
    assert code == Exit.OK, out + err
    report = json.loads(out)
    assert (report["status"], report["outcomes"][-1]["message"]) == ("ok", "next: zborg backup web1")
    code, out, err = piped(site, argv(site, "--yes", "--host-key", site.host.host_key))
    assert (code, "nothing was changed" in out) == (Exit.OK, True), out + err


def test_what_zborg_toml_lacks_is_said_before_the_host_is_touched(site: Site) -> None:
    text = site.path.read_text()
    site.path.write_text(text.partition("[escrow]")[0])
    code, out, _ = piped(site, argv(site, "--yes", "--host-key", site.host.host_key, "--json"))
    assert code == Exit.CONFIG
    assert "no custodian" in json.loads(out)["message"]
    site.path.write_text(text.partition("\n")[2])
    code, out, _ = piped(site, argv(site, "--yes", "--host-key", site.host.host_key, "--json"))
    assert code == Exit.CONFIG
    assert 'include = ["hosts.d/*.toml"]' in json.loads(out)["remedy"]
    assert "/etc/zborg" not in site.host.changed()


def test_a_bundle_is_printed_or_written(site: Site) -> None:
    url = f"ssh://root@127.0.0.1:{site.host.port}"
    words = ["zborg", "host", "bundle", NAME, url, "--config", str(site.path)]
    code, out, _ = piped(site, words)
    assert (code, out.startswith("#!/bin/sh\n")) == (Exit.OK, True)
    code, said, err = piped(site, [*words, "--output", str(site.directory / "nowhere" / "web1.sh")])
    assert (code, "nowhere/web1.sh cannot be written: No such file" in err) == (Exit.USAGE, True), err
    file = site.directory / "web1.sh"
    code, said, _ = piped(site, [*words, "--output", str(file)])
    assert (code, file.read_text()) == (Exit.OK, out)
    line = site.host.sh(f"sh {file}").splitlines()[-1]
    words = ["zborg", "host", "accept", line, "--yes", "--json", "--config", str(site.path)]
    code, said, err = piped(site, words)
    assert code == Exit.OK, said + err
    code, said, _ = piped(site, ["zborg", "host", "list", "--config", str(site.path)])
    assert (code, f"web1  ok        {url}" in said) == (Exit.OK, True), said
