"""The remedy of each refusal of a stream: commands for the target, with the copy's own names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from zborg.model.storage.refusal import Refusal
from zborg.model.text.remedy import parse
from zborg.planning.replicate.refusals import Copy, remedy_of

pytestmark = pytest.mark.unit

COPY = Copy("offsite", "vault/zborg", "vault/zborg/web1", "vault/zborg/web1-aside", "sink")


@pytest.mark.parametrize("refusal", Refusal)
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("user", ["", "root", "sink"])
def test_each_refusal_has_commands_that_name_the_copy_or_the_target(
    refusal: Refusal, raw: bool, user: str
) -> None:
    sentence, commands = parse(remedy_of(refusal, replace(COPY, raw=raw, user=user)))
    assert "offsite" in (sentence + " ".join(commands))
    assert commands or refusal is Refusal.TOO_OLD


def test_nothing_is_delegated_to_root() -> None:
    assert "zfs allow -u sink receive:append," in remedy_of(Refusal.FORBIDDEN, COPY)
    for user in ("", "root"):
        _, commands = parse(remedy_of(Refusal.FORBIDDEN, replace(COPY, user=user)))
        assert commands == ("id", "zfs allow vault/zborg")


def test_a_raw_stream_needs_more_features() -> None:
    assert "feature@encryption=enabled" not in remedy_of(Refusal.FEATURES, COPY)
    assert "feature@encryption=enabled" in remedy_of(Refusal.FEATURES, replace(COPY, raw=True))
