"""Why a target did not take a stream: read from what ZFS printed, with a remedy for each reason."""

from __future__ import annotations

import pytest

from tests.harness.fake_zfs.child import FakeChild
from tests.harness.steps import replicate
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, nights, world
from zborg.model import Status
from zborg.model.storage.refusal import Refusal
from zborg.model.text.remedy import is_command, parse
from zborg.planning.replicate.refusals import Copy, remedy_of
from zborg.zfs.output.refusals import refusal

NEW, INCREMENT = "cannot receive new filesystem stream: ", "cannot receive incremental stream: "
# As OpenZFS 2.3.9 prints them.
PRINTED = {
    NEW + "pool must be upgraded to receive this stream.": Refusal.FEATURES,
    NEW + "inherited key must be loaded": Refusal.ENCRYPTED_PARENT,
    NEW + "incompatible embedded data stream feature with encrypted receive.": Refusal.ENCRYPTED_PARENT,
    NEW + "destination dst/q/d space quota exceeded.": Refusal.QUOTA,
    NEW + "out of space": Refusal.SPACE,
    NEW + "permission denied": Refusal.FORBIDDEN,
    INCREMENT + "pool is read-only": Refusal.READ_ONLY,
    INCREMENT + "destination dst/nl has been modified\nsince most recent snapshot": Refusal.MODIFIED,
    NEW + "destination 'dst/nl' exists\nmust specify -F to overwrite it": Refusal.EXISTS,
    "cannot open 'dst/none': dataset does not exist\n"
    + NEW
    + "unable to restore to destination": Refusal.NO_PARENT,
    INCREMENT
    + "incremental send stream requires -L (--large-block), to match previous receive.": Refusal.OTHER_BLOCKS,
    INCREMENT + "checksum mismatch or incomplete stream.": Refusal.CUT,
}


@pytest.mark.unit
@pytest.mark.parametrize("printed", PRINTED)
def test_the_reason_is_found_in_what_zfs_printed(printed: str) -> None:
    assert refusal(printed) is PRINTED[printed]
    assert refusal("cannot receive: something new") is None


@pytest.mark.unit
@pytest.mark.parametrize("found", Refusal)
@pytest.mark.parametrize("raw", [False, True])
def test_each_reason_has_commands_for_a_named_machine(found: Refusal, *, raw: bool) -> None:
    copy = Copy("offsite", "vault/two words", "vault/two words/web1", "vault/two words/web1-aside", raw=raw)
    sentence, commands = parse(remedy_of(found, copy))
    assert commands and all(map(is_command, commands))
    assert "offsite" in sentence + "".join(commands)
    assert all("two words" not in line.replace("'vault/two words", "") for line in commands), "quoted"


@pytest.mark.unit
def test_large_blocks_are_said_to_be_where_they_are() -> None:
    """dmu_recv.c of OpenZFS refuses a stream without them on a copy that has them, never the reverse."""
    assert str(Refusal.OTHER_BLOCKS).startswith("the copy there has large blocks")


@pytest.mark.unit
def test_reasons_do_not_share_one_remedy() -> None:
    copy = Copy("offsite", "vault/zborg", "vault/zborg/web1", "vault/zborg/web1-aside")
    own = [one for one in Refusal if not remedy_of(one, copy).startswith("what arrived is kept")]
    remedies = {remedy_of(one, copy) for one in own}
    assert len(remedies) == len(own) - 1 == 10, "only -L and raw have the same"


@pytest.mark.parametrize("printed", [text for text, kind in PRINTED.items() if kind is not Refusal.MODIFIED])
def test_a_replication_reports_reason_and_machine(vault: LocalVault, clock: Hours, printed: str) -> None:
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    context = world(vault, clock)

    def fail(child: FakeChild) -> int:
        child.say(printed)
        return 1

    def receive(dataset: str, stdin: int) -> FakeChild:
        return FakeChild(("zfs", "receive"), fail)

    vault.far.receive = receive  # type: ignore[method-assign]  # for this test
    (outcome,) = replicate(context).outcomes
    reason = PRINTED[printed]
    assert outcome.status is Status.FAILED
    assert outcome.message.startswith(f"offsite did not take the stream: {reason}: ")
    assert outcome.remedy == remedy_of(
        reason, Copy("offsite", "vault/zborg", "vault/zborg/web1", "vault/zborg/web1-aside", "root")
    )
