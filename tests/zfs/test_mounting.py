"""A host's dataset that is not mounted at its place: the reason, and the commands that mount it."""

from __future__ import annotations

import itertools
import shlex
from dataclasses import dataclass, replace

import pytest

from tests.harness.steps import backup
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, of, world
from zborg.errors import ZborgError
from zborg.model import Status
from zborg.model.storage.mounting import Mounting, Wanted, reason, remedy
from zborg.model.text.remedy import parse
from zborg.steps.mounts import check_mounted

ROOT, WEB = "tank/borg", "tank/borg/web1"
PLACE = "/tank/borg/web1"


@dataclass
class Shell:
    """ZFS's rules for one dataset, as strict as they are in any release: what is done already is an error."""

    state: Mounting
    root_mountpoint: str | None
    covered: bool
    eager: bool  # whether a changed property mounts by itself

    def type(self, line: str) -> None:
        guard, either, mount = line.partition(" || ")
        if either:
            assert guard.startswith("zfs get -H -o value mounted ")
            if self.state.mounted:
                return
            line = mount
        words = shlex.split(line)
        match words:
            case ["mv", place, _]:
                assert self.covered and place == PLACE
                self.covered = False
            case ["zfs", "mount", name]:
                self._mount(name)
            case ["zfs", "load-key", name]:
                self._load(name)
            case ["zfs", "set", word, name]:
                self._set(word, name)
            case ["zfs", "inherit", key, name]:
                self._inherit(key, name)
            case _:
                pytest.fail(line)

    def _mount(self, name: str) -> None:
        state = self.state
        assert name == WEB and not state.mounted and not state.locked and state.canmount != "off"
        assert state.mountpoint and (state.overlay or not self.covered)
        self.state = replace(state, mounted=True)

    def _load(self, name: str) -> None:
        assert self.state.locked == name
        self.state = replace(self.state, locked="")

    def _set(self, word: str, name: str) -> None:
        key, _, value = word.partition("=")
        if name == ROOT:
            assert key == "mountpoint"
            self.root_mountpoint = value
        else:
            assert (key, name) == ("canmount", WEB)
            self.state = replace(self.state, canmount=value)
        self._changed()

    def _inherit(self, key: str, name: str) -> None:
        assert (key, name) == ("mountpoint", WEB)
        self.state = replace(self.state, mountpoint=self.root_mountpoint and f"{self.root_mountpoint}/web1")
        self._changed()

    def _changed(self) -> None:
        able = self.state.canmount == "on" and self.state.mountpoint and not self.state.locked
        if self.eager and able and (self.state.overlay or not self.covered):
            self.state = replace(self.state, mounted=True)


STATES = [
    Mounting(WEB, False, mountpoint, canmount, overlay, locked)
    for mountpoint, canmount, overlay, locked in itertools.product(
        (PLACE, "/elsewhere", None), ("on", "noauto", "off"), (True, False), ("", ROOT, WEB)
    )
]


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("covered", [False, True])
@pytest.mark.parametrize("above", ["/tank/borg", None])
def test_from_every_state_the_commands_mount_it(above: str | None, *, covered: bool, eager: bool) -> None:
    for state in STATES:
        wanted = Wanted("nas", ROOT, above)
        shell = Shell(state, above, covered, eager)
        for line in parse(remedy(state, wanted, occupied=covered))[1]:
            shell.type(line)
        assert shell.state.mounted and shell.state.mountpoint == PLACE, state
        assert shell.state.canmount == "on", "it comes back at the next boot"
        assert reason(state, wanted, occupied=covered)


@pytest.mark.parametrize(
    ("state", "why", "commands"),
    [
        (Mounting(WEB, False, PLACE, "on", True), "it was unmounted", [f"zfs mount {WEB}"]),
        (
            Mounting(WEB, False, PLACE, "on", True, ROOT),
            "the key of tank/borg is not loaded",
            [f"zfs load-key {ROOT}", f"zfs mount {WEB}"],
        ),
        (
            Mounting(WEB, False, PLACE, "noauto", True),
            "its canmount is noauto",
            [
                f"zfs set canmount=on {WEB}",
                f"zfs get -H -o value mounted {WEB} | grep -qx yes || zfs mount {WEB}",
            ],
        ),
        (
            Mounting(WEB, True, "/elsewhere", "on", True),
            f"its mountpoint is /elsewhere, not {PLACE}",
            [
                f"zfs inherit mountpoint {WEB}",
                f"zfs get -H -o value mounted {WEB} | grep -qx yes || zfs mount {WEB}",
            ],
        ),
    ],
)
def test_the_reason_is_the_state(state: Mounting, why: str, commands: list[str]) -> None:
    wanted = Wanted("nas", ROOT, "/tank/borg")
    assert reason(state, wanted) == why
    assert parse(remedy(state, wanted)) == ("on nas, as root:", tuple(commands))


def test_what_is_at_its_place_has_no_reason() -> None:
    assert reason(Mounting(WEB, True, PLACE, "on", True), Wanted("nas", ROOT, "/tank/borg")) == ""


@pytest.mark.parametrize("overlay", ["on", "off"])
def test_a_backup_reports_state_and_machine(vault: LocalVault, clock: Hours, overlay: str) -> None:
    dataset_only(vault, "web1")
    one = vault.zfs._all[WEB]
    one.properties |= {"canmount": "noauto", "overlay": overlay}
    vault.zfs.unmount(WEB)
    (vault.zfs.directory(WEB) / "stray").touch()
    found = of(backup(world(vault, clock)), "web1")
    assert found.status is Status.FAILED
    assert "on this machine: its canmount is noauto" in found.message
    assert ("is not empty, and its overlay is off" in found.message) is (overlay == "off")
    assert parse(found.remedy)[0] == "on this machine, as root:"


def test_the_message_names_the_storage_s_machine(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    vault.zfs.unmount(WEB)
    context = world(vault, clock)
    nas = vault.endpoint(1, "ssh-ed25519 AAAA")
    storage = replace(context.config.storage, endpoint=nas)
    context = replace(context, config=replace(context.config, storage=storage))
    found = {one.name: one for one in vault.zfs.datasets(ROOT)}
    machine = f"the storage ({nas.address})"
    with pytest.raises(ZborgError, match="it was unmounted") as refused:
        check_mounted(context, found[WEB], found[ROOT])
    assert f"on {machine}: " in refused.value.message
    assert parse(refused.value.remedy) == (f"on {machine}, as root:", (f"zfs mount {WEB}",))
