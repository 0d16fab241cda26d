"""zborg import qb-backup: its YAML, the hosts that come of it, and what is said about the rest."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
import tomli_w
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.harness.checkout import GOLDEN_FILES
from zborg.config import load
from zborg.config.qb_backup import read
from zborg.config.shape import structure
from zborg.errors import CommandFailed, ConfigError
from zborg.hosts.ssh.host_keys import look_up
from zborg.model.enrolment import Source
from zborg.model.keys import fingerprint
from zborg.planning.hosts.import_qb_backup import Pinned, Verdict, is_address, plan, url
from zborg.process import LocalRunner

GOLDEN = GOLDEN_FILES / "qb_backup"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB8eHRwbGhkYFxYVFBMSERAPDg0MCwoJCAcGBQQDAgEA"
KNOWN = f"""\
[foo.example.com]:22222 {KEY}
[bar.example.com]:2222,[web.example.com]:2222,[web.example.net]:2222 {KEY}
[192.0.2.7]:2222 {KEY}
2001:db8::7 {KEY}
new.example.com {KEY}
[a-name-that-is-too-long-for-zborg.example.com]:2222 {KEY}
"""
LEAST = {
    "name": "vault",
    "state_dir": "state",
    "include": ["hosts.d/*.toml"],
    "storage": {"dataset": "tank/borg"},
}
THERE = {"known": {"ssh": "ssh://root@known.example.com:2222", "host_key": OTHER, "timeout": "1h"}}


class Place:
    """A zborg.toml, qb.backup's files and known_hosts in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.drop_ins = directory / "hosts.d"
        self.drop_ins.mkdir()
        self.toml(self.drop_ins / "known.toml", {"hosts": THERE})
        self.toml(directory / "zborg.toml", LEAST)
        shutil.copytree(GOLDEN, directory / "qb")
        (directory / "known_hosts").write_text(KNOWN)

    def toml(self, path: Path, table: Mapping[str, object]) -> None:
        path.write_text(tomli_w.dumps(table))
        path.chmod(0o600)

    def run(self, *words: str, pinned: bool = True) -> tuple[int, str]:
        """Exit code, and what it prints with this directory's name taken out."""
        argv = [sys.executable, "-m", "zborg.cli.main", "import", "qb-backup", "qb/backup.yml"]
        argv += ["--config", "zborg.toml", *(["--known-hosts", "known_hosts"] if pinned else []), *words]
        done = subprocess.run(argv, cwd=self.directory, capture_output=True, text=True, timeout=120)
        return done.returncode, (done.stdout + done.stderr).replace(str(self.directory), "DIR")

    def written(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted(self.drop_ins.iterdir())}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def without_run(text: str) -> str:
    """The last line ends with seconds and a run id."""
    *lines, last = text.splitlines()
    return (
        "\n".join([*lines, last.partition(", exit ")[0] + ", exit " + last.partition(", exit ")[2][:1]])
        + "\n"
    )


def golden(name: str, text: str) -> None:
    assert text == (GOLDEN.parent / "qb_backup_out" / name).read_text()


# --- from its file to ours --------------------------------------------------------------------------------


def test_a_whole_configuration(place: Place) -> None:
    status, said = place.run()
    assert status == 3
    golden("report.txt", without_run(said))
    files = {name: tomllib.loads(text) for name, text in place.written().items()}
    golden("hosts.toml", tomli_w.dumps({k: v["hosts"] for k, v in files.items()}))
    loaded = load(place.directory / "zborg.toml")
    assert {h.name for h in loaded.hosts} == {"known", "foo", "bar", "web-example-com", "web-example-net"} | {
        "192-0-2-7",
        "2001-db8--7",
    }
    assert {h.reverse.port for h in loaded.hosts if h.reverse} == {64064}
    assert "a-password" not in said


def test_again_it_changes_nothing(place: Place) -> None:
    place.run()
    before = place.written()
    (place.drop_ins / "foo.toml").write_text(before["foo.toml"] + 'timeout = "2h"\n')
    before = place.written()
    status, said = place.run()
    assert status == 3  # those without a key
    assert place.written() == before
    assert "ssh://root@foo.example.com:22222 is there already, left as it is" in " ".join(said.split())


def test_a_dry_run_writes_nothing_and_ends_as_the_run_would(place: Place) -> None:
    before = place.written()
    status, said = place.run("--dry-run")
    assert status == 3
    golden("dry_run.txt", said)
    assert place.written() == before


def test_without_known_keys_nothing_is_written(place: Place) -> None:
    (place.drop_ins / "known.toml").unlink()
    status, said = place.run(pinned=False)
    assert status == 4
    assert place.written() == {}
    assert "ssh-keyscan -t ed25519 -p 22222 foo.example.com" in " ".join(said.split())


