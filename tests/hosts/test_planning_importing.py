"""What becomes of each host of a qb.backup configuration: names, keys, refusals."""

from __future__ import annotations

import pytest

from zborg.model.enrolment import Left, Source
from zborg.planning.hosts.import_qb_backup import Pinned, Verdict, is_address, once, plan, url

pytestmark = pytest.mark.unit

PIN = Pinned("ssh-ed25519 AAAA", "SHA256:abc")


def source(hostname: str, port: int = 22, place: str = "hosts[0]") -> Source:
    return Source(hostname, port, place)


def pinned(*sources: Source) -> dict[str, Pinned]:
    return {url(one): PIN for one in sources}


def test_a_host_with_a_known_key_is_written_under_its_first_label() -> None:
    web = source("web1.example.org", 2222)
    (found,) = plan([web], pinned(web), {})
    assert (found.verdict, found.name, found.host_key) == (Verdict.WRITE, "web1", PIN.line)
    assert found.table["ssh"] == url(web) and "web1.example.org" in url(web)
    assert found.line("/h").startswith("write /h/web1.toml: ")


def test_two_with_one_first_label_get_their_whole_names() -> None:
    both = [source("web.a.org"), source("web.b.org")]
    assert [one.name for one in plan(both, pinned(*both), {})] == ["web-a-org", "web-b-org"]


def test_a_name_that_another_host_has_is_not_taken() -> None:
    web = source("web1.example.org")
    (found,) = plan([web], pinned(web), {"web1": "ssh://root@elsewhere:22"})
    assert found.name == "web1-example-org"


def test_an_address_that_zborg_has_is_left_as_it_is() -> None:
    web = source("WEB1.example.org")
    (found,) = plan([web], {}, {"mine": url(source("web1.example.org"))})
    assert (found.verdict, found.name) == (Verdict.THERE, "mine")
    assert found.line("/h").startswith("leave mine: ")


def test_the_second_mention_of_an_address_says_so() -> None:
    web = source("web1.example.org")
    first, second = plan([web, source("web1.example.org", place="hosts[1]")], pinned(web), {})
    assert (first.verdict, second.verdict) == (Verdict.WRITE, Verdict.TWICE)
    assert second.message == "hosts[1] names it again"


def test_without_a_key_nothing_is_written_and_the_remedy_scans_for_it() -> None:
    (found,) = plan([source("web1.example.org", 2222)], {}, {})
    assert found.verdict is Verdict.REFUSE and "no host key is known" in found.message
    assert "ssh-keyscan -t ed25519 -p 2222 web1.example.org >>known_hosts" in found.remedy
    assert found.line("/h").startswith("refuse web1.example.org: ")


@pytest.mark.parametrize("hostname", ["-oProxyCommand=x", "a b", ""])
def test_what_is_no_address_is_refused_before_its_key_is_looked_for(hostname: str) -> None:
    (found,) = plan([source(hostname)], {}, {})
    assert found.verdict is Verdict.REFUSE and "no address" in found.message


def test_a_setting_that_each_host_has_is_told_once_with_a_count() -> None:
    left = [Left("timeout", f"hosts[{n}]", "has no place", "set it by hand") for n in range(3)]
    (found,) = once(left)
    assert found.key == "timeout" and found.words == "has no place, like 2 others"
    assert found.line().startswith("leave timeout (hosts[0]")


def test_an_address_of_which_no_name_can_be_made_is_refused_with_the_way_by_hand() -> None:
    web = source("a" * 64)
    (found,) = plan([web], pinned(web), {})
    assert found.verdict is Verdict.REFUSE and "no name of a-z, 0-9 and -" in found.message
    assert f'write hosts.d/NAME.toml by hand: ssh = "{url(web)}"' in found.remedy


@pytest.mark.parametrize(
    ("hostname", "good"),
    [
        ("10.0.0.1", True),
        ("fe80::1", True),
        ("fe80::1%eth0", True),
        ("fe80::1%a b", False),
        ("-oProxy", False),
    ],
)
def test_what_can_be_part_of_a_url_is_an_address(hostname: str, good: bool) -> None:
    assert is_address(hostname) is good
