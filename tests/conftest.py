"""A vault for tests of steps; for the end-to-end tests a lab, booted when a test first asks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.lab.guests import (  # noqa: F401  # hooks, found by name
    GUESTS,
    pytest_runtest_makereport,
    pytest_runtest_setup,
    pytest_xdist_make_scheduler,
)
from tests.harness.lab.inside import Inside
from tests.harness.machines.agent import Lab as AgentLab
from tests.harness.machines.host import BackedUpHost
from tests.harness.machines.keys import KeyPair, make_key
from tests.harness.machines.reader import Away, Offsite, offsite
from tests.harness.unit import (  # noqa: F401  # found by name
    pytest_runtest_call,
    pytest_runtest_protocol,
    pytest_runtest_teardown,
)
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours
from tests.harness.worlds.world import World, make_parent, prepare_storage, prepare_target, serve_key_beside
from tests.lab import Guest

if TYPE_CHECKING:  # what only doctor's tests need
    from tests.harness.doctor.clinic import Clinic, Plant

with suppress(ImportError):  # a guest that runs some of the tests has none
    from hypothesis import settings

    # An example that takes long shows a busy machine, and no fault.
    settings.register_profile("zborg", deadline=None)
    settings.load_profile("zborg")

# Two working copies on one machine: each has guests of its own. So has each worker of xdist: test-gw0-vault.
LAB = "-".join(filter(None, (os.environ.get("ZBORG_LAB", "test"), os.environ.get("PYTEST_XDIST_WORKER"))))
VAULT, OFFSITE, BOOKWORM = f"{LAB}-vault", f"{LAB}-offsite", f"{LAB}-bookworm"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Limits that only end a hang: those of guests are longer, however busy the machine is."""
    for item in items:
        if item.get_closest_marker("lab"):
            item.add_marker(pytest.mark.timeout(1800), append=False)


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[LocalVault]:
    """A vault without a lab; its hosts' sshd end with the test."""
    made = LocalVault(tmp_path)
    yield made
    made.close()


@pytest.fixture
def clock() -> Hours:
    return Hours()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with a state directory and one host at which nothing listens."""
    from tests.harness.worlds.command_line import write_config

    return write_config(tmp_path)


@pytest.fixture(scope="session")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Offsite]:
    with offsite(tmp_path_factory.mktemp("reading")) as made:
        yield made


@pytest.fixture
def away(reading: Offsite, vault: LocalVault) -> Iterator[Away]:
    """The vault's off-site behind a real sshd, with a key that reads."""
    with ExitStack() as closing:
        yield Away(reading, vault, closing)


@pytest.fixture(scope="session")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One host is initialised for all tests of the agent that begin after init, to save their time."""
    directory = tmp_path_factory.mktemp("enrolled")
    made = AgentLab(directory / "lab", "sh", "auto")
    with made.host:
        made.init().save(directory / "saved")
    return directory / "saved"


@pytest.fixture
def agent(tmp_path: Path, enrolled: Path) -> Iterator[AgentLab]:
    """An initialised host whose sshd lets every variable of the client's through."""
    made = AgentLab(tmp_path, "sh", "auto", "AcceptEnv *")
    made.init(enrolled).configure()
    with made.host:
        yield made


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    """A world that is well, for what doctor looks at; a module's tests share it."""
    from tests.harness.doctor.clinic import Clinic

    made = Clinic(tmp_path_factory.mktemp("clinic"))
    yield made
    made.close()


@pytest.fixture
def plant(clinic: Clinic) -> Iterator[Plant]:
    """Faults, which go with the test."""
    from tests.harness.doctor.clinic import planting

    with planting(clinic) as made:
        yield made


@dataclass(frozen=True)
class Lab:
    """Both guests with their pools `tank` and `vault`, and the key that opens them."""

    directory: Path
    key: KeyPair
    vault: Guest
    offsite: Guest
    hosts: list[BackedUpHost] = field(default_factory=list)
    _installed: dict[str, Inside] = field(default_factory=dict)

    def inside(self, guest: Guest) -> Inside:
        """zborg with its tests in one of the guests; installed once in a session."""
        if guest.name not in self._installed:
            made = Inside(guest)
            made.install(self.directory / f"inside-{guest.name}", tests=True)
            self._installed[guest.name] = made
        return self._installed[guest.name]

    def world(self, name: str, dataset: str = "tank/borg", copy: str = "vault/zborg") -> World:
        """A world of one test's own: its directory and state, and on the guests what it names."""
        directory = self.directory / name
        directory.mkdir()
        make_parent(self.offsite, copy)
        return World(directory, self.key, self.vault, self.offsite, dataset=dataset, copy=copy)

    def host(self, world: World, name: str) -> BackedUpHost:
        """A host of `world` with its sshd running until the session ends."""
        host = BackedUpHost(world.directory / name, key=self.key)
        host.setup(name, [host.data])
        host.sshd.start()
        world.add(host)
        self.hosts.append(host)
        return host


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab that does not start is a failure, never a skip."""
    from tests.lab import up_all

    directory = tmp_path_factory.mktemp("lab")
    vault, offsite = up_all([VAULT, OFFSITE])
    GUESTS.add(vault, offsite)
    for guest in (vault, offsite):
        guest.fresh()
    key = make_key(directory / "id_ed25519")
    serve_key = make_key(serve_key_beside(key.private))
    prepare_storage(vault, "tank", key.public, serve_key.public)
    prepare_target(offsite, "vault", key.public)
    made = Lab(directory, key, vault, offsite)
    yield made
    for host in made.hosts:
        host.sshd.stop()


@pytest.fixture(scope="session")
def bookworm(tmp_path_factory: pytest.TempPathFactory) -> Inside:
    """A guest with python3-libzfs and OpenZFS 2.1, and no pools yet; zborg and its tests are installed."""
    from tests.lab import up

    made = Inside(up(BOOKWORM, "bookworm"))
    GUESTS.add(made.guest)
    made.guest.fresh()
    made.install(tmp_path_factory.mktemp("bookworm"), tests=True)
    return made
