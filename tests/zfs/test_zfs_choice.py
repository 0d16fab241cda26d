"""Which adapter speaks to ZFS, and why; what py-libzfs wants first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from zborg.errors import ConfigError, Exit
from zborg.zfs import libzfs
from zborg.zfs.choice import Adapter, Choice, choose


def never() -> str:
    raise AssertionError("asked for nothing")


def test_what_zborg_toml_says_and_another_machine_settle_it_unasked() -> None:
    assert choose("commands", "", never).adapter is Adapter.COMMANDS
    far = choose("auto", "ssh://root@nas:22", never)
    assert far == Choice(
        Adapter.COMMANDS, "the storage is on ssh://root@nas:22, and libzfs reaches this machine alone"
    )


def test_auto_is_libzfs_where_it_works_and_says_why_not() -> None:
    assert choose("auto", "", lambda: "").adapter is Adapter.LIBZFS
    assert choose("auto", "", lambda: "no such module") == Choice(Adapter.COMMANDS, "no such module")


def test_libzfs_that_is_wanted_and_cannot_be_had_is_an_error_with_its_mend() -> None:
    assert choose("libzfs", "", lambda: "").adapter is Adapter.LIBZFS
    with pytest.raises(ConfigError, match='storage.zfs is "libzfs", but no such module') as caught:
        choose("libzfs", "", lambda: "no such module")
    assert "auto" in caught.value.remedy


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "zfs"
    path.touch()
    monkeypatch.setattr(libzfs, "_DEVICE", str(path))
    return path


def test_without_its_device_the_library_is_not_even_imported(
    device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would end the process: SIGSEGV."""
    monkeypatch.setitem(sys.modules, "libzfs", None)
    device.unlink()
    assert libzfs.missing("tank") == f"{device} cannot be opened: No such file or directory"


@pytest.mark.usefixtures("device")
def test_a_python_without_the_module_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libzfs", None)
    assert libzfs.missing("tank").startswith("this Python has no python3-libzfs (")


@pytest.mark.usefixtures("device")
def test_another_release_of_the_module_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libzfs", ModuleType("libzfs"))
    assert "it has no ZFS.datasets_serialized" in libzfs.missing("tank")


def test_a_command_that_is_to_use_libzfs_and_cannot_says_so_and_ends_with_10(tmp_path: Path) -> None:
    for name in ("", "locks", "runs"):
        (tmp_path / "state" / name).mkdir(mode=0o700)
    config = tmp_path / "zborg.toml"
    config.write_text('state_dir = "state"\n[storage]\ndataset = "nopool/borg"\nzfs = "libzfs"\n')
    config.chmod(0o600)
    done = subprocess.run(
        [Path(sys.executable).parent / "zborg", "scrub", "--config", config],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == Exit.CONFIG
    assert 'storage.zfs is "libzfs", but ' in done.stderr and "-> correct that" in done.stderr
