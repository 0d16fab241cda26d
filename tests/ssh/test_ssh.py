"""zborg.hosts: one connection for commands, OpenSSH for data, against a real sshd."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness.machines.keys import make_key
from tests.harness.machines.sshd import Sshd
from tests.harness.ssh.machine import TYPES, Machine, said
from zborg.errors import CommandFailed, HostKeyChanged, Interrupted, TimedOut, Unreachable, ZborgError
from zborg.hosts.ssh.connection import SshRunner
from zborg.hosts.ssh.reasons import explain
from zborg.hosts.tunnel import quote
from zborg.interrupt import cancelled
from zborg.model.keys import fingerprint
from zborg.streams import pump


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("machine"))
    yield machine
    machine.sshd.stop()


@pytest.fixture(scope="module")
def shared(machine: Machine) -> Iterator[SshRunner]:
    runner = machine.runner()
    yield runner
    runner.close()


@pytest.fixture(autouse=True)
def not_cancelled() -> Iterator[None]:
    cancelled.clear()
    yield
    cancelled.clear()


# --- commands over one connection ------------------------------------------------------------------


def test_many_commands_are_one_connection(machine: Machine) -> None:
    before, runner = machine.accepted(), machine.runner()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: runner.run(["echo", str(n)]).stdout, range(20)))
    runner.close()
    assert answers == [f"{n}\n" for n in range(20)]
    assert machine.accepted() == before + 1


def test_a_machine_that_says_too_much_is_not_listened_to(shared: SshRunner) -> None:
    for script in ("exec timeout 20 yes", "exec timeout 20 yes >&2"):
        with pytest.raises(CommandFailed, match="printed more than 1.0 MiB"):
            shared.run(["sh", "-c", script], max_bytes=1 << 20)
    assert shared.run(["echo", "still there"]).stdout == "still there\n"


def test_status_and_both_streams(shared: SshRunner) -> None:
    done = shared.run(["sh", "-c", "echo out; echo err >&2"])
    assert (done.status, done.stdout, done.stderr) == (0, "out\n", "err\n")


def test_a_failed_command_names_the_machine_and_its_words(shared: SshRunner) -> None:
    with pytest.raises(CommandFailed) as caught:
        shared.run(["sh", "-c", "echo no pool >&2; exit 3"])
    assert (caught.value.status, caught.value.stderr) == (3, "no pool\n")
    assert "on web1: " in caught.value.message
    assert caught.value.message.endswith("ended with 3: no pool")
    assert not isinstance(caught.value, Unreachable)


def test_a_command_killed_there_is_no_success(shared: SshRunner) -> None:
    with pytest.raises(CommandFailed) as caught:
        shared.run(["sh", "-c", "kill -9 $$"])
    assert caught.value.status != 0


def test_stdin_arrives_whole_and_ends(shared: SshRunner) -> None:
    text = "ä line\n" * 100_000
    assert shared.run(["cat"], stdin=text).stdout == text


def test_large_output_on_both_streams(shared: SshRunner) -> None:
    script = "head -c 1048576 /dev/zero | tr '\\0' o & head -c 1048576 /dev/zero | tr '\\0' e >&2; wait"
    done = shared.run(["sh", "-c", script])
    assert done.stdout == "o" * (1 << 20)
    assert done.stderr == "e" * (1 << 20)


def test_the_timeout_leaves_the_connection_usable(machine: Machine) -> None:
    runner, before = machine.runner(), machine.accepted()
    with pytest.raises(TimedOut, match=r"web1, sleep: no answer within 0\.2 s"):
        runner.run(["sleep", "3"], timeout=0.2)
    assert runner.run(["echo", "again"]).stdout == "again\n"
    assert machine.accepted() == before + 1
    runner.close()


def test_input_that_nobody_reads_times_out_too(shared: SshRunner) -> None:
    with pytest.raises(TimedOut, match="took no input"):
        shared.run(["sleep", "3"], stdin="x" * (8 << 20), timeout=0.3)


@pytest.mark.parametrize("size", [0, 10, 8 << 20])
def test_a_command_that_ends_without_its_input_has_its_own_status(shared: SshRunner, size: int) -> None:
    """Many times: with a small input it is a race which of the two comes first."""
    for _ in range(5):
        assert shared.run(["true"], stdin="x" * size).status == 0
        with pytest.raises(CommandFailed) as caught:
            shared.run(["sh", "-c", "echo why >&2; exit 3"], stdin="x" * size)
        assert (caught.value.status, caught.value.stderr) == (3, "why\n")


def test_waiting_for_a_silent_command_costs_no_processor(shared: SshRunner) -> None:
    """Its streams have ended, it has not: the channel is readable all the time."""
    shared.run(["true"])
    before = time.process_time()
    shared.run(["sh", "-c", "exec >/dev/null 2>&1 <&-; sleep 1"])
    assert time.process_time() - before < 0.3


def test_cancelled_interrupts(shared: SshRunner) -> None:
    timer = threading.Timer(0.2, cancelled.set)
    timer.start()
    with pytest.raises(Interrupted):
        shared.run(["sleep", "5"])
    timer.join()


@given(
    words=st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=12), max_size=4)
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arguments_arrive_as_they_are(shared: SshRunner, words: list[str]) -> None:
    got = shared.run(["printf", "%s\\n.\\n", *words]).stdout
    assert got == "".join(f"{word}\n.\n" for word in words or [""])


# --- connections that break ------------------------------------------------------------------------


def test_a_restarted_sshd_is_connected_to_again(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    try:
        runner = machine.runner()
        session = int(runner.run(["sh", "-c", "echo $PPID"]).stdout)
        first = runner.run(["echo", "one"]).stdout
        machine.sshd.stop()
        os.kill(session, signal.SIGKILL)  # sessions outlive the listener
        again = subprocess.Popen(machine.sshd._argv(), stderr=subprocess.DEVNULL)
        assert machine.sshd.port == runner.endpoint.port
        machine.sshd._process = again
        assert machine.sshd._answers()
        assert (first, runner.run(["echo", "two"]).stdout) == ("one\n", "two\n")
        assert machine.accepted() == 2
        runner.close()
    finally:
        machine.sshd.stop()


def test_a_connection_that_breaks_under_a_command_is_unreachable(machine: Machine) -> None:
    runner = machine.runner()
    with pytest.raises(CommandFailed) as caught:
        runner.run(["sh", "-c", "kill -9 $PPID; sleep 5"])
    assert isinstance(caught.value, Unreachable)
    assert caught.value.retryable
    assert "lost the connection to web1" in caught.value.message
    runner.close()


def test_nothing_listens(machine: Machine) -> None:
    endpoint = replace(machine.endpoint(), port=1)
    with pytest.raises(Unreachable, match=r"no connection to web1 .*:1\).*refused") as caught:
        machine.runner(endpoint).run(["true"])
    assert caught.value.retryable
    assert caught.value.remedy
    status, words = said(machine.runner(endpoint), "true")
    assert status == 255
    assert "no connection to web1" in explain("web1", endpoint, status, words).message


@pytest.mark.parametrize("address", ["no-such-host.invalid", "a..b", "." * 70])
def test_a_name_that_is_none(machine: Machine, address: str) -> None:
    with pytest.raises(Unreachable, match="no connection to web1"):
        machine.runner(replace(machine.endpoint(), address=address)).run(["true"])


@pytest.mark.parametrize("text", ["", "garbage", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"])
def test_an_identity_that_is_none(machine: Machine, tmp_path: Path, text: str) -> None:
    (tmp_path / "id").write_text(text)
    (tmp_path / "id").chmod(0o600)
    with pytest.raises(ZborgError):
        machine.runner(replace(machine.endpoint(), identity=str(tmp_path / "id"))).run(["true"])
    with pytest.raises(ZborgError):
        machine.runner(replace(machine.endpoint(), identity=str(tmp_path / "none"))).run(["true"])


def test_a_refused_key(machine: Machine, tmp_path: Path) -> None:
    stranger = replace(machine.endpoint(), identity=str(make_key(tmp_path / "id").private))
    with pytest.raises(Unreachable, match="refuses our key") as caught:
        machine.runner(stranger).run(["true"])
    assert caught.value.remedy == (
        f"is {tmp_path}/id.pub in the authorized_keys of {machine.sshd.user} there?"
    )
    status, words = said(machine.runner(stranger), "true")
    assert explain("web1", stranger, status, words).message.endswith("refuses our key")


# --- host keys -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TYPES)
def test_each_pinned_type_is_asked_for(machine: Machine, kind: str) -> None:
    runner = machine.runner(machine.endpoint(kind))
    assert runner.run(["echo", kind]).stdout == f"{kind}\n"
    assert said(runner, "sh", "-c", "echo data >&2") == (0, "data")
    runner.close()


def test_another_host_key_is_refused_before_anything_is_sent(machine: Machine, tmp_path: Path) -> None:
    pinned = " ".join(make_key(tmp_path / "other").public.split()[:2])
    wrong = replace(machine.endpoint(), host_key=pinned)
    before = machine.accepted()
    status, words = said(machine.runner(wrong), "true")
    found = [explain("web1", wrong, status, words)]
    with pytest.raises(HostKeyChanged) as caught:
        machine.runner(wrong).run(["true"])
    for error in (*found, caught.value):
        assert isinstance(error, HostKeyChanged)
        assert not error.retryable
        assert fingerprint(pinned) in error.message
        assert fingerprint(machine.sshd.host_key) in error.message
    assert machine.accepted() == before, "nothing was authenticated"


def test_a_machine_without_a_key_of_the_pinned_type_is_refused(machine: Machine, tmp_path: Path) -> None:
    with Sshd(tmp_path / "plain") as sshd:
        sshd.authorize(machine.identity.public)
        endpoint = replace(machine.endpoint("rsa"), port=sshd.port)
        with pytest.raises(HostKeyChanged, match="no key of type ssh-rsa"):
            machine.runner(endpoint).run(["true"])
        status, words = said(machine.runner(endpoint), "true")
        assert "no key of type ssh-rsa" in explain("web1", endpoint, status, words).message
        assert "Accepted" not in sshd.log()


def test_fingerprints_are_those_of_ssh_keygen(machine: Machine) -> None:
    for kind in TYPES:
        path = machine.directory / "key.pub"
        path.write_text(machine.keys[kind] + "\n")
        shown = subprocess.run(["ssh-keygen", "-lf", path], capture_output=True, text=True, check=True).stdout
        assert fingerprint(machine.keys[kind]) in shown.split()


# --- data ------------------------------------------------------------------------------------------


def test_data_passes_untouched_and_no_configuration_plays_a_part(machine: Machine, tmp_path: Path) -> None:
    data = os.urandom(1 << 20)
    (tmp_path / "in").write_bytes(data)
    with open(tmp_path / "in", "rb") as source, open(tmp_path / "out", "wb") as sink:
        child = machine.runner().start(["cat"], stdin=source.fileno(), stdout=sink.fileno())
        assert pump({"it": child}, lambda _, __: None, timeout=120) == {"it": 0}
    assert (tmp_path / "out").read_bytes() == data


def test_the_remote_status_is_sshs_status(machine: Machine) -> None:
    assert said(machine.runner(), "sh", "-c", "echo gone >&2; exit 9") == (9, "gone")
    assert explain("web1", machine.endpoint(), 9, "gone").message == (
        "a command on web1 ended with status 9: gone"
    )


# --- the agent's words -----------------------------------------------------------------------------


@given(word=st.binary(min_size=1, max_size=40).filter(lambda data: b"\0" not in data))
@settings(max_examples=40, deadline=None)
def test_what_quote_writes_the_agent_reads(word: bytes) -> None:
    """Any bytes a file name can have, valid UTF-8 or not; `printf %b` of the smallest sh is the judge."""
    quoted = quote(os.fsdecode(word))
    assert re.fullmatch(r"[A-Za-z0-9._/=@+\\-]+", quoted)
    done = subprocess.run(["sh", "-c", 'printf %b. "$1"', "sh", quoted], capture_output=True, check=True)
    assert done.stdout == word + b"."
