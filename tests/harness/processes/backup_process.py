"""`backup` on a LocalVault in a process of its own, so that a test can kill it.

    python -m tests.harness.processes.backup_process DIRECTORY

DIRECTORY is the vault's; its hosts are in DIRECTORY/hosts.json, their sshd run elsewhere.
Each event is a line on stderr, the report is JSON on stdout, the exit code is the report's.
SIGTERM asks it to stop, as it does zborg.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from tests.harness.checkout import CHECKOUT
from tests.harness.machines.keys import KeyPair
from tests.harness.steps import backup
from tests.harness.worlds.local import LocalVault
from zborg.interrupt import cancelled
from zborg.model import Event
from zborg.model.serial.report import to_dict


def start(vault: LocalVault) -> subprocess.Popen[str]:
    """Start it for all hosts of `vault`; its stderr goes to DIRECTORY/events."""
    hosts = {
        name: [host.sshd.address, host.sshd.port, host.sshd.host_key] for name, host in vault.hosts.items()
    }
    settings = {"hosts": hosts, "backup": vault.backup}
    (vault.directory / "hosts.json").write_text(json.dumps(settings))
    argv = [sys.executable, "-m", "tests.harness.processes.backup_process", str(vault.directory)]
    with open(vault.directory / "events", "w") as events:
        return subprocess.Popen(
            argv, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=events, text=True
        )


def main(directory: Path) -> int:
    vault = LocalVault(directory, KeyPair(directory / "id_ed25519", ""))
    settings = json.loads((directory / "hosts.json").read_text())
    vault.backup = settings["backup"]
    signal.signal(signal.SIGTERM, lambda *_: cancelled.set())
    for name, (address, port, host_key) in settings["hosts"].items():
        vault.endpoints[name] = replace(vault.endpoint(port, host_key), address=address)
        vault.zfs.create(f"tank/borg/{name}", {})
    report = backup(vault.context(emit=_say))
    print(json.dumps(to_dict(report)))
    return int(report.exit)


def _say(event: Event) -> None:
    print(event.kind, event.subject, event.message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
