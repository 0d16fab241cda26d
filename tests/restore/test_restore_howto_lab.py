"""docs/restore.md where real pools matter: a reader's key, a lost server, and nothing left but the off-site.

zborg runs here with its pool in the vault guest, which is `rescue` in the end. The tests tell one story and
stand in its order.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Lab
from tests.harness.builders.sink import ATTACKS
from tests.harness.machines.host import find_borg
from tests.harness.machines.keys import KeyPair, make_key
from tests.harness.restore.howto import ANEW, IN_THE_LAB, blocks, replaced
from tests.harness.worlds.world import ZBORG, World, guids
from tests.lab import Guest
from zborg.hosts.ssh.connection import ssh_argv
from zborg.hosts.ssh.host_keys import write_known_hosts
from zborg.model import Endpoint
from zborg.zfs.delegation import READER, reading_lines

# The first of them waits for a guest that installs zborg: slow on a busy machine.
pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

SOURCE, ROOT = "tank/howto", "vault/howto"
NAME, ARCHIVE = "zborg_2026-02-12T144933Z", "web1-2026-02-12T143007Z"
PASSPHRASE = "of the host"
_DESTROY = f"""
zfs list -H -o name -t snapshot -r {SOURCE} | while read -r name; do
    zfs release zborg:to:offsite "$name" 2>/dev/null || :
