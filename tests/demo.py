"""scripts/demo: backup, snapshot, rotate, replicate, scrub, and a lost file that comes back.

Two guests with real OpenZFS (storage and off-site) and two hosts, each with a real sshd on loopback.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.harness.checkout import CHECKOUT
from tests.harness.machines.host import BackedUpHost
from tests.harness.machines.keys import KeyPair
from tests.harness.worlds.world import World, prepare_storage, prepare_target
from tests.lab import Guest, down, up_all
from tests.lab.cli import main as lab

DEMO = CHECKOUT / "demo"
MARK = DEMO / ".zborg-demo"  # only a folder with this file is ever removed
GUESTS = ("demo-vault", "demo-offsite")
HOSTS = ("web1", "db1")


def say(text: str) -> None:
    print(f"\n\033[1m# {text}\033[0m" if sys.stdout.isatty() else f"\n# {text}", flush=True)


def shell(where: str, command: str) -> None:
    """Show a command and run it in demo/; the demo ends where one fails."""
    print(f"{where}{command}", flush=True)
    done = subprocess.run(["sh", "-c", command], cwd=DEMO, env=_ours(), stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(f"demo: this ended with {done.returncode}")


def _ours() -> dict[str, str]:
    """Whoever has a zborg of their own must not see the demo work on that."""
    return {**os.environ, "ZBORG_CONFIG": str(DEMO / "zborg.toml")}


def on_guest(guest: Guest, where: str, command: str) -> None:
    print(f"{where}{command}", flush=True)
    print(guest.sh(command), end="", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/demo", description="The whole life of a backup, in a lab.")
    parser.add_argument("--down", action="store_true", help="end the hosts and guests, remove demo/")
    if parser.parse_args().down:
        clear()
        down(*GUESTS)
        print("demo: hosts and guests are gone, demo/ is removed")
        return
    started = time.monotonic()
    clear()
    night(*start_guests())
    print(f"\ndemo: done in {time.monotonic() - started:.0f} s; cd demo, and `zborg status` works there")
    print("(put .venv/bin into your PATH; scripts/demo --down clears it all)")


def clear() -> None:
    """End the hosts of an earlier demo and remove its folder."""
    for pid_file in DEMO.glob("*/sshd/pid"):
        with suppress(ProcessLookupError, ValueError):
            os.kill(int(pid_file.read_text()), signal.SIGTERM)
    if MARK.exists():
        shutil.rmtree(DEMO)
    elif DEMO.exists():
        sys.exit(f"demo: {DEMO} is there, but it is not ours; move it away")


def start_guests() -> tuple[Guest, Guest]:
    say("The lab: one guest for storage, one off-site, both with real OpenZFS")
    if lab(["build"]):
        sys.exit("demo: the lab could not be built")
    vault, offsite = up_all(list(GUESTS))
    for guest in (vault, offsite):
        guest.fresh()
    DEMO.mkdir()
    MARK.touch()
    return vault, offsite


def night(vault: Guest, offsite: Guest) -> None:
    key = KeyPair(DEMO / "id_ed25519", "")
    world = World(DEMO, key, vault, offsite)
    prepare_storage(vault, "tank", "", "")
    prepare_target(offsite, "vault", "")
    hosts = [make_host(name) for name in HOSTS]
    for host in hosts:
        world.add(host)
    world.write_config()
    say("zborg.toml is written. init makes the server's keys first ...")
    shell("vault$ ", "zborg init")
    say("... and once they are where they belong, the datasets")
    hand_out_keys(vault, offsite, hosts)
    shell("vault$ ", "zborg init")
    say("The night: cron runs these")
    for command in ("backup", "snapshot", "audit", "rotate --verbose", "replicate"):
        shell("vault$ ", f"zborg {command}")
    on_guest(offsite, "offsite# ", "zpool scrub -w vault")
    shell("vault$ ", "zborg scrub --start --wait")
    lose_and_restore(hosts[0])
    say("Where things stand")
    shell("vault$ ", "zborg status")


def make_host(name: str) -> BackedUpHost:
    """One backed-up host with some data, its sshd left running when the demo ends."""
    host = BackedUpHost(DEMO / name)
    (host.data / "report.txt").write_text(f"the only copy of {name}'s report\n" * 1000)
    for number in range(20):
        (host.data / f"blob-{number}").write_bytes(os.urandom(100_000))
    host.setup(name, [host.data])
    host.sshd.start()
    host.sshd.stop()
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin") or "sshd"
    place = host.sshd.directory
    argv = [sshd, "-f", str(place / "sshd_config"), "-E", str(place / "log"), "-o", f"PidFile={place}/pid"]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    return host


def hand_out_keys(vault: Guest, offsite: Guest, hosts: list[BackedUpHost]) -> None:
    """What an administrator does by hand, once: README.md, "Setting up"."""
    line, serve_line = (
        (DEMO / f"{name}.pub").read_text().strip() for name in ("id_ed25519", "serve_ed25519")
    )
    prepare_storage(vault, "tank", line, serve_line)
    prepare_target(offsite, "vault", line)
    for host in hosts:
        command = f"/bin/sh {host.agent} {host.confdir}"
        host.sshd.authorize(f'restrict,command="{command}" {line}')


def lose_and_restore(host: BackedUpHost) -> None:
    lost = host.data / "report.txt"
    before = digest(lost)
    say("A file is lost on web1")
    shell("web1# ", f"rm {lost}")
    shell("vault$ ", "zborg restore list web1")
    say("No server can make a host restore anything: its root allows it first, once")
    snapshot = newest_snapshot()
    shell("web1# ", f"sh {host.agent} {host.confdir} --allow-restore {snapshot} 1000000 {lost}")
    shell("vault$ ", f"zborg restore files web1 {lost}")
    (back,) = (host.state / "restore").glob(f"*{lost}")
    shell("web1# ", f"cp {back} {lost}")
    say("Two hashes: before, and after")
    print(f"{before}  before\n{digest(lost)}  after")
    if digest(lost) != before:
        sys.exit("demo: the file came back different")


def newest_snapshot() -> str:
    import json

    done = subprocess.run(
        ["zborg", "restore", "list", "web1", "--json"],
        cwd=DEMO,
        env=_ours(),
        capture_output=True,
        text=True,
        check=True,
    )
    return str(json.loads(done.stdout)["outcomes"][-1]["subject"])


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
