"""Other users of the server: what they can put in zborg's way, and what they must not see."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.harness.fake_zfs.zfs import FakeZfs
from zborg.cli.command import compose as composing
from zborg.cli.command.options import Common
from zborg.config import load
from zborg.errors import ConfigError
from zborg.model import Event
from zborg.state.directory import narrow

NOBODY = 65534
CONFIG = '[storage]\ndataset = "tank/borg"\n[snapshots.keep]\nlast = 3\n'


@pytest.fixture
def real(tmp_path: Path) -> Path:
    path = tmp_path / "etc" / "zborg.toml"
    path.parent.mkdir(mode=0o755)
    path.write_text(CONFIG)
    path.chmod(0o600)
    return path


def link(folder: Path, mode: int, target: Path, owner: int = 0) -> Path:
    folder.mkdir()
    folder.chmod(mode)
    made = folder / "zborg.toml"
    made.symlink_to(target)
    os.lchown(made, owner, owner)
    return made


@pytest.mark.parametrize("mode", [0o1777, 0o777, 0o775])
def test_a_configuration_that_is_a_link_in_a_public_folder_is_refused(
    tmp_path: Path, real: Path, mode: int
) -> None:
    """Whoever made it chose what runs as root, and from which folder its relative names are taken."""
    made = link(tmp_path / "public", mode, real)
    with pytest.raises(ConfigError, match="others can write in") as refused:
        load(made)
    assert refused.value.remedy.split("\n")[1:] == [f"ls -l {made}", f"rm {made}"]


def test_a_link_of_another_user_is_refused_wherever_it_leads(tmp_path: Path, real: Path) -> None:
    with pytest.raises(ConfigError, match=f"that user {NOBODY} made"):
        load(link(tmp_path / "theirs", 0o755, real, NOBODY))


def test_a_link_that_leads_over_a_public_folder_is_refused(tmp_path: Path, real: Path) -> None:
    """As a drop-in may: the last name counts as little as the first."""
    over = link(tmp_path / "public", 0o1777, real)
    first = link(tmp_path / "mine", 0o755, over)
    with pytest.raises(ConfigError, match="others can write in"):
        load(first)
    drop_in = real.parent / "hosts.d" / "web1.toml"
    drop_in.parent.mkdir()
    drop_in.symlink_to(over)
    real.write_text(f'include = ["hosts.d/*.toml"]\n{CONFIG}')
    with pytest.raises(ConfigError, match="others can write in"):
        load(real)


def test_a_link_of_root_s_in_a_folder_of_root_s_is_followed(tmp_path: Path, real: Path) -> None:
    assert load(link(tmp_path / "mine", 0o755, real)).storage.dataset == "tank/borg"


# --- the state directory ------------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    for name in ("locks", "runs", "escrow"):
        (made / name).mkdir(parents=True)
    return made


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o770, 0o711])
def test_a_state_directory_that_others_may_enter_is_closed_and_that_is_said(state: Path, mode: int) -> None:
    state.chmod(mode)
    assert narrow(state) == f"others could look into {state} (mode {mode:04o}): its mode is 0700 now"
    assert state.stat().st_mode & 0o7777 == 0o700
    assert narrow(state) == ""


def test_a_directory_that_is_not_zborg_s_alone_stays_open(state: Path) -> None:
    """To close /var/lib or /tmp would stop a system."""
    state.chmod(0o1777)
    assert narrow(state) == ""
    state.chmod(0o755)
    os.chown(state, NOBODY, NOBODY)
    assert narrow(state) == ""
    os.chown(state, 0, 0)
    (state / "postgresql").mkdir()
    assert narrow(state) == ""
    assert state.stat().st_mode & 0o7777 == 0o755


def test_every_command_that_does_something_closes_it(
    real: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.chmod(0o755)
    real.write_text(f'state_dir = "{state}"\n{CONFIG}[log]\nto = "none"\n')
    said: list[Event] = []
    monkeypatch.setattr(composing, "_zfs", lambda *_: FakeZfs(state.parent / "pool"))
    monkeypatch.setattr(composing, "logged", lambda _config, _emit: said.append)
    with composing.compose(Common("snapshot", str(real), json=False, verbose=False, dry_run=True)):
        assert said == [] and state.stat().st_mode & 0o777 == 0o755, "a dry run changes nothing"
    with composing.compose(Common("snapshot", str(real), json=False, verbose=False, dry_run=False)):
        assert [event.subject for event in said] == ["state"]
    assert state.stat().st_mode & 0o777 == 0o700
