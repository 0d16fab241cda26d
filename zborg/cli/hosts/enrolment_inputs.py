"""The operator's way onto a host, made of what a command line says. Adapters of enrolments are built here."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from zborg.config import Config, endpoint_of
from zborg.config.values import size_of
from zborg.errors import ConfigError, Exit, UsageError
from zborg.hosts.enrol import OperatorEntry, text
from zborg.hosts.operator import by_operator, shown_host_key
from zborg.hosts.ssh.connection import SshRunner
from zborg.model import Endpoint, Host, Outcome, Report, Status, utc_now
from zborg.model.enrolment import Entry, Request
from zborg.model.keys import fingerprint, is_host_key
from zborg.model.machines import name_problem
from zborg.model.results import Bundle
from zborg.model.text import os_errors
from zborg.model.text.units import printable
from zborg.planning.hosts.accept_line import parse
from zborg.planning.hosts.enrol import EXCLUDES, path_problems
from zborg.process import LocalRunner
from zborg.state.runs import new_run
from zborg.steps.context import select_hosts
from zborg.steps.hosts.enrol import public_key

if TYPE_CHECKING:
    from zborg.planning.hosts.enrol import Plan

_MAX_AGE = 26 * 3600
_TIMEOUT = 600  # seconds for init and the first small archive


def _check_name(name: str) -> None:
    if problem := name_problem(name):
        raise UsageError(f"{name} is no name for a host", problem.removeprefix("names are "))


def operator_of(name: str, url: str, host_key: str) -> Endpoint:
    """Where the operator goes in, with the key that is to be pinned: the given one, or what is shown now."""
    _check_name(name)
    if host_key and not is_host_key(host_key):
        raise UsageError("--host-key is no public host key", 'as in "ssh-ed25519 AAAA..."')
    endpoint = endpoint_of(url, host_key, "")
    return endpoint if host_key else replace(endpoint, host_key=shown_host_key(name, endpoint))


def request_of(
    config: Config,
    name: str,
    operator: Endpoint,
    *,
    paths: Sequence[str] = (),
    excludes: Sequence[str] | None = None,
    quota: str = "",
    no_escrow: bool = False,
) -> Request:
    """The host as it is to be: root there runs the agent, no matter who the operator is."""
    if not config.custodians and not no_escrow:
        raise ConfigError(
            f"{config.path} names no custodian: when this host burns down its key burns with it",
            "make a key pair with age-keygen, keep it away from here, and write "
            'custodians = ["age1..."] below [escrow]; or --no-escrow',
        )
    known = next((one for one in config.hosts if one.name == name), None)
    identity = known.endpoint.identity if known else config.identity
    fresh = Host(name, replace(operator, user="root", identity=identity), _MAX_AGE, _TIMEOUT)
    if known and known.endpoint == fresh.endpoint:
        fresh = known
    return Request(
        host=fresh,
        server=config.name,
        server_key=public_key(identity),
        paths=tuple(paths),
        excludes=tuple(EXCLUDES if excludes is None else excludes),
        quota=_size(quota) if quota else config.storage.quota,
        custodians=() if no_escrow else config.custodians,
    )


def _size(text: str) -> int:
    try:
        return size_of(text)
    except ValueError as error:
        raise UsageError(f"--quota {error}") from error


@contextmanager
def entrance(request: Request, operator: Endpoint, operator_key: str) -> Iterator[Entry]:
    """An Entry through the operator's SSH agent or key; the connection is closed at the end."""
    runner = SshRunner(
        request.host.name, operator, Path("/nonexistent"), LocalRunner(), by_operator(operator_key)
    )
    try:
        yield OperatorEntry(runner, text(request), sudo=operator.user != "root")
    finally:
        runner.close()


def introduce(request: Request) -> None:
    """Say whom this is about: the fingerprint is there to be compared, by a dry run as well."""
    endpoint = request.host.endpoint
    print(f"{request.host.name} is {endpoint}, host key {fingerprint(endpoint.host_key)}", file=sys.stderr)


def confirm(plan: Plan, request: Request) -> None:
    """Show what would change on which machine, and ask. Raises UsageError where nobody can answer."""
    introduce(request)
    for line in plan.lines():
        print(f"  {printable(line)}", file=sys.stderr)
    if not sys.stdin.isatty():
        raise UsageError("nobody is here to answer", "--yes, together with --host-key")
    with _ended_by_signals():
        agreed = typer.confirm("Do all this?", err=True)
    if not agreed:
        print("nothing was done", file=sys.stderr)
        raise typer.Abort


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Elsewhere the first Ctrl-C ends the work in order; while a question waits there is none to end."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in handlers:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def write_bundle(script: str, output: str) -> None:
    """Raises UsageError."""
    try:
        Path(output).write_text(script, encoding="utf-8")
    except OSError as error:
        raise UsageError(*os_errors.describe(error, output, "cannot be written")) from error


def bundle_of(
    config: Config,
    name: str,
    url: str,
    paths: Sequence[str],
    excludes: Sequence[str] | None,
    *,
    no_escrow: bool,
) -> str:
    """The script for a host's owner. Its host key is not known here: `host accept` brings it."""
    _check_name(name)
    endpoint = endpoint_of(url, "", "")
    if endpoint.user != "root":
        raise UsageError(f"{url}: the agent is root's", f"ssh://root@{endpoint.address}:{endpoint.port}")
    request = request_of(config, name, endpoint, paths=paths, excludes=excludes, no_escrow=no_escrow)
    for problem in path_problems(request):
        raise UsageError(problem.message, problem.remedy)
    return text(request, url=str(endpoint))


def bundle_report(config: Config, name: str, script: str, output: str, *, dry_run: bool) -> Report:
    """What became of a bundle; without a file it is in the report itself."""
    now = utc_now()
    words = "its owner reads it, runs it as root, and sends back a line for zborg host accept"
    result = Bundle(output=output) if output else Bundle(script=script)
    outcomes = () if dry_run else (Outcome("host", name, Status.OK, words, result=result),)
    plan = (f"write the script for {name} to {output or 'the screen'}",) if dry_run else ()
    return Report("host bundle", new_run(now), config.name, now, now, Status.OK, Exit.OK, outcomes, plan)


def accepted(config: Config, line: str, *, quota: str, no_escrow: bool) -> Request:
    """The host that a bundle's line names. Raises UsageError for what is no such line."""
    found = parse(line, fingerprint(public_key(config.identity)))
    operator = operator_of(found.name, found.url, found.host_key)
    return request_of(config, found.name, operator, quota=quota, no_escrow=no_escrow)


def way_in(config: Config, name: str, url: str) -> tuple[Request, Endpoint]:
    """An enrolled host, and where its operator goes in: with its pinned key in any case."""
    (host,) = select_hosts(config, [name])
    pinned = host.endpoint
    operator = endpoint_of(url, pinned.host_key, "") if url else pinned
    return Request(host, config.name, public_key(pinned.identity)), operator
