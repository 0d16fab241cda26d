"""zborg host add, list, test, remove, forget, rotate-key, bundle, accept."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from zborg.cli.command.options import Common, shared
from zborg.cli.command.perform import finish, perform
from zborg.errors import UsageError

if TYPE_CHECKING:
    from zborg.model.enrolment import Entry, Request

host = typer.Typer(
    help="Enrol hosts, look at them, part with them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

Name = Annotated[str, typer.Argument(help="The host's name: a-z, 0-9 and -.", metavar="NAME")]
Url = Annotated[str, typer.Argument(help="Where its sshd is: ssh://user@address:port.", metavar="URL")]
HostKey = Annotated[
    str, typer.Option("--host-key", help='The key it must show: "ssh-ed25519 AAAA...".', metavar="KEY")
]
OperatorKey = Annotated[
    str, typer.Option("--operator-key", help="Your own key; else ssh-agent's and ~/.ssh's.", metavar="FILE")
]
Paths = Annotated[
    list[str] | None,
    typer.Option("--path", help="Back this up; else what there is of the usual places.", metavar="PATH"),
]
Excludes = Annotated[
    list[str] | None, typer.Option("--exclude", help="Leave this out, as borg writes it.", metavar="PATTERN")
]
Quota = Annotated[
    str, typer.Option("--quota", help="Of its dataset. Default: quota in [storage].", metavar="SIZE")
]
NoEscrow = Annotated[bool, typer.Option("--no-escrow", help="Seal the host's key for nobody.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Only with --host-key.")]


@host.command()
@shared("host add")
def add(
    common: Common,
    name: Name,
    url: Url,
    host_key: HostKey = "",
    operator_key: OperatorKey = "",
    path: Paths = None,
    exclude: Excludes = None,
    quota: Quota = "",
    no_escrow: NoEscrow = False,
    yes: Yes = False,
) -> None:
    """Enrol a host: agent, key, dataset, repository, escrow. Shows all of it first, and asks once."""
    from zborg.cli.hosts.enrolment_inputs import entrance, operator_of, request_of
    from zborg.config import find, load

    if yes and not host_key:
        raise UsageError("--yes needs --host-key", "copy it from /etc/ssh/ssh_host_ed25519_key.pub there")
    loaded = load(find(common.config or None))
    operator = operator_of(name, url, host_key)
    request = request_of(
        loaded, name, operator, paths=path or (), excludes=exclude, quota=quota, no_escrow=no_escrow
    )
    with entrance(request, operator, operator_key) as entry:
        _enroll(common, request, entry, ask=not yes)


def _enroll(common: Common, request: Request, entry: Entry | None, *, ask: bool) -> NoReturn:
    """Look and ask with a quiet screen, then do it; what was seen is looked at again before it is changed."""
    from zborg.cli.command.compose import compose
    from zborg.cli.hosts.enrolment_inputs import confirm, introduce
    from zborg.steps.context import begin, unrecorded
    from zborg.steps.hosts.enrol import enroll, look

    pinned = {request.host.name: request.host.endpoint}
    if ask and not common.dry_run:
        with compose(replace(common, json=True), pinned=pinned) as context:
            plan = look(context, request, entry)
        if plan.changes and not plan.problems:
            confirm(plan, request)
    if common.dry_run:
        introduce(request)
    with compose(common, pinned=pinned) as context:
        report = enroll(begin(context, common.command, dry_run=common.dry_run), request, entry)
        report = unrecorded(context, report)
    finish(report, common)


@host.command("list")
@shared("host list")
def list_(
    common: Common,
) -> None:
    """List the hosts: address, dataset, last good backup. Saved facts; nobody is asked."""
    from zborg.config import find, load
    from zborg.model import utc_now
    from zborg.state.directory import prepare_state
    from zborg.state.history import History
    from zborg.state.runs import Runs
    from zborg.steps.hosts.overview import list_hosts

    loaded = load(find(common.config or None))
    state = prepare_state(loaded.state_dir, make=False)
    runs = Runs(state / "runs", history=History(state / "history.db"))
    finish(list_hosts(loaded, runs, utc_now()), common)


@host.command()
@shared("host test")
def test(
    common: Common,
    names: Annotated[
        list[str] | None, typer.Argument(help="Hosts to reach; none means all.", metavar="HOST...")
    ] = None,
) -> None:
    """Reach hosts as a backup would; change nothing. Versions, clock, alarm, borg serve, escrow."""
    from zborg.steps.hosts.overview import reach_hosts

    perform(common, lambda run: reach_hosts(run, names or ()))


@host.command()
@shared("host remove")
def remove(
    common: Common,
    name: Name,
) -> None:
    """Forget a host. Its data stays, and what stays where is said."""
    from zborg.steps.hosts.remove import remove_host

    perform(common, lambda run: remove_host(run, name))


@host.command()
@shared("host forget")
def forget(
    common: Common,
    name: Annotated[str, typer.Argument(help="A host that zborg.toml names no more.", metavar="NAME")],
) -> None:
    """Stop missing a host that left zborg.toml. Its data stays and is rotated."""
    from zborg.steps.hosts.remove import forget_host

    perform(common, lambda run: forget_host(run, name))


@host.command()
@shared("host bundle")
def bundle(
    common: Common,
    name: Name,
    url: Url,
    output: Annotated[str, typer.Option("--output", "-o", help="Write it here.", metavar="FILE")] = "",
    path: Paths = None,
    exclude: Excludes = None,
    no_escrow: NoEscrow = False,
) -> None:
    """Print a script that makes a machine a host. For an owner who alone may enter; no secret is in it."""
    from zborg.cli.hosts.enrolment_inputs import bundle_of, bundle_report, write_bundle
    from zborg.config import find, load

    loaded = load(find(common.config or None))
    script = bundle_of(loaded, name, url, path or (), exclude, no_escrow=no_escrow)
    if not output and not common.json and not common.dry_run:
        print(script, end="")
        return
    if output and not common.dry_run:
        write_bundle(script, output)
    report = bundle_report(loaded, name, script, output, dry_run=common.dry_run)
    finish(report, common)


@host.command()
@shared("host accept")
def accept(
    common: Common,
    line: Annotated[str, typer.Argument(help="What the bundle has printed, in quotes.", metavar="LINE")],
    quota: Quota = "",
    no_escrow: NoEscrow = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Enrol a host whose owner has run a bundle. Dataset, repository, escrow."""
    from zborg.cli.hosts.enrolment_inputs import accepted
    from zborg.config import find, load

    request = accepted(load(find(common.config or None)), line, quota=quota, no_escrow=no_escrow)
    _enroll(common, request, None, ask=not yes)


@host.command("rotate-key")
@shared("host rotate-key")
def rotate_key(
    common: Common,
    name: Name,
    url: Annotated[
        str,
        typer.Option(
            "--via", help="Your own way in, ssh://user@address:port. Default: root's.", metavar="URL"
        ),
    ] = "",
    operator_key: OperatorKey = "",
) -> None:
    """Give a host a new key of the server's. The new one is tried before the old one goes."""
    from zborg.cli.hosts.enrolment_inputs import entrance, way_in
    from zborg.config import find, load
    from zborg.steps.hosts.rotate_key import rotate_key as step

    request, operator = way_in(load(find(common.config or None)), name, url)
    with entrance(request, operator, operator_key) as entry:
        perform(common, lambda run: step(run, name, entry))