done
zfs destroy -r {SOURCE}
"""
BEHIND = "A whole repository, out of a snapshot: on vault, the off-site behind a sink"


@dataclass
class Page:
    """The page with this lab's names in it."""

    lab: Lab
    world: World
    reader: KeyPair

    @property
    def names(self) -> dict[str, str]:
        """The one table of what is replaced on the server's blocks: its places lie in our directory."""
        places = {place: f"{self.world.directory}{place}" for place in ("/srv/web1", "/media/stick")}
        known = f"-F none -o UserKnownHostsFile={self.world.directory}/known"
        return self._machines(self.lab.offsite.address, known) | places

    def _machines(self, address: str, options: str = "") -> dict[str, str]:
        machine = f"{options} -p {self.lab.offsite.port} zborg-read@{address}"
        return {"zborg-read@offsite.example.net": machine, "tank/borg": SOURCE, "vault/zborg": ROOT}

    def on_vault(self, title: str) -> str:
        """zborg is here; `zfs` is the guest's, and ssh knows the off-site."""
        directory = self.world.directory
        env = self.world.environment() | {"PATH": f"{directory}/bin:{ZBORG.parent}:{os.environ['PATH']}"}
        text = replaced(blocks()[title], self.names)
        done = subprocess.run(
            ["sh", "-euc", text],
            cwd=directory,
            env=env,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, f"{title}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def inside(self, guest: Guest, title: str) -> str:
        """In a guest, which reaches the other one by its host's address."""
        answers = f"export BORG_PASSPHRASE={shlex.quote(PASSPHRASE)} BORG_RELOCATED_REPO_ACCESS_IS_OK=yes"
        text = replaced(blocks()[title], self._machines("10.0.2.2"))
        return guest.sh(f"cd /root; {answers}\n{text}", timeout=200)

    def off_site(self) -> str:
        """All that is there: names, guids, and every property that somebody set."""
        listed = self.lab.offsite.sh(f"zfs list -Hp -r -t all -o name,guid,origin,userrefs,mounted {ROOT}")
        return listed + self.lab.offsite.sh(f"zfs get -Hp -r -s local,received all {ROOT}")


@pytest.fixture(scope="module")
def page(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """web1's repository on the vault and off-site; the off-site's second account, as docs/sink.md has it; and
    the stick."""
    base = tmp_path_factory.mktemp("howto")
    lab.inside(lab.offsite)
    lab.vault.sh(f"zfs create {SOURCE}; zfs create {SOURCE}/web1")
    page = Page(lab, lab.world("howto", dataset=SOURCE, copy=ROOT), make_key(base / "offsite-read"))
    _account(page)
    _configure(page)
    _repository(page, base)
    lab.vault.sh(f"zfs snapshot -o zborg:state=ok {SOURCE}/web1@{NAME}")
    page.world.report("init")
    assert page.world.report("replicate")["status"] == "ok"
    yield page
    lab.vault.sh(_DESTROY)
    lab.offsite.sh(f"zfs destroy -r {ROOT}")


def _account(page: Page) -> None:
    offsite = page.lab.offsite
    made, allowed = reading_lines(ROOT, READER, "Linux")
    offsite.sh(f"zborg sink --read {ROOT} 2>/dev/null || :")  # as root, who can keep what Python compiles
    offsite.sh(f"id {READER} >/dev/null 2>&1 || {made}\n{allowed}")
    offsite.sh(f"install -d -m 0700 -o {READER} /home/{READER}/.ssh")
    forced = f'restrict,command="/usr/local/bin/zborg sink --read {ROOT}" {page.reader.public}\n'
    offsite.write(f"/home/{READER}/.ssh/authorized_keys", forced)
    offsite.sh(f"chown {READER}: /home/{READER}/.ssh/authorized_keys")


def _configure(page: Page) -> None:
    """A key of its own for `borg serve`, as a forced command knows one place; the stick; and `zfs`."""
    world, vault, offsite = page.world, page.lab.vault, page.lab.offsite
    serve = make_key(world.directory / "serve_ed25519")
    forced = f"/usr/local/libexec/zborg-serve /{SOURCE} /tank/zborg-scratch"
    line = f'restrict,command="{forced}" {serve.public}'
    vault.sh(f"echo {shlex.quote(line)} >>/home/zborg-serve/.ssh/authorized_keys")
    world.write_config()
    storage = world.settings["storage"] | {
        "serve_identity": str(serve.private),
        "slack": "0",
        "min_free": "0",
    }
    hosts = {"web1": {key: storage[key] for key in ("ssh", "host_key")}}
    world.write_config(storage=storage, hosts=hosts)
    stick, programs = world.directory / "media/stick", world.directory / "bin"
    for place in (stick, programs, world.directory / "srv"):
        place.mkdir(parents=True)
    (stick / "offsite-read").symlink_to(page.reader.private)
    known = f"[{offsite.address}]:{offsite.port} {offsite.host_key}\n"
    (world.directory / "known").write_text(known)
    zfs = shlex.join([*vault.remote().argv([]), "zfs"])
    (programs / "zfs").write_text(f'#!/bin/sh\nexec {zfs} "$@"\n')
    (programs / "zfs").chmod(0o755)
    vault.write("/root/.ssh/known_hosts", f"[10.0.2.2]:{offsite.port} {offsite.host_key}\n")
    vault.write("/media/stick/offsite-read", page.reader.private.read_text())


def _repository(page: Page, base: Path) -> None:
    """Made here, where borg is quick; its sealed key is what a custodian keeps."""
    data, repository, key = base / "data", base / "web1", base / "custodian.key"
    (data / "etc/nginx").mkdir(parents=True)
    (data / "etc/nginx/nginx.conf").write_text("of web1")
    env = {**os.environ, "BORG_BASE_DIR": str(base / "borg"), "BORG_PASSPHRASE": PASSPHRASE}
    for words in (
        ["init", "-e", "keyfile-blake2", str(repository)],
        ["create", f"{repository}::{ARCHIVE}", "etc"],
        ["key", "export", str(repository), str(base / "web1.export")],
    ):
        subprocess.run([find_borg(), *words], cwd=data, env=env, check=True, capture_output=True)
    subprocess.run(["age-keygen", "-o", key], check=True, capture_output=True)
    public = subprocess.run(["age-keygen", "-y", key], check=True, capture_output=True, text=True).stdout
    sealed = ["age", "-a", "-r", public.strip(), str(base / "web1.export")]
    text = subprocess.run(sealed, check=True, capture_output=True, text=True).stdout
    vault = page.lab.vault
    vault.write("/root/web1.age", text)
    vault.write("/media/stick/custodian.key", key.read_text())
    age = shutil.which("age")
    assert age
    _carry(vault, Path(age), "/usr/local/bin")
    _carry(vault, repository, f"/{SOURCE}")


def _carry(guest: Guest, what: Path, to: str) -> None:
    with subprocess.Popen(["tar", "-C", what.parent, "-ch", what.name], stdout=subprocess.PIPE) as packing:
        argv = guest.remote().argv(["tar", "-C", to, "-xo"])
        subprocess.run(argv, stdin=packing.stdout, check=True, timeout=120)


def test_the_readers_key_fetches_from_real_pools_and_leaves_nothing(page: Page) -> None:
    before = page.off_site()
    assert NAME in page.on_vault(BEHIND)
    copy = page.world.directory / "srv/web1-read"
    there = page.lab.vault.remote().argv(["sh", "-c", f"cd /{SOURCE}/web1; {_SUM}"])
    assert _sums(["sh", "-c", f"cd {copy}; {_SUM}"]) == _sums(there)
    assert page.off_site() == before
    assert "zborg-scratch/" not in page.lab.vault.sh("zfs list -H -o name -r tank")


_SUM = "find . -type f -exec sha256sum {} + | sort"


def _sums(argv: list[str]) -> str:
    found = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=120).stdout
    assert "config" in found
    return found


def test_attacks_with_the_readers_key_change_nothing(page: Page, tmp_path: Path) -> None:
    offsite = page.lab.offsite
    there = Endpoint(READER, offsite.address, offsite.port, offsite.host_key, str(page.reader.private))
    write_known_hosts(tmp_path / "known_hosts", {"reader": there})
    before = page.off_site()
    for name in ("destroy -r", "receive", "all below", "and a destroy"):
        command = ATTACKS[name].replace("vault/zborg", ROOT)
        asking = ssh_argv("reader", there, tmp_path / "known_hosts", command)
        done = subprocess.run(asking, input=b"", capture_output=True, timeout=120, check=False)
        assert done.returncode == 4 and b"refused by the sink" in done.stderr, (name, done.stderr)
    assert page.off_site() == before


_SHELL = [
    f"zfs destroy {ROOT}/web1@{NAME}",
    f"zfs destroy -r {ROOT}/web1",
    f"zfs rollback -r {ROOT}/web1@{NAME}",
    f"zfs rename {ROOT}/web1 {ROOT}/web9",
    f"zfs hold x {ROOT}/web1@{NAME}",
    f"zfs bookmark {ROOT}/web1@{NAME} '#x'",
    f"zfs clone {ROOT}/web1@{NAME} {ROOT}/clone",
    f"zfs snapshot {ROOT}/web1@x",
    f"zfs create {ROOT}/x",
    f"zfs set zborg:state=failed {ROOT}/web1@{NAME}",
    f"zfs set mountpoint=/mnt {ROOT}/web1",
    f"zfs send {ROOT}/web1@{NAME} | zfs receive -s -u {ROOT}/web2",
    f"zfs mount {ROOT}/web1",
    f"zfs allow -u {READER} destroy {ROOT}",
]


def test_even_a_shell_of_that_account_can_only_send(page: Page) -> None:
    """The second wall: the kernel's."""
    before = page.off_site()
    script = "".join(f"{line} >/dev/null 2>&1 && echo {shlex.quote(line)}\n" for line in _SHELL)
    script += f"zfs send {ROOT}/web1@{NAME} | wc -c\n"
    as_user = ["setpriv", "--reuid", READER, "--regid", READER, "--init-groups", "sh"]
    (sent,) = page.lab.offsite.ssh(as_user, input=script, check=False).stdout.split("\n")[:-1]
    assert int(sent) > 10_000
    assert page.off_site() == before


def test_the_server_is_gone(page: Page) -> None:
    vault, world = page.lab.vault, page.world
    vault.sh(_DESTROY)
    shutil.rmtree(world.state)
    listed = page.on_vault(ANEW)
    assert f"{NAME}  ok " in listed and "good backup" in " ".join(listed.split())
    assert guids(vault, SOURCE) == guids(page.lab.offsite, ROOT)
    vault.sh(f"echo new >/{SOURCE}/web1/new")
    world.report("snapshot")
    assert world.report("replicate")["status"] == "ok"
    there = {one: guid for one, guid in guids(page.lab.offsite, ROOT).items() if "ledger" not in one}
    here = guids(vault, f"{SOURCE}/web1")
    assert {f"/web1{name}": guid for name, guid in here.items()} == there and len(there) == 2, "it goes on"


def test_everything_is_gone_but_the_off_site(page: Page) -> None:
    vault = page.lab.vault
    _, begin, go_on, end, by_root = IN_THE_LAB
    before = page.off_site()
    assert f"{ROOT}/web1@{NAME}" in page.inside(vault, begin)
    assert ARCHIVE in page.inside(vault, go_on)
    assert vault.sh("cat /restored/etc/nginx/nginx.conf") == "of web1"
    page.inside(vault, end)
    assert page.off_site() == before
    assert "config" in page.inside(page.lab.offsite, by_root)
    page.lab.offsite.sh("zfs destroy vault/rescue")
