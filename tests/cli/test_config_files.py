"""The files of the configuration: which are read, in whatever encoding, and which one a mistake is in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.harness.builders.config_files import HOST, refused, with_drop_ins, write
from tests.harness.worlds.command_line import zborg
from zborg.config import drop_in, load
from zborg.config.salvage import contact, salvage
from zborg.model.text import remedy

WEB1 = {"hosts": {"web1": HOST}}
WRONG = "hosts = 5\n"


def names(path: Path) -> list[str]:
    return [host.name for host in load(path).hosts]


@pytest.fixture
def main(tmp_path: Path) -> Path:
    """A zborg.toml with one good drop-in."""
    return with_drop_ins(tmp_path, {}, web1=WEB1)


# --- which files are read ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [".#web2.toml", "._web2.toml", ".web2.toml.swp.toml", ".web2.toml"])
@pytest.mark.parametrize("content", ["link", "garbage", "good"])
def test_hidden_files_beside_the_drop_ins_are_none(main: Path, name: str, content: str) -> None:
    """Emacs' lock is a dangling link, macOS writes binary ._ files."""
    place = main.parent / "hosts.d" / name
    if content == "link":
        place.symlink_to("root@desk.4711:1700000000")
    else:
        place.write_bytes(b"\0\5\26\7" if content == "garbage" else b'[hosts.web2]\nssh = "x"\n')
    assert names(main) == ["web1"]


@pytest.mark.parametrize(
    "name", ["web2.toml~", "#web2.toml#", "web2.toml.bak", "web2.toml.dpkg-old", "web2.toml.rpmsave"]
)
def test_backup_copies_are_none_whatever_the_pattern(tmp_path: Path, main: Path, name: str) -> None:
    (tmp_path / "hosts.d" / name).write_text(WRONG)
    assert names(main) == ["web1"]
    write(main, {"include": ["hosts.d/*"], "storage": {"dataset": "tank/borg"}})
    assert names(main) == ["web1"]


def test_what_is_no_file_is_no_drop_in(main: Path) -> None:
    folder = main.parent / "hosts.d"
    (folder / "x.toml").mkdir()
    os.mkfifo(folder / "pipe.toml")
    assert names(main) == ["web1"]


def test_a_hidden_file_can_be_named(tmp_path: Path) -> None:
    write(tmp_path / "hosts.d" / ".secret.toml", WEB1)
    path = write(
        tmp_path / "zborg.toml", {"include": ["hosts.d/.secret.toml"], "storage": {"dataset": "tank/borg"}}
    )
    assert names(path) == ["web1"]


def test_a_file_that_zborg_did_not_finish_writing_is_none(tmp_path: Path, main: Path) -> None:
    write(main, {"include": ["hosts.d/*"], "storage": {"dataset": "tank/borg"}})
    leftover = tmp_path / "hosts.d" / f".web2.toml.{os.getpid()}.new"
    leftover.mkdir()
    with pytest.raises(IsADirectoryError):
        drop_in.write(tmp_path / "hosts.d" / "web2.toml", "web2", HOST)
    leftover.rmdir()
    leftover.write_text("half of")
    assert names(main) == ["web1"]


# --- each mistake in its own file ----------------------------------------------------------------------


def test_a_drop_in_whose_target_is_gone_is_named(main: Path) -> None:
    link = main.parent / "hosts.d" / "web2.toml"
    link.symlink_to("/srv/configs/web2.toml")
    error = refused(main)
    assert error.message == f"{link} is a link to /srv/configs/web2.toml, which does not exist"
    assert remedy.parse(error.remedy)[1] == (f"ls -l {link}",)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(("what", "mode"), [("hosts.d/web1.toml", 0), ("hosts.d", 0o711), ("hosts.d", 0)])
