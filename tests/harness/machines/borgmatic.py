"""A host as qb.backup has it, on loopback: root's forced command is borgmatic, there is no agent of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.harness.checkout import CHECKOUT
from tests.harness.machines.host import find_borg
from tests.harness.machines.keys import KeyPair, make_key
from tests.harness.machines.sshd import Sshd, free_port

SCRIPT = CHECKOUT / "zborg" / "hosts" / "reverse.sh"
PASSPHRASE = "on the host alone"
_CONFIG = """\
repositories:
    - path: {url}
source_directories:
    - {data}
local_path: {borg}
encryption_passphrase: {passphrase}
archive_name_format: "{{hostname}}-{{now:%Y-%m-%dT%H:%M:%S}}"
retries: 0
ssh_command: >-
    ssh -F none -i {key} -o BatchMode=yes -o IdentitiesOnly=yes -o HostName=127.0.0.1
    -o HostKeyAlias=backup-master -o UserKnownHostsFile={known} -o StrictHostKeyChecking=yes
    -p {port} -l {user}
"""


def find_borgmatic() -> Path:
    """The one that scripts/setup made. Raises FileNotFoundError."""
    found = Path(sys.prefix) / "borgmatic" / "bin" / "borgmatic"
    if not found.exists():
        raise FileNotFoundError(f"{found}: run scripts/setup")
    return found


class BorgmaticHost:
    """One host below `directory`: its sshd, borgmatic's configuration, a key for the server's sshd `back`.

    With `auto` its port is another one each time, and its forced command goes through zborg-reverse.
    """

    def __init__(
        self,
        directory: Path,
        key: KeyPair,
        back: Sshd,
        *,
        auto: bool = False,
        sshd_options: Sequence[str] = (),
    ) -> None:
        self.directory, self.back, self.port = directory, back, 0 if auto else free_port()
        self.data = directory / "data"
        self.data.mkdir(parents=True)
        (self.data / "file").write_text("of a host with borgmatic")
        self.known = directory / "known_hosts"
        self.own: KeyPair = make_key(directory / "id_backup")
        self._key = key
        self.sshd = Sshd(directory / "sshd", sshd_options)

    def set_up(self, path: Path, actions: str = "create", *, command: str = "", permit: str = "") -> None:
        """Its files and both authorized_keys; `path` is the repository on the server. Starts its sshd.

        `command` takes borgmatic's place, `permit` that of the port that may be opened.
        """
        self.pin(self.back.host_key)
        config = self.directory / "borgmatic.yaml"
        config.write_text(self._config(f"ssh://backup-master{path}"))
        config.chmod(0o600)
        serve = f"{find_borg()} serve --append-only --restrict-to-repository {path}"
        self.back.authorize(f'restrict,command="{serve}" {self.own.public}')
        wrapper = "" if self.port else f"sh {SCRIPT} "
        command = command or f"{wrapper}{find_borgmatic()} -c {config} {actions}"
        permit = permit or f"127.0.0.1:{self.port or '*'}"
        options = f'restrict,port-forwarding,permitlisten="{permit}",command="{command}"'
        self.sshd.authorize(f"{options} {self._key.public}")
        self.sshd.start()

    def pin(self, host_key: str) -> None:
        """What it takes for the server's host key."""
        self.known.write_text(f"backup-master {host_key}\n")

    def pin_nothing(self) -> None:
        """As qb.backup has it: any host key will do."""
        config = self.directory / "borgmatic.yaml"
        text = config.read_text().replace("StrictHostKeyChecking=yes", "StrictHostKeyChecking=no")
        config.write_text(text.replace(f"UserKnownHostsFile={self.known}", "UserKnownHostsFile=/dev/null"))

    def ran(self) -> bool:
        """Whether its borgmatic was ever started: it makes its own directories in the home."""
        return any((self.sshd.directory / "home").iterdir())

    def archives(self, repository: Path) -> int:
        """How many a borg of our own can read there, with the passphrase alone."""
        reader = {"BORG_BASE_DIR": str(self.directory / "reader"), "BORG_PASSPHRASE": PASSPHRASE}
        out = self.directory / "out"
        out.mkdir(exist_ok=True)

        def borg(*words: str) -> str:
            argv, env = [find_borg(), *words], {**os.environ, **reader}
            return subprocess.run(
                argv, env=env, cwd=out, check=True, capture_output=True, text=True, timeout=120
            ).stdout

        names = borg("list", "--short", str(repository)).split()
        borg("extract", f"{repository}::{names[-1]}")
        if (out / str(self.data / "file").lstrip("/")).read_bytes() != (self.data / "file").read_bytes():
            raise ValueError("what was restored is not what was backed up")
        return len(names)

    def _config(self, url: str) -> str:
        return _CONFIG.format(
            url=url,
            data=self.data,
            borg=find_borg(),
            passphrase=PASSPHRASE,
            key=self.own.private,
            known=self.known,
            port=self.port or "${ZBORG_PORT}",
            user=self.back.user,
        )
