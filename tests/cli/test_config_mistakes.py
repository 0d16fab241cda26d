"""zborg.config: what is said about a file that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.harness.builders.config_files import HOST, KEY, NAS, problems, refused
from tests.harness.checkout import GOLDEN_FILES
from zborg.config import load

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES / "config"


# --- every mistake at once -------------------------------------------------------------------------


def test_five_mistakes_read_like_their_golden_file(tmp_path: Path) -> None:
    path = tmp_path / "zborg.toml"
    path.write_text((GOLDEN / "five_mistakes.toml").read_text())
    path.chmod(0o600)
    error = refused(path)
    assert error.message == f"{path} has 5 mistakes"
    assert "\n".join(error.problems) + "\n" == (GOLDEN / "five_mistakes.txt").read_text()


def test_an_unknown_key_has_a_suggestion_or_the_list(tmp_path: Path) -> None:
    assert problems(tmp_path, backup={"paralel": 4}) == (
        "backup.paralel: is not known; did you mean parallel?",
    )
    assert problems(tmp_path, backup={"xyzzy": 4}) == (
        "backup.xyzzy: is not known; "
        "known here: parallel, timeout, stalled_after, window, allow_partial, retries, jitter, prune_every, "
        "compact_every, quarantine, freeze_on_anomaly, verify_every, drill_every, drill_max_age, "
        "tunnel",
    )


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({"storage": {}}, "storage.dataset: is missing"),
        ({"storage": {"dataset": "tänk/borg"}}, "storage.dataset: must be a ZFS dataset"),
        ({"storage": {"dataset": "tank", "ssh": HOST["ssh"]}}, "storage.host_key: is missing"),
        ({"storage": {"dataset": "tank", "slack": "1 GiB"}}, 'storage.slack: must be a size such as "500M"'),
        ({"storage": {"dataset": "tank", "min_free": 5}}, "storage.min_free: must be a text in quotes"),
        (
            {"storage": {"dataset": "tank", "zfs": "lib"}},
            'storage.zfs: must be "auto", "libzfs" or "commands"',
        ),
        ({"storage": NAS | {"zfs": "libzfs"}}, 'storage.zfs: "libzfs" reaches this machine alone'),
        (
            {"hosts": {"web1": HOST | {"shrink": 101}}},
            "hosts.web1.shrink: is a percentage, 0 to 100, not 101",
        ),
        (
            {"storage": {"dataset": "tank/borg", "quota": "1G"}},
            "storage.quota: must be more than min_free, or no backup of a new host ever begins",
        ),
        ({"hosts": {"web1": HOST | {"min_files": -1}}}, "hosts.web1.min_files: must be 0 or more, not -1"),
        (
            {"storage": {"dataset": "vault/zborg", "received": True}, "hosts": {"web1": HOST}},
            "hosts: cannot stand beside storage.received",
        ),
        ({"backup": {"parallel": 0}}, 'backup.parallel: must be 1 or more, or "auto", not 0'),
        (
            {"backup": {"parallel": True}},
            'backup.parallel: must be a whole number or "auto", not True',
        ),
        ({"backup": {"allow_partial": "yes"}}, "backup.allow_partial: must be true or false, not 'yes'"),
        ({"backup": 3}, "backup: must be a table"),
        ({"hosts": [1]}, "hosts: must be a table"),
        ({"hosts": {"Web1": HOST}}, "hosts.Web1: names are a-z, 0-9 and -"),
        ({"hosts": {"-x": HOST}}, "hosts.-x: names are a-z, 0-9 and -"),
        ({"hosts": {"a" * 32: HOST}}, f"hosts.{'a' * 32}: names are a-z, 0-9 and -"),
        ({"hosts": {"web1": HOST | {"ssh": "root@web1"}}}, "hosts.web1.ssh: must be ssh://user@address"),
        ({"hosts": {"web1": HOST | {"ssh": "ssh://root@web1:99999"}}}, "hosts.web1.ssh: must be ssh://"),
        ({"hosts": {"web1": HOST | {"ssh": "ssh://root@web1:0"}}}, "hosts.web1.ssh: must be ssh://"),
        ({"hosts": {"web1": HOST | {"ssh": "ssh://root@w -oX:22"}}}, "hosts.web1.ssh: must be ssh://"),
        ({"hosts": {"web1": HOST | {"host_key": "ssh-ed25519 AAAA..."}}}, "hosts.web1.host_key: must be"),
        ({"hosts": {"web1": HOST | {"host_key": KEY[:-8]}}}, "hosts.web1.host_key: must be"),
        ({"hosts": {"web1": HOST | {"host_key": "ssh-dss " + KEY[12:]}}}, "hosts.web1.host_key: must be"),
        ({"hosts": {"web1": HOST | {"host_key": "ssh-rsa " + KEY[12:]}}}, "hosts.web1.host_key: must be"),
        ({"include": "hosts.d/*.toml"}, "include: must be a list of texts"),
        (
            {"storage": NAS | {"serve_identity": "/etc/zborg/id_ed25519"}},
            "storage.serve_identity: must be another key",
        ),
        (
            {"storage": NAS | {"identity": "keys/a", "serve_identity": "keys/a"}},
            "storage.serve_identity: must be another key",
        ),
        ({"include": [1]}, "include: must be a list of texts"),
        ({"include": ["/etc/zborg/*.toml"]}, 'include: must be like "hosts.d/*.toml"'),
        ({"include": [""]}, 'include: must be like "hosts.d/*.toml"'),
        ({"backup": {"tunnel": "ssh"}}, 'backup.tunnel: must be "stdio" or "reverse", not \'ssh\''),
        ({"reverse": {"port": "any"}}, 'reverse.port: must be a port such as 64064, or "auto"'),
        ({"reverse": {"port": True}}, "reverse.port: must be a port such as 64064"),
        ({"reverse": {"port": 0}}, "reverse.port: must be a port such as 64064"),
        ({"reverse": {"sshd": "127.0.0.1"}}, "reverse.sshd: must be address:port"),
        ({"reverse": {"sshd": "a b:22"}}, "reverse.sshd: must be address:port"),
        ({"reverse": {"sshd": "nas:99999"}}, "reverse.sshd: must be address:port"),
        ({"hosts": {"web1": HOST | {"reverse_port": 1}}}, "hosts.web1.reverse_port: only goes with tunnel ="),
        ({"snapshots": {"keep": {"daily": 1.5}}}, "snapshots.keep.daily: must be a whole number, not 1.5"),
    ],
)
def test_each_mistake_names_its_key_and_what_is_expected(
    tmp_path: Path, tables: dict[str, Any], expected: str
) -> None:
    found = problems(tmp_path, **tables)
    assert len(found) == 1
    assert found[0].startswith(expected)


@pytest.mark.parametrize(
    "text", [b"[storage\n", b'name = "\xff"', b"a = " + b"[" * 5000, b"a = " + b"9" * 5000, b"\0"]
)
def test_what_is_no_toml_is_said(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "zborg.toml"
    path.write_bytes(text)
    path.chmod(0o600)
    error = refused(path)
    assert error.message.startswith(f"{path}: ")
    assert error.remedy.endswith(f"zborg doctor --only config --config {path}")


def test_a_missing_file_is_named_with_a_remedy(tmp_path: Path) -> None:
    error = refused(tmp_path / "none.toml")
    assert error.message == f"{tmp_path}/none.toml does not exist"
    assert "--config" in error.remedy


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "zborg.toml").mkdir(mode=0o700)
    assert refused(tmp_path / "zborg.toml").message == f"{tmp_path}/zborg.toml: Is a directory"


def test_drop_ins_whose_directory_is_lost_are_missed(tmp_path: Path) -> None:
    """A mount that failed would otherwise be a server without hosts, and every night of it a good one."""
    (wrong,) = problems(tmp_path, include=["hosts.d/*.toml"])
    assert wrong == f"include: there is no directory {tmp_path}/hosts.d"
    (tmp_path / "hosts.d").mkdir()
    assert load(tmp_path / "zborg.toml").hosts == ()


@pytest.mark.parametrize("name", ["my state", "50%", 'quo"te', "${HOME}", "back\\slash"])
def test_paths_that_ssh_would_take_apart_are_refused(tmp_path: Path, name: str) -> None:
    """It would look for known_hosts elsewhere, find nothing, and every host would seem to have changed."""
    hosts = {"web1": HOST | {"identity": name}}
    first, second = problems(tmp_path, state_dir=name, identity="plain", hosts=hosts)
    assert first.startswith("state_dir: ssh cannot")
    assert second.startswith(f"identity {tmp_path}/{name}: ssh cannot")


def test_a_secret_key_among_the_custodians_is_not_shown_again(tmp_path: Path) -> None:
    secret = "AGE-SECRET-KEY-1QQQ"
    (told,) = problems(tmp_path, escrow={"custodians": [secret]})
    assert "is a secret one" in told and secret not in told


@pytest.mark.parametrize(("warning", "failed"), [(96, 95), (80, 101), (90, 80)])
def test_percentages_of_a_pool_that_make_no_sense(tmp_path: Path, warning: int, failed: int) -> None:
    (problem,) = problems(tmp_path, scrub={"full_warning": warning, "full_failed": failed})
    assert "scrub.full_failed" in problem


# --- [notify] -----------------------------------------------------------------------------------------


def test_what_is_wrong_with_notify_is_said_without_its_urls(tmp_path: Path) -> None:
    """They may hold a password, and this goes to a screen or a log."""
    table = {
        "urls": ["hunter2", "mailtos://u:${PASS}@x"],
        "on": ["succes"],
        "subject": "$STATUS of $HOST",
        "digest": "daily",
        "ping": {"run": "hc-ping.com/hunter2"},
    }
    found = problems(tmp_path, notify=table)
    assert [line.partition(": ")[0] for line in found] == [
        "notify.urls.0", "notify.on.0", "notify.subject", "notify.ping.run", "notify.digest",
    ]  # fmt: skip
    assert "hunter2" not in str(found)
    table = {"command": ["told"], "ping": {"status": "https://x"}, "timeout": "1h", "urls": ["${PASS}"]}
    found = problems(tmp_path, notify=table)
    assert [line.partition(": ")[0] for line in found] == [
        "notify.ping.status", "notify.command", "notify.timeout", "notify.secrets",
    ]  # fmt: skip


def test_a_textfile_that_nobody_would_read(tmp_path: Path) -> None:
    for name in ("zborg.prom", "/var/lib/zborg.txt"):
        (found,) = problems(tmp_path, metrics={"textfile": name})
        assert found.startswith("metrics.textfile: must be a path from / that ends in .prom")
