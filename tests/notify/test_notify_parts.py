"""Of a notifier's URL that cannot be used, the wrong part is named, and no secret."""

from __future__ import annotations

import pytest

from zborg.model import Notify
from zborg.notify.parts import wrong_part
from zborg.notify.reach import troubles


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nothing://secretword", "its scheme, nothing://, is none that Apprise knows"),
        ("secretword", "it has no scheme"),
        ("ma!lto://secretword", "its scheme, the part before ://"),
        ("json://", "the part behind json:// is empty"),
        ("slack:///secretword", "the part behind slack:// is empty"),
        ("json://u:secretword@host:port/", "its port, behind the last colon of the host"),
        ("tgram://secretword", "Apprise cannot use it: "),
    ],
)
def test_the_wrong_part_is_named(url: str, words: str) -> None:
    ((_, wrong, _),) = troubles(Notify(urls=(url,)))
    assert wrong.startswith(words) and "secretword" not in wrong, wrong


@pytest.mark.parametrize(
    "url", ["mailtos://u:p@host:465?to=a@b.org", "ntfy://topic", "json://[::1]:80/x", "json://h"]
)
def test_a_right_one_has_no_wrong_part(url: str) -> None:
    assert wrong_part(url) == ""
