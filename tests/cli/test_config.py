"""zborg.config: what a file may say, who may write it, and which file it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness.builders.config_files import HOST, LEAST, problems, refused, with_drop_ins, write
from zborg.config import find, load
from zborg.config.values import rate_of
from zborg.model import Reverse

pytestmark = pytest.mark.unit


def test_the_tunnel_of_all_hosts_and_of_one(tmp_path: Path) -> None:
    hosts = {
        "fleet": HOST,
        "new": HOST | {"tunnel": "stdio"},
        "auto": HOST | {"reverse_port": "auto"},
        "own": HOST | {"tunnel": "reverse", "reverse_port": 2222},
    }
    table = {"backup": {"tunnel": "reverse"}, "reverse": {"sshd": "[::1]:2200"}, "hosts": hosts}
    config = load(write(tmp_path / "zborg.toml", LEAST | table))
    assert {host.name: host.reverse for host in config.hosts} == {
        "fleet": Reverse(64064, "[::1]:2200"),
        "new": None,
        "auto": Reverse(0, "[::1]:2200"),
        "own": Reverse(2222, "[::1]:2200"),
    }


def test_relative_paths_start_at_the_file_and_hosts_keep_their_order(tmp_path: Path) -> None:
    hosts = {name: HOST | {"identity": "keys/id"} for name in ("zeta", "alpha", "mid")}
    path = write(tmp_path / "here" / "zborg.toml", LEAST | {"state_dir": "state", "hosts": hosts})
    config = load(path)
    assert config.state_dir == tmp_path / "here" / "state"
    assert [host.name for host in config.hosts] == ["zeta", "alpha", "mid"]
    assert config.hosts[0].endpoint.identity == str(tmp_path / "here" / "keys" / "id")


@pytest.mark.parametrize(
    ("url", "user", "address", "port"),
    [
        ("ssh://root@nas", "root", "nas", 22),
        ("ssh://backup_1@10.0.0.7:2222", "backup_1", "10.0.0.7", 2222),
        ("ssh://root@[fe80::1]:65535", "root", "fe80::1", 65535),
        ("ssh://root@[2001:DB8::7]", "root", "2001:DB8::7", 22),
        ("ssh://root@[fe80::1%eth0]:22", "root", "fe80::1%eth0", 22),
    ],
)
def test_ssh_urls(tmp_path: Path, url: str, user: str, address: str, port: int) -> None:
    path = write(tmp_path / "zborg.toml", LEAST | {"hosts": {"web1": HOST | {"ssh": url}}})
    endpoint = load(path).hosts[0].endpoint
    assert (endpoint.user, endpoint.address, endpoint.port) == (user, address, port)
    assert str(endpoint) == (url if url.count(":") > 1 and url[-1] != "]" else f"{url}:22")


@given(number=st.integers(0, 999_999), unit=st.sampled_from("smhdw"))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_durations(tmp_path: Path, number: int, unit: str) -> None:
    path = write(tmp_path / "zborg.toml", LEAST | {"scrub": {"max_age": f"{number}{unit}"}})
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[unit]
    assert load(path).scrub_max_age == number * seconds


@given(text=st.text(max_size=8))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_no_duration_is_refused(tmp_path: Path, text: str) -> None:
    good = text[:-1].isascii() and text[:-1].isdigit() and text[-1] in "smhdw"
    path = write(tmp_path / "zborg.toml", LEAST | {"scrub": {"max_age": text}})
    if good and len(text) <= 7:
        assert load(path).scrub_max_age >= 0
    else:
        assert refused(path).problems == (
            f'scrub.max_age: must be a duration such as "26h" or "35d", not {text!r}',
        )


@pytest.mark.parametrize(("text", "rate"), [("1KiB/s", 1 << 10), ("50MiB/s", 50 << 20), ("2GiB/s", 2 << 30)])
def test_rates_are_written_with_their_unit(text: str, rate: int) -> None:
    assert rate_of(text) == rate


@pytest.mark.parametrize("text", ["0MiB/s", "50", "50M", "50MB/s", "50MiB", "-1KiB/s", "1.5MiB/s", " 1KiB/s"])
def test_other_rates_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a rate such as"):
        rate_of(text)


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("500M", 500 << 20), ("1G", 1 << 30), ("2T", 2 << 40)])
def test_sizes_are_written_as_in_zfs(tmp_path: Path, text: str, size: int) -> None:
    storage = LEAST["storage"] | {"min_free": text, "slack": text}
    found = load(write(tmp_path / "zborg.toml", LEAST | {"storage": storage})).storage
    assert (found.min_free, found.slack) == (size, size)


def test_a_duration_in_foreign_digits_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, scrub={"max_age": "٣d"})[0].startswith("scrub.max_age: must be a duration")


# --- who may write it ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o602, 0o620, 0o666])
def test_a_file_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "zborg.toml", LEAST)
    path.chmod(mode)
    error = refused(path)
    assert error.message == f"{path} can be written by others"
    assert error.remedy == f"chmod go-w {path}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_strangers_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "zborg.toml", LEAST)
    os.chown(path, 12345, -1)
    assert refused(path).message == f"{path} belongs to user 12345"


def test_a_drop_in_that_others_can_write_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "zborg.toml", LEAST | {"include": ["hosts.d/*.toml"]})
    extra = write(tmp_path / "hosts.d" / "web1.toml", {"hosts": {"web1": HOST}})
    extra.chmod(0o606)
    assert refused(path).message == f"{extra} can be written by others"


def test_drop_ins_bring_hosts_in_the_order_of_their_names(tmp_path: Path) -> None:
    path = with_drop_ins(
        tmp_path, {"hosts": {"main": HOST}}, b={"hosts": {"two": HOST}}, a={"hosts": {"one": HOST}}
    )
    assert [host.name for host in load(path).hosts] == ["main", "one", "two"]


def test_a_drop_in_without_hosts_in_the_main_file(tmp_path: Path) -> None:
    assert [h.name for h in load(with_drop_ins(tmp_path, {}, a={"hosts": {"one": HOST}})).hosts] == ["one"]


def test_a_drop_in_brings_hosts_and_nothing_else(tmp_path: Path) -> None:
    error = refused(with_drop_ins(tmp_path, {}, a={"storage": {"dataset": "evil"}, "name": "x"}))
    assert set(error.problems) == {
        "storage: only [hosts.NAME] may stand in a drop-in",
        "name: only [hosts.NAME] may stand in a drop-in",
    }
    assert str(tmp_path / "hosts.d" / "a.toml") in error.message


def test_a_host_is_never_replaced(tmp_path: Path) -> None:
    path = with_drop_ins(tmp_path, {"hosts": {"web1": HOST}}, a={"hosts": {"web1": HOST}})
    error = refused(path)
    assert error.problems == (f"hosts.web1: is defined in {path} as well",)
    assert error.message == f"{tmp_path}/hosts.d/a.toml has 1 mistake"


# --- which file ------------------------------------------------------------------------------------


def test_find_in_its_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ZBORG_CONFIG", raising=False)
    assert find(None) == Path("/etc/zborg/zborg.toml")
    write(tmp_path / "zborg.toml", LEAST)
    assert find(None) == tmp_path / "zborg.toml"
    monkeypatch.setenv("ZBORG_CONFIG", "/from/env.toml")
    assert find(None) == Path("/from/env.toml")
    assert find("given.toml") == Path("given.toml")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_somebody_elses_zborg_toml_here_is_not_picked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ZBORG_CONFIG", raising=False)
    os.chown(write(tmp_path / "zborg.toml", LEAST), 12345, -1)
    assert find(None) == Path("/etc/zborg/zborg.toml")


def test_a_log_goes_to_one_of_four_places(tmp_path: Path) -> None:
    (told,) = problems(tmp_path, log={"to": "syslog"})
    assert told == 'log.to: must be "auto", "journal", "file" or "none", not \'syslog\''
    config = load(
        write(tmp_path / "zborg.toml", LEAST | {"log": {"to": "file", "file": "/var/log/zborg.log"}})
    )
    assert (config.log, config.log_file) == ("file", Path("/var/log/zborg.log"))
