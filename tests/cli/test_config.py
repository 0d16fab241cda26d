"""zborg.config: what a file may say, and what is said about one that does not."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness.checkout import CHECKOUT, GOLDEN_FILES
from zborg.config import Config, find, load
from zborg.config.shape import rate_of
from zborg.errors import ConfigError, Exit
from zborg.model import Endpoint, Host, Notify, Policy, Reverse, Storage, Target

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES / "config"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
AGE = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
HOST = {"ssh": "ssh://root@web1.example.net:22", "host_key": KEY}
NAS = HOST | {"dataset": "tank/borg"}
LEAST: dict[str, Any] = {"storage": {"dataset": "tank/borg"}}


def write(path: Path, table: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(tomli_w.dumps(table))
    path.chmod(0o600)
    return path


def refused(path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.exit is Exit.CONFIG
    return caught.value


def problems(tmp_path: Path, **tables: Any) -> tuple[str, ...]:
    return refused(write(tmp_path / "zborg.toml", LEAST | tables)).problems


# --- what a good file means ------------------------------------------------------------------------


def uncommented(text: str) -> str:
    """The sample with every commented setting switched on; prose comments stay comments."""

    def line(text: str) -> str:
        bare = text.removeprefix("# ")
        is_setting = bare.startswith("[") or " = " in bare.split("#")[0]
        return bare if text.startswith("# ") and is_setting else text

    return "\n".join(map(line, text.splitlines())).replace("ssh-ed25519 AAAA...", KEY).replace("age1...", AGE)


def test_the_sample_with_every_setting_switched_on(tmp_path: Path) -> None:
    path = tmp_path / "zborg.toml"
    (tmp_path / "hosts.d").mkdir()
    path.write_text(uncommented((CHECKOUT / "zborg.toml").read_text()))
    path.chmod(0o600)
    identity = "/etc/zborg/id_ed25519"
    assert load(path) == Config(
        path=path,
        name="vault",
        state_dir=Path("/var/lib/zborg"),
        storage=Storage(
            "tank/borg",
            Endpoint("root", "nas.example.net", 22, KEY, "/etc/zborg/id_nas"),
            "zborg-serve",
            "borg",
            Endpoint("zborg-serve", "nas.example.net", 22, KEY, "/etc/zborg/serve_ed25519"),
            quota=500 << 30,
        ),
        parallel=4,
        allow_partial=False,
        retries=2,
        jitter=0,
        prune_every=7 * 86400,
        keep=Policy(last=3, hourly=0, daily=14, weekly=8, monthly=12, yearly=3, within=2 * 86400),
        snapshot_max_age=26 * 3600,
        scrub_max_age=35 * 86400,
        targets=(
            Target(
                "offsite",
                Endpoint("zborg-sink", "offsite.example.net", 22, KEY, identity),
                "vault/zborg",
                26 * 3600,
                bandwidth_limit=50 << 20,
                max_unreplicated_space=200 << 30,
            ),
        ),
        hosts=(
            Host(
                "web1",
                Endpoint("root", "web1.example.net", 22, KEY, identity),
                26 * 3600,
                4 * 3600,
                stalled_after=3 * 3600,
            ),
            Host(
                "old1",
                Endpoint("root", "old1.example.net", 22, KEY, identity),
                26 * 3600,
                23 * 3600,
                Reverse(64065, "127.0.0.1:22"),
                stalled_after=90 * 60,
            ),
        ),
        include=("hosts.d/*.toml",),
        custodians=(AGE,),
        notify=Notify(
            urls=("mailtos://vault:${MAIL_PASSWORD}@mail.example.net?to=admin@example.net",),
            command=("/usr/local/bin/told", "zborg"),
            pings={"run": "https://hc-ping.com/UUID"},
            digest=True,
            secrets="/etc/zborg/secrets.toml",
        ),
        metrics=Path("/var/lib/prometheus/node-exporter/zborg.prom"),
        log="auto",
        log_file=Path("/var/lib/zborg/zborg.log"),
        window=6 * 3600,
    )


def test_the_sample_as_it_is_needs_no_change_but_the_dataset(tmp_path: Path) -> None:
    path = tmp_path / "zborg.toml"
    (tmp_path / "hosts.d").mkdir()
    path.write_text((CHECKOUT / "zborg.toml").read_text())
    path.chmod(0o600)
    config = load(path)
    assert (config.hosts, config.targets, config.storage.endpoint) == ((), (), None)


def test_what_the_sample_comments_out_are_the_defaults(tmp_path: Path) -> None:
    """Whoever leaves everything out has what the comments promise."""
    config = load(write(tmp_path / "zborg.toml", LEAST | {"hosts": {"web1": HOST}}))
    assert (config.parallel, config.allow_partial, config.scrub_max_age) == (4, False, 35 * 86400)
    assert (config.retries, config.jitter, config.prune_every) == (2, 0, 7 * 86400)
    assert (config.hosts[0].max_age, config.hosts[0].timeout) == (26 * 3600, 23 * 3600)
    assert config.hosts[0].reverse is None
    assert config.notify == Notify()
    assert config.keep.empty
    assert (config.storage.user, config.storage.borg) == ("zborg-serve", "borg")
    assert config.storage.zfs == "auto"


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
        ({"backup": {"parallel": 0}}, "backup.parallel: must be 1 or more, not 0"),
        ({"backup": {"parallel": True}}, "backup.parallel: must be a whole number, not True"),
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


# --- drop-ins --------------------------------------------------------------------------------------


def with_drop_ins(tmp_path: Path, main: dict[str, Any], **drop_ins: dict[str, Any]) -> Path:
    for name, table in drop_ins.items():
        write(tmp_path / "hosts.d" / f"{name}.toml", table)
    return write(tmp_path / "zborg.toml", LEAST | {"include": ["hosts.d/*.toml"]} | main)


def test_drop_ins_bring_hosts_in_the_order_of_their_names(tmp_path: Path) -> None:
    path = with_drop_ins(
        tmp_path, {"hosts": {"main": HOST}}, b={"hosts": {"two": HOST}}, a={"hosts": {"one": HOST}}
    )
    assert [host.name for host in load(path).hosts] == ["main", "one", "two"]


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


# --- nothing but ConfigError -----------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(max_size=6)
    | st.datetimes()
    | st.dates()
    | st.sampled_from(["26h", "ssh://a@b:1", KEY, "tank/borg", "*", "**", "../*", "a\0b"])
)
VALUES = st.recursive(
    SCALARS.filter(lambda value: value is not None),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(["ssh", "host_key"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def paths(table: dict[str, Any]) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for key, value in table.items():
        found.append((key,))
        if isinstance(value, dict):
            found += [(key, *rest) for rest in paths(value)]
    return found


FULL = tomllib.loads(uncommented((CHECKOUT / "zborg.toml").read_text()))


def replaced(table: dict[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    head, *rest = path
    return table | {head: replaced(table[head], tuple(rest), value) if rest else value}


@given(path=st.sampled_from(paths(FULL)), value=VALUES)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_anything_anywhere_is_understood_or_refused(
    tmp_path: Path, path: tuple[str, ...], value: object
) -> None:
    file = write(tmp_path / "empty" / "zborg.toml", replaced(FULL, path, value))
    try:
        config = load(file)
    except ConfigError as error:
        assert error.problems or error.message
        assert all(": " in problem for problem in error.problems)
    else:
        assert isinstance(config, Config)


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


def test_a_log_goes_to_one_of_four_places(tmp_path: Path) -> None:
    (told,) = problems(tmp_path, log={"to": "syslog"})
    assert told == 'log.to: must be "auto", "journal", "file" or "none", not \'syslog\''
    config = load(
        write(tmp_path / "zborg.toml", LEAST | {"log": {"to": "file", "file": "/var/log/zborg.log"}})
    )
    assert (config.log, config.log_file) == ("file", Path("/var/log/zborg.log"))