def test_a_directory_that_zborg_does_not_read_is_told(place: Place) -> None:
    status, said = place.run("--to", "elsewhere")
    assert status == 3
    assert (place.directory / "elsewhere" / "foo.toml").stat().st_mode & 0o777 == 0o600
    assert 'include = ["hosts.d/*.toml"]' in said
    assert "DIR/elsewhere, so it does not know foo" in " ".join(said.split())


def test_a_file_of_another_host_is_never_overwritten(place: Place) -> None:
    place.toml(
        place.drop_ins / "foo.toml", {"hosts": {"foo": THERE["known"] | {"ssh": "ssh://root@10.0.0.1"}}}
    )
    before = place.written()["foo.toml"]
    status, _ = place.run()
    written = place.written()
    assert status == 3
    assert written["foo.toml"] == before
    assert "foo.example.com" in written["foo-example-com.toml"]


def test_a_known_hosts_that_is_not_there(place: Place) -> None:
    (place.directory / "known_hosts").unlink()
    status, said = place.run()
    assert status == 2
    assert "known_hosts: no such file" in said
    assert "bug" not in said


# --- its YAML ---------------------------------------------------------------------------------------------


@pytest.mark.unit
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hosts: [", "FILE:1: expected the node content"),
        ("hosts:\n\t- a", "FILE:2: found character"),
        ("hosts: [a]\n---\nhosts: [b]\n", "FILE:2: but found another document"),
        ("- a\n- b\n", "FILE:1: expected a mapping, not a list"),
        ("", "FILE names no host"),
        ("hosts: []", "FILE names no host"),
        ("hosts: !include none/*.yml", "FILE names no host"),
        ("hosts: !include none.yml", "FILE:1: there is no file DIR/none.yml"),
        ("hosts: !include qb.yml", "FILE:1: includes in includes without end"),
        ("hosts: !include ''", "FILE:1: '' is no pattern"),
        ("hosts: a", "FILE:1: expected a list of hosts, not a single value"),
        ("hosts: !!python/object/apply:os.system [id]", "FILE:1: expected a list of hosts, not the tag"),
        (
            "hosts:\n- !!python/name:os.system ''",
            "FILE:2: expected a text, not the tag tag:yaml.org,2002:python",
        ),
        ("hosts:\n- !vault |\n  secret\n", "FILE:2: expected a text, not the tag !vault"),
        ("hosts: !!python/object/new:dict {a: b}", "FILE:1: expected a list of hosts, not the tag"),
        ("!!python/dict {hosts: [a]}", "FILE:1: expected a mapping, not the tag"),
        ("hosts: !!set {a, b}", "FILE:1: expected a list of hosts, not a mapping"),
        ("hosts:\n- [a]\n", "FILE:2: expected a host's name, or a mapping"),
        ("hosts:\n- port: 22\n", "FILE:2: this host has no hostname"),
        ("hosts:\n- hostname: a\n  port: ssh\n", "FILE:3: must be a port, not 'ssh'"),
        ("hosts:\n- hostname: a\n  port: 65536\n", "FILE:3: must be a port, not '65536'"),
        ("hosts:\n- hostname: a\n  port: 022\n", "FILE:3: must be a port, not '022'"),
        ("hosts: [a]\nhosts: [b]\n", "FILE:2: hosts is given twice"),
        ("d: &d {port: 1}\ndefault:\n  <<: *d\nhosts: [a]\n", "FILE:3: merge keys are not read"),
        ("default: 3\nhosts: [a]\n", "FILE:1: expected a mapping with port and lock, not a single value"),
        ("a: &a [*a]\nhosts: *a\n", "FILE:1: expected a host's name, or a mapping"),
        ("[" * 5000, "FILE: "),
        ("\x00", "FILE: unacceptable character"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "qb.yml"
    path.write_text("hosts: !include qb.yml" if "include qb.yml" in text else text)
    if "without end" in words:
        path.write_text("!include qb.yml")
    with pytest.raises(ConfigError) as caught:
        read(path)
    message = caught.value.message.replace(str(path), "FILE").replace(str(tmp_path), "DIR")
    assert message.startswith(words)


@pytest.mark.unit
def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.yml"):
        with pytest.raises(ConfigError, match=str(path)):
            read(path)
    (tmp_path / "hosts").mkdir()
    (tmp_path / "qb.yml").write_text(f"hosts: !include {tmp_path}/ho*s\n")
    with pytest.raises(ConfigError, match="Is a directory"):
        read(tmp_path / "qb.yml")


@pytest.mark.unit
def test_includes_are_relative_to_their_file_and_in_the_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "qb.yml").write_text("hosts: !include d/all.yml\ndefault: !include d/*fault.yml\n")
    (tmp_path / "d" / "all.yml").write_text("!include e/*.yml\n")
    (tmp_path / "d" / "default.yml").write_text("port: 23\n")
    (tmp_path / "d" / "e" / "2.yml").write_text("[c]")
    (tmp_path / "d" / "e" / "1.yml").write_text(f"!include {tmp_path}/d/e/x\n")
    (tmp_path / "d" / "e" / "x").write_text("- a\n- {hostname: b, port: null}\n- {hostname: B, port: 0}\n")
    hosts = read(tmp_path / "qb.yml").hosts
    assert [(one.hostname, one.port) for one in hosts] == [("a", 23), ("b", 23), ("B", 23), ("c", 23)]
    assert hosts[1].place == f"{tmp_path}/d/e/x:2"


@pytest.mark.unit
@given(text=st.text(alphabet=st.sampled_from("hosts: -[]{}&*!<|>\n\"'#ab?,%@`0\\\t"), max_size=60))
@example(text='hosts: ["a\\0b"]')
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_read_or_refused_with_words(tmp_path: Path, text: str) -> None:
    path = tmp_path / "qb.yml"
    path.write_text(text)
    try:
        found = read(path)
    except ConfigError as error:
        assert error.message.startswith(str(path))
    else:
        assert found.hosts


# --- the plan ---------------------------------------------------------------------------------------------

labels = st.text(alphabet="abAB09-_", min_size=1, max_size=12)
hostnames = st.one_of(
    st.lists(labels, min_size=1, max_size=4).map(".".join),
    st.ip_addresses().map(str),
    st.text(max_size=8),
    st.just("-oProxyCommand=id"),
)
sources = st.builds(Source, hostnames, st.integers(1, 65535), st.just("qb.yml:1"))


@example(hosts=[Source("fe80::1%eth0.100", 22, "FILE:1")], taken={})
@given(hosts=st.lists(sources, max_size=8), taken=st.dictionaries(labels.map(str.lower), st.just("")))
@settings(max_examples=60, deadline=None)
def test_every_table_is_one_that_zborg_reads_and_names_are_nobody_elses(
    hosts: list[Source], taken: dict[str, str]
) -> None:
    keys = {url(one): Pinned(KEY, "SHA256:x") for one in hosts}
    planned = plan(hosts, keys, taken)
    assert [one.source for one in planned] == hosts
    written = [one for one in planned if one.verdict is Verdict.WRITE]
    names = [one.name for one in written]
    assert len(names) == len(set(names)) and not set(names) & set(taken)
    structure({"storage": {"dataset": "tank"}, "hosts": {one.name: one.table for one in written}})
    assert all(is_address(one.source.hostname) for one in written)
    # What was written is there the next time, under the same name.
    known = taken | {one.name: url(one.source) for one in written}
    again = plan(hosts, keys, known)
    assert [o.name for o in again if o.verdict is Verdict.THERE] == names
    assert not [o for o in again if o.verdict is Verdict.WRITE]


# --- known_hosts ------------------------------------------------------------------------------------------


def test_keys_are_looked_up_as_ssh_does(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    lines = [
        f"plain.example.com {OTHER}",
        f"[port.example.com]:2222 {KEY} a comment",
        f"*.pattern.example.com {KEY}",
        f"@revoked * {OTHER}",
        f"@cert-authority ca.example.com {KEY}",
        "broken.example.com ssh-ed25519 AAAA",
        "short.example.com",
    ]
    path.write_text("\n".join(lines) + "\n")
    found = {
        (name, port): look_up(LocalRunner(), path, name, port)
        for name, port in (
            ("plain.example.com", 22),
            ("port.example.com", 2222),
            ("port.example.com", 22),
            ("a.pattern.example.com", 22),
            ("ca.example.com", 22),
            ("broken.example.com", 22),
            ("short.example.com", 22),
            ("-oProxyCommand=id", 22),
        )
    }
    assert {pair: key for pair, key in found.items() if key} == {
        ("port.example.com", 2222): KEY,
        ("a.pattern.example.com", 22): KEY,
    }
    path.write_text(f"{lines[1]}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(path)], check=True, capture_output=True)
    assert look_up(LocalRunner(), path, "port.example.com", 2222) == KEY
    assert fingerprint(KEY).startswith("SHA256:")
    with pytest.raises(CommandFailed):
        look_up(LocalRunner(), tmp_path / "none", "a", 22)
