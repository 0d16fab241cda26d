"""host remove, host forget: parting with a host. Data is never deleted here; what stays where is reported."""

from __future__ import annotations

from zborg.config import drop_in
from zborg.errors import UsageError
from zborg.model import Host, Outcome, Report, Status
from zborg.model.results import RemovedHost
from zborg.model.text.remedy import command
from zborg.steps.context import Context, StepRun, select_hosts
from zborg.steps.escrow.facts import escrow_of
from zborg.steps.hosts.rotate_key import forget_key, own_keys
from zborg.steps.inventory import known_hosts_of

# By name: a server that backs itself up has more in these directories.
_ON_THE_HOST = (
    "grep -v /usr/local/libexec/zborg-agent /root/.ssh/authorized_keys >/root/.ssh/new",
    "cat /root/.ssh/new >/root/.ssh/authorized_keys && rm /root/.ssh/new",
    "rm -f /usr/local/libexec/zborg-agent /etc/zborg/agent.conf /etc/zborg/custodians "
    "/etc/ssh/sshd_config.d/zborg.conf",
    "rm -rf /var/lib/zborg/restore    # files that were restored there, in plain text",
    # Passphrase and key open backups together.
    "rm -r /etc/zborg/passphrase /var/lib/zborg/borg    # key of its backups: only once nobody needs them",
)
_ON_THAT_HOST = (
    ("/etc/zborg/passphrase, /var/lib/zborg/borg", "passphrase and key of its backups"),
    ("/etc/zborg/custodians", "for whom its key was sealed"),
    ("/var/lib/zborg/restore", "what was restored there, in plain text"),
)


def remove_host(run: StepRun, name: str) -> Report:
    """Forget a host: its drop-in goes, its data and its key in escrow stay, and what stays is named."""
    context = run.context
    (host,) = select_hosts(context.config, [name])
    path = drop_in.path_of(context.config, name)
    if not drop_in.is_ours(path, name):
        where = path if name in drop_in.read(path).get("hosts", {}) else context.config.path
        words = f"its table was not written by zborg alone: look into {where} and what it includes"
        fix = f"remove [hosts.{name}] there by hand, then:\n{command('zborg', 'host', 'forget', name)}"
        return run.report([Outcome("host", name, Status.FAILED, words, fix)])
    if run.dry_run:
        return run.planned([f"remove {path}", *_lines(context, host)])
    with context.locks.hold(f"host-{name}"):
        path.unlink()
        (context.config.state_dir / f"known_hosts.{name}").unlink(missing_ok=True)
        for key in own_keys(context.config, name):  # or a later rotation would go back to one of them
            forget_key(key)
    message = "forgotten here; as root on the host, to take the rest away"
    commands = () if host.reverse else tuple(_ON_THE_HOST)
    if host.reverse:
        message = (
            "forgotten here; the line of the server's key in authorized_keys there is yours to take away"
        )
    done = Outcome("host", name, Status.OK, message, result=RemovedHost(removed=str(path), commands=commands))
    report = run.recorded([done, *_staying(context, name), *_staying_there(host)])
    known_hosts_of(context.config).forget(name)  # after the report, by which it would be known again
    return report


def forget_host(run: StepRun, name: str) -> Report:
    """Miss a host no more that is gone from zborg.toml, and rotate its dataset like any other.

    Raises UsageError for one that zborg.toml names, and for a name of which nothing is known.
    """
    context, config = run.context, run.context.config
    if any(host.name == name for host in config.hosts):
        raise UsageError(
            f"{name} is in {config.path}: take its table away first", command("zborg", "host", "remove", name)
        )
    if known_hosts_of(config).get(name) is None and not _has_dataset(context, name):
        raise UsageError(f"nothing is known of {name}", command("zborg", "host", "list"))
    if run.dry_run:
        return run.planned([f"forget {name}", *_lines(context, None, name)])
    return _forgotten(run, name)


def _has_dataset(context: Context, name: str) -> bool:
    dataset = context.config.storage.dataset_of(name)
    return "/" not in name and any(one.name == dataset for one in context.storage.zfs.datasets(dataset))


def _forgotten(run: StepRun, name: str) -> Report:
    done = Outcome("host", name, Status.OK, "forgotten: nothing warns of it any more")
    report = run.recorded([done, *_staying(run.context, name)])
    known_hosts_of(run.context.config).forget(name)
    return report


def _lines(context: Context, host: Host | None, name: str = "") -> list[str]:
    staying = _staying(context, host.name if host else name)
    return [f"{one.subject} {one.message}" for one in [*staying, *(_staying_there(host) if host else ())]]


def _staying(context: Context, name: str) -> list[Outcome]:
    """What of the host stays here and off-site; the targets are not asked."""
    config = context.config
    rotated = "stays, with all that it holds"
    if not config.keep.empty:
        rotated = (
            "stays; its snapshots are rotated by [snapshots.keep], the newest and the last good one stay"
        )
    found = [Outcome("dataset", config.storage.dataset_of(name), Status.SKIPPED, rotated)]
    places = [("dataset", f"{target.name}:{target.dataset}/{name}") for target in config.targets]
    escrow = escrow_of(config).path(name)
    places += [("escrow", str(escrow))] if escrow.exists() else []
    return found + [Outcome(kind, place, Status.SKIPPED, "stays") for kind, place in places]


def _staying_there(host: Host) -> list[Outcome]:
    """What only the host's root can take away."""
    if host.reverse:
        return []
    return [
        Outcome("host", f"{host.name}:{place}", Status.SKIPPED, f"stays: {what}")
        for place, what in _ON_THAT_HOST
    ]