def test_what_cannot_be_read_is_named(main: Path, what: str, mode: int) -> None:
    """As another user than root; a directory that only seems to be empty would be a server without hosts."""
    load(main)  # imports what it takes, for to the other user Python's own files may be closed
    place = main.parent / what
    place.chmod(mode)
    for folder in main.parents:
        if not folder.stat().st_mode & 0o001:
            folder.chmod(0o755)
    main.chmod(0o644)
    child = os.fork()
    if child == 0:
        try:
            os.setresuid(65534, 65534, 65534)
            told = str(refused(main)) + " ".join(refused(main).problems)
            os._exit(0 if f"{place}" in told and "Permission denied" in told else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_notation_error_is_named_with_its_line(main: Path) -> None:
    extra = main.parent / "hosts.d" / "web2.toml"
    extra.write_text('[hosts.web2]\nssh = "x"\nhost_key ssh-ed25519\n')
    extra.chmod(0o600)
    assert refused(main).message.startswith(f"{extra}: ")
    assert "line 3" in refused(main).message


def test_a_mistake_in_a_drop_in_is_said_to_be_there(tmp_path: Path) -> None:
    path = with_drop_ins(tmp_path, {}, web1={"hosts": {"web1": HOST | {"shrink": 101, "min_files": 2}}})
    extra = tmp_path / "hosts.d" / "web1.toml"
    error = refused(path)
    assert error.message == f"{extra} has 1 mistake"
    assert error.problems[0].startswith("hosts.web1.shrink: ")
    write(extra, {"hosts": {"web1": HOST | {"ssh": "root@web1"}}})
    assert refused(path).message == f"{extra} has 1 mistake"


def test_mistakes_in_several_files_name_each(tmp_path: Path) -> None:
    bad = HOST | {"shrnk": 5}
    path = with_drop_ins(
        tmp_path, {"scrub": {"max_age": "x"}}, a={"hosts": {"a1": bad}}, b={"hosts": {"b1": bad}}
    )
    error = refused(path)
    for name in ("zborg.toml", "hosts.d/a.toml", "hosts.d/b.toml"):
        assert f"{tmp_path / name} has 1 mistake" in error.message
        assert any(problem.startswith(f"{tmp_path / name}: ") for problem in error.problems)


def test_every_broken_drop_in_is_named_at_once(tmp_path: Path, main: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "hosts.d" / f"{name}.toml").write_text("[")
        (tmp_path / "hosts.d" / f"{name}.toml").chmod(0o600)
    error = refused(main)
    assert error.message == "2 files of the configuration cannot be used"
    starts = tuple(line.partition(": ")[0] for line in error.problems)
    assert starts == (f"{tmp_path}/hosts.d/a.toml", f"{tmp_path}/hosts.d/b.toml")


def test_a_clash_names_both_files(tmp_path: Path) -> None:
    path = with_drop_ins(tmp_path, {}, a=WEB1, b=WEB1)
    error = refused(path)
    assert error.message == f"{tmp_path}/hosts.d/b.toml has 1 mistake"
    assert error.problems == (f"hosts.web1: is defined in {tmp_path}/hosts.d/a.toml as well",)


# --- byte order marks and line ends --------------------------------------------------------------------


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "marked"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["unix", "dos"])
def test_files_of_any_editor_are_read(main: Path, mark: bytes, end: bytes) -> None:
    for path in (main, main.parent / "hosts.d" / "web1.toml"):
        path.write_bytes(mark + path.read_bytes().replace(b"\n", end))
    assert names(main) == ["web1"]


def test_a_drop_in_of_ours_stays_ours_after_an_editor_of_windows(main: Path) -> None:
    path = main.parent / "hosts.d" / "web1.toml"
    drop_in.write(path, "web1", HOST)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert drop_in.is_ours(path, "web1")
    drop_in.write_identity(path, "web1", "/etc/zborg/id_new")
    assert load(main).hosts[0].endpoint.identity == "/etc/zborg/id_new"


def test_another_encoding_is_refused_with_the_file_s_name(main: Path) -> None:
    extra = main.parent / "hosts.d" / "web1.toml"
    extra.write_bytes(extra.read_text().encode("utf-16"))
    assert refused(main).message.startswith(f"{extra}: ")


# --- who hears of it -----------------------------------------------------------------------------------


@pytest.fixture
def hook(tmp_path: Path) -> Path:
    path = tmp_path / "hook"
    path.write_text(f"#!/bin/sh\ncat >{tmp_path}/got\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    "breakage",
    ["drop-in", "storage", "state"],
)
def test_a_configuration_that_cannot_be_used_is_reported_to_the_notifiers(
    tmp_path: Path, main: Path, hook: Path, breakage: str
) -> None:
    text = main.read_text()
    if breakage == "drop-in":
        (tmp_path / "hosts.d" / "web1.toml").write_text(WRONG)
    elif breakage == "storage":
        text = text.replace("tank/borg", "tank//borg")
    main.write_text(
        f'name = "vault"\nstate_dir = "{tmp_path}/none"\n{text}\n[notify]\ncommand = ["{hook}"]\n'
    )
    done = zborg("run", "--config", str(main))
    assert done.returncode == 10, done.stderr
    got = (tmp_path / "got").read_text()
    expected = {"drop-in": "hosts.d/web1.toml", "storage": "storage.dataset", "state": f"{tmp_path}/none"}
    assert expected[breakage] in got
    assert '"failure"' in got
    assert '"exit": 10' in got
    assert '"server": "vault"' in got


def test_commands_of_people_notify_nobody_of_it(tmp_path: Path, main: Path, hook: Path) -> None:
    (tmp_path / "hosts.d" / "web1.toml").write_text(WRONG)
    main.write_text(f'{main.read_text()}\n[notify]\ncommand = ["{hook}"]\n')
    for words in (["status"], ["run", "--dry-run"], ["host", "list"]):
        assert zborg(*words, "--config", str(main)).returncode == 10
    assert not (tmp_path / "got").exists()


def test_no_program_of_a_file_that_others_can_write_is_started(
    tmp_path: Path, main: Path, hook: Path
) -> None:
    main.write_text(f'{main.read_text()}\n[notify]\ncommand = ["{hook}"]\n')
    main.chmod(0o666)
    assert zborg("run", "--config", str(main)).returncode == 10
    assert not (tmp_path / "got").exists()
    assert contact(main) is None


def test_contact_leaves_out_what_is_wrong_in_notify_itself(tmp_path: Path, main: Path, hook: Path) -> None:
    main.write_text(f'{main.read_text()}\n[notify]\ncommand = ["{hook}"]\ndigest = "daily"\n')
    found = contact(main)
    assert found is not None
    assert found.notify.command == (str(hook),)


def test_salvage_leaves_out_a_wrong_drop_in_alone(tmp_path: Path, main: Path) -> None:
    (tmp_path / "hosts.d" / "web2.toml").write_text(WRONG)
    config, errors = salvage(main)
    assert config is not None
    assert [host.name for host in config.hosts] == ["web1"]
    assert [error.message for error in errors] == [f"{tmp_path}/hosts.d/web2.toml has 1 mistake"]
