"""What keeps a host from being enrolled; host list, test, remove."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.harness.steps import enroll, reach_hosts, remove_host
from tests.harness.worlds.site import NAME, Site, enrolled_site
from zborg.config import load
from zborg.errors import Exit
from zborg.model import Reverse, Status
from zborg.steps.hosts.overview import list_hosts


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site where nobody enrols anybody: for what changes nothing."""
    made = Site(tmp_path_factory.mktemp("empty"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose host was enrolled; each test leaves it so."""
    yield from enrolled_site(tmp_path_factory.mktemp("enrolled"))


# --- what keeps a host from being enrolled -----------------------------------------------------------------


TROUBLES = [
    ("echo 'PermitRootLogin no' >/etc/ssh/sshd_config.d/a.conf", "lets root not log in"),
    ("echo 'AcceptEnv BORG_*' >/etc/ssh/sshd_config.d/a.conf", "accepts BORG_* from a client"),
    ("echo 'Nonsense yes' >/etc/ssh/sshd_config.d/a.conf", "sshd -T fails"),
    ("echo 'PubkeyAuthentication no' >/etc/ssh/sshd_config.d/a.conf", "sshd takes no keys"),
    ("echo 'ForceCommand id' >/etc/ssh/sshd_config.d/a.conf", "overrides the agent"),
    ("echo 'AuthorizedKeysFile none' >/etc/ssh/sshd_config.d/a.conf", "reads no keys"),
    ("echo 'echo welcome' >/root/.bashrc", "prints something when it should be silent (welcome)"),
    (
        "echo 'AllowUsers admin web*' >/etc/ssh/sshd_config.d/a.conf",
        "AllowUsers in sshd_config leaves root out",
    ),
    (
        "echo 'AllowGroups nogroup' >/etc/ssh/sshd_config.d/a.conf",
        "AllowGroups in sshd_config leaves root out",
    ),
    ("echo 'DenyUsers r*t' >/etc/ssh/sshd_config.d/a.conf", "denies root the login"),
    (
        "echo 'AuthenticationMethods publickey,keyboard-interactive' >/etc/ssh/sshd_config.d/a.conf",
        "asks for more than a key",
    ),
    ("echo '{key}' >>/root/.ssh/authorized_keys", "with other options"),
    (
        "printf '%s\\n' '{key}' '{ours} {key}' >>/root/.ssh/authorized_keys",
        "in /root/.ssh/authorized_keys with other options",
    ),
    ("mkdir /etc/zborg; echo 'name = db1' >/etc/zborg/agent.conf", "does not say name = web1"),
    ("mkdir -p /var/lib/zborg; echo x >/var/lib/zborg/alarm", "there is an alarm"),
    (
        "printf '#!/bin/sh\necho borg 1.1.17' >/usr/local/sbin/borg; chmod +x /usr/local/sbin/borg",
        "borg 1.1.17",
    ),
    (
        "printf '#!/bin/sh\nexit 127' >/usr/local/sbin/borg; chmod +x /usr/local/sbin/borg",
        "borg is not installed",
    ),
    (
        "printf '#!/bin/sh\necho bad; exit 1' >/usr/local/sbin/age; chmod +x /usr/local/sbin/age",
        "age refuses",
    ),
    ("mv {data} {data}.real; ln -s {data}.real {data}", "is a symbolic link"),
    ("mv {data} {data}.gone", "is not there"),
]
_MEND = """
rm -rf /etc/ssh/sshd_config.d/a.conf /root/.bashrc /etc/zborg /var/lib/zborg
rm -f /usr/local/sbin/borg /usr/local/sbin/age
[ ! -L {data} ] || rm {data}
for moved in {data}.real {data}.gone; do [ ! -e "$moved" ] || mv "$moved" {data}; done
cp {operator} /root/.ssh/authorized_keys
"""


@pytest.mark.parametrize(("trouble", "words"), TROUBLES, ids=[words for _, words in TROUBLES])
def test_what_would_go_wrong_later_is_said_before_anything_is_changed(
    empty: Site, trouble: str, words: str
) -> None:
    facts = {
        "data": empty.data,
        "key": empty.vault.key.public,
        "operator": f"{empty.host.operator.private}.pub",
        "ours": 'restrict,command="/usr/local/libexec/zborg-agent"',
    }
    empty.host.sh(trouble.format(**facts))
    try:
        before = empty.host.changed(), empty.server_tree()
        report = empty.add()
        assert (report.exit, report.outcomes[0].status) == (Exit.FAILED, Status.FAILED)
        assert any(words in outcome.message for outcome in report.outcomes), report.outcomes
        assert all(outcome.remedy for outcome in report.outcomes)
        assert (empty.host.changed(), empty.server_tree()) == before
    finally:
        empty.host.sh(_MEND.format(**facts))


# sshd judges these as it does without them.
_HARMLESS = """
AllowUsers admin root@192.0.2.1
AllowGroups r*
DenyUsers root@192.0.2.9
AuthenticationMethods publickey,keyboard-interactive publickey
AcceptEnv LANG XMODIFIERS
Match LocalPort 22
    PermitRootLogin no
"""


def test_what_does_not_keep_root_out_is_no_trouble(empty: Site) -> None:
    empty.host.sh(f"echo '{_HARMLESS}' >/etc/ssh/sshd_config.d/a.conf")
    empty.host.sh(f"echo '# {empty.vault.key.public}' >>/root/.ssh/authorized_keys")
    try:
        assert empty.entry().probe().problems == ()
    finally:
        empty.host.sh("rm /etc/ssh/sshd_config.d/a.conf; sed -i /^#/d /root/.ssh/authorized_keys")


def test_a_dry_run_changes_nothing_and_shows_both_machines(empty: Site) -> None:
    before = empty.host.changed(), empty.server_tree()
    report = enroll(empty.context(), empty.request, empty.entry(), dry_run=True)
    assert report.exit is Exit.OK
    assert report.plan[0] == "vault  create tank/borg/web1, quota 500.0 GiB"
    assert "web1   make a random passphrase in /etc/zborg/passphrase (root only)" in report.plan
    assert (empty.host.changed(), empty.server_tree()) == before


def test_a_host_of_borgmatics_is_none_for_the_agent(empty: Site) -> None:
    context = empty.context()
    host = replace(empty.request.host, reverse=Reverse(64065, "127.0.0.1:22"))
    context = replace(context, config=replace(context.config, hosts=(host,)))
    assert reach_hosts(context, []).outcomes[0].status is Status.SKIPPED
    report = enroll(context, empty.request, empty.entry())
    assert report.exit is Exit.FAILED
    assert 'tunnel = "reverse"' in report.outcomes[0].message


# --- list, test, remove ------------------------------------------------------------------------------------


def test_list_and_test_tell_of_an_enrolled_host(enrolled: Site) -> None:
    context = enrolled.context()
    (listed,) = list_hosts(context.config, context.runs, context.clock()).outcomes
    assert listed.message == f"{enrolled.host.url}, tank/borg/web1, never good yet"
    report = reach_hosts(context, [])
    (reached,) = report.outcomes
    assert (report.exit, reached.status) == (Exit.OK, Status.OK), reached
    assert (
        reached.message == "answers: borg 1.4.5, agent 1; its passphrase opens its key; its key is in escrow"
    )
    assert reached.data["alarm"] == "no"
    assert reached.data["clock"].endswith("Z")
    enrolled.host.sh("echo x >/var/lib/zborg/alarm")
    try:
        assert reach_hosts(context, [NAME]).exit is Exit.CONFLICT
    finally:
        enrolled.host.sh("rm /var/lib/zborg/alarm")


def test_an_enrolled_host_has_our_tunnel_in_a_fleet_of_borgmatics(enrolled: Site) -> None:
    path, text = enrolled.path, enrolled.path.read_text()
    path.write_text(f'{text}[backup]\ntunnel = "reverse"\n')
    try:
        assert load(path).hosts[0].reverse is None
    finally:
        path.write_text(text)


def test_remove_deletes_no_data_and_add_takes_the_host_back(enrolled: Site) -> None:
    before = enrolled.server_tree()
    dry = remove_host(enrolled.context(), NAME, dry_run=True)
    assert dry.plan[0].startswith("remove ")
    assert enrolled.server_tree() == before
    report = remove_host(enrolled.context(), NAME)
    assert report.exit is Exit.OK
    assert [(o.subject, o.status) for o in report.outcomes[1:3]] == [
        ("tank/borg/web1", Status.SKIPPED),
        ("offsite:vault/zborg/web1", Status.SKIPPED),
    ] or report.outcomes[1].subject == "tank/borg/web1"
    there = {one.subject for one in report.outcomes}
    assert {"web1:/etc/zborg/custodians", "web1:/var/lib/zborg/restore"} <= there
    commands = " ".join(report.outcomes[0].data["commands"])
    assert "/etc/zborg/custodians" in commands
    assert "/var/lib/zborg/restore" in commands
    gone = set(before) - set(enrolled.server_tree())
    assert gone == {"etc/hosts.d/web1.toml"}
    again = enrolled.add()
    assert again.exit is Exit.OK, again.outcomes
    assert enrolled.server_tree() == before


def test_remove_leaves_what_people_wrote(enrolled: Site) -> None:
    path = enrolled.folder / "hosts.d" / "web1.toml"
    written = path.read_text()
    other = written.split("\n", 1)[1].replace("[hosts.web1]", "[hosts.db1]")
    for text_ in (written.split("\n", 1)[1], written + other):
        path.write_text(text_)
        report = remove_host(enrolled.context(), NAME)
        assert report.exit is Exit.FAILED
        assert str(path) in report.outcomes[0].message
        assert path.read_text() == text_
    path.write_text(written)
