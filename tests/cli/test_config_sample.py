"""The sample zborg.toml, as it is and with every setting switched on."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness.builders.config_files import AGE, HOST, KEY, LEAST, uncommented, write
from tests.harness.checkout import CHECKOUT
from zborg.config import Config, load
from zborg.errors import ConfigError
from zborg.model import Endpoint, Host, Notify, Policy, Reverse, Storage, Target

pytestmark = pytest.mark.unit


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
        parallel=0,
        allow_partial=False,
        retries=2,
        jitter=0,
        prune_every=7 * 86400,
        compact_every=7 * 86400,
        verify_every=30 * 86400,
        drill_every=7 * 86400,
        drill_max_age=35 * 86400,
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
                read_identity="/etc/zborg/id_read",
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
                prunes=True,
            ),
        ),
        include=("hosts.d/*.toml",),
        custodians=(AGE,),
        prove_every=180 * 86400,
        notify=Notify(
            urls=("mailtos://vault:${MAIL_PASSWORD}@mail.example.net?to=admin@example.net",),
            command=("/usr/local/bin/zborg-ended", "zborg"),
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
    assert (config.parallel, config.allow_partial, config.scrub_max_age) == (0, False, 35 * 86400)
    assert (config.retries, config.jitter, config.prune_every) == (2, 0, 7 * 86400)
    assert config.verify_every == 30 * 86400
    assert (config.drill_every, config.drill_max_age) == (7 * 86400, 35 * 86400)
    assert (config.hosts[0].max_age, config.hosts[0].timeout) == (26 * 3600, 23 * 3600)
    assert config.hosts[0].reverse is None
    assert config.notify == Notify()
    assert config.keep.empty
    assert (config.storage.user, config.storage.borg) == ("zborg-serve", "borg")
    assert config.storage.zfs == "auto"


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
        several = error.message.endswith("of the configuration cannot be used")  # with the message of each
        assert several or all(": " in problem for problem in error.problems)
    else:
        assert isinstance(config, Config)
