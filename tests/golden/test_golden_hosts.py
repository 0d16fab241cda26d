"""Golden files: hosts that come, are looked at and go, and what is brought back for them."""

from __future__ import annotations

import json
import re
import shutil
from base64 import b64encode
from datetime import UTC, datetime

import pytest

from tests.harness.audit.segments import MANIFEST, commit, key, put, segment
from tests.harness.checkout import GOLDEN_FILES
from tests.harness.scenes.golden import FILES, Scenes, compare
from tests.harness.scenes.plays import Play, ended, failing, logged, silent
from tests.harness.scenes.stage import KEY, Stage, staged
from tests.harness.scenes.standins import Local
from zborg.model.escrow.challenge import answer, parse

scenes = Scenes()

QB = GOLDEN_FILES / "qb_backup"
ARCHIVE = '= {"archives": [{"name": "web1-2026-02-12T023000Z"}]}'


def drop_in(stage: Stage, name: str) -> None:
    text = "# Written by zborg; what you change here stays.\n"
    text += f'[hosts.{name}]\nssh = "ssh://root@{name}.example.net:22"\nhost_key = "{KEY}"\n'
    stage.write(f"hosts.d/{name}.toml", text)


@scenes
def host_list(stage: Stage) -> None:
    """Hosts as they are known."""
    stage.zborg("host", "list")
    stage.hosts({"web1": Play(), "web2": failing("PassphraseWrong", "wrong")})
    stage.zborg("backup", shown=False)
    for words in ((), ("--verbose",), ("--json",)):
        stage.zborg("host", "list", *words)
    stage.config("web2")
    stage.zborg("host", "list")
    stage.zborg("run")
    stage.zborg("status")


@scenes
def host_test(stage: Stage) -> None:
    """What a host may answer."""
    answers: dict[str, dict[str, str | None]] = {
        "good": {},
        "alarm": {"alarm": "yes"},
        "renamed": {"name": "web9"},
        "nameless": {"name": None},
        "no-borg": {"borg": "missing"},
        "no-passphrase": {"passphrase": "no"},
        "no-key": {"key": "no"},
        "no-memory": {"memory": "no"},
        "links": {"links": "line 3 /srv", "conf": "/etc/zborg/agent.conf"},
        "absent": {"absent": "line 4 /gone"},
        "absent-before": {"absent": "line 4 /gone", "before": "yes"},
        "old-agent": {"agent": "0"},
        "uninitialised": {"initialised": "no"},
        "closed": {"opens": "no"},
        "mute": {"agent": None, "clock": None, "name": None, "borg": None},
    }
    plays = {name: Play(answer=answer) for name, answer in answers.items()}
    plays |= {
        "ahead": Play(clock=4000.0),
        "timeless": Play(answer={"clock": None}),
        "wall-less": Play(wall=None),
    }
    plays["away"] = Play(raises=silent("ssh: connect to host away port 22: No route to host"))
    stage.hosts(plays)
    stage.zborg("host", "test", "good")
    stage.zborg("host", "test")
    stage.zborg("host", "test", "--json")
    stage.zborg("host", "test", "nobody")


@scenes
def host_leaves(stage: Stage) -> None:
    """A host is removed, one is lost from zborg.toml, and one is forgotten."""
    stage.hosts({"web1": Play(), "web2": Play(), "web3": Play()}, escrow={})
    drop_in(stage, "web4")
    drop_in(stage, "web5")
    stage.host("web4")
    stage.tunnel.made("web4")
    text = (stage.directory / "zborg.toml").read_text()
    stage.write("zborg.toml", f'include = ["hosts.d/*.toml"]\n{text}')
    stage.night()
    stage.zborg("host", "remove", "web1")
    stage.zborg("host", "remove", "web9")
    stage.zborg("host", "remove", "web4", "--dry-run")
    stage.zborg("host", "remove", "web4")
    stage.config("web1")
    stage.zborg("run", "--json")
    stage.zborg("host", "forget", "web1")
    stage.zborg("host", "forget", "web9")
    stage.zborg("host", "forget", "web2", "--dry-run")
    stage.zborg("host", "forget", "web2")
    stage.zborg("host", "forget", "web3", "--json")
    stage.zborg("host", "list")
    stage.zborg("status")
    stage.shows_runs("host remove", "host forget")


@scenes
def host_joins(stage: Stage) -> None:
    """The plan before a host is enrolled, and what is refused."""
    url, key = "ssh://root@web1.example.net:22", ("--host-key", KEY)
    stage.config("web2")
    for words in (
        ("host", "add", "Web1", url, *key),
        ("host", "add", "web1", "web1.example.net", *key),
        ("host", "add", "web1", url, "--host-key", "none"),
        ("host", "add", "web1", url, "--yes"),
        ("host", "add", "web1", url, *key),
        ("host", "add", "web1", url, *key, "--quota", "much", "--no-escrow"),
        ("host", "bundle", "web1", "ssh://admin@web1.example.net:22", "--no-escrow"),
        ("host", "bundle", "web1", url),
        ("host", "bundle", "web1", url, "--no-escrow", "--path", "etc"),
        ("host", "bundle", "web1", url, "--no-escrow", "--dry-run"),
        ("host", "bundle", "web1", url, "--no-escrow", "--output", "bundle.sh"),
        ("host", "bundle", "web1", url, "--no-escrow", "--output", "/nonexistent/bundle.sh"),
        ("host", "accept", "something else", "--no-escrow"),
        ("host", "rotate-key", "web9"),
    ):
        stage.zborg(*words)


@scenes
def restore(stage: Stage) -> None:
    """What can be restored, and what is printed before it is."""
    stage.zborg("restore", "list", "web1")
    stage.hosts({"web1": Play(), "web2": Play()})
    stage.zborg("restore", "list", "web1")
    stage.night()
    stage.plays["web1"] = failing("PassphraseWrong", "wrong")
    stage.night()
    stage.zborg("snapshot", "--label", "gold", shown=False)
    for words in (
        ("list", "web1"),
        ("list", "web1", "--json"),
        ("list", "web1", "--from", "offsite"),
        ("list", "web1", "--from", "elsewhere"),
        ("list", "web1", "--identity", "id"),
        ("list", "web1", "--dataset", "tank/aside"),
        ("files", "web1", "/etc", "--dry-run"),
        ("files", "web1", "/etc", "/srv/with blank", "--at", "gold", "--dry-run"),
        ("files", "web1", "/etc", "--at", "2026-02-12", "--dry-run", "--json"),
        ("files", "web1", "/etc", "--at", "2020-01-01", "--dry-run"),
        ("files", "web1", "/etc", "--at", "nonsense", "--dry-run"),
        ("files", "web1", "etc"),
        ("files", "web1", "/../etc"),
        ("files", "web9", "/etc"),
        ("repo", "web1", "--to", "copy", "--dry-run"),
        ("repo", "web1", "--to", "copy", "--from", "offsite", "--dry-run"),
        ("repo", "web1", "--to", "zborg.toml"),
        ("repo", "web1"),
        ("serve", "web1", "--dry-run"),
        ("serve", "web9"),
    ):
        stage.zborg("restore", *words)


@scenes
def restore_files(stage: Stage) -> None:
    """Each end of bringing files back."""
    stage.hosts({"web1": Play()})
    stage.night()
    listed = Play((ARCHIVE, ended(0)))
    left = '= {"left": "/var/lib/zborg/restore/@RUN@", "files": 3, "bytes": 4096}'
    told = '= {"restored": "/var/lib/zborg/restore/x", "files": 12, "bytes": 9000}'
    owner = logged("WARNING", "/etc/shadow: chown failed", "BackupWarning")
    plays = {
        "restored": {"list": listed, "restore": Play((told, ended(0)))},
        "in part": {"list": listed, "restore": Play((owner, told, ended(1)), 1)},
        "mute": {"list": listed, "restore": Play((ended(0),))},
        "no archive": {"list": Play(('= {"archives": []}', ended(0)))},
        "no list": {"list": failing("PassphraseWrong", "wrong")},
        "not allowed": {
            "list": listed,
            "restore": Play(("zborg-agent: root did not allow this restore",), 2),
        },
        "stopped": {
            "list": listed,
            "restore": Play(("zborg-agent: restore stopped: more than 10 bytes", left), 2),
        },
    }
    for name, others in plays.items():
        stage.says(name)
        stage.plays["web1"] = Play(others=others)
        stage.zborg("restore", "files", "web1", "/etc")
    with stage.locked("restore-web1"):
        stage.zborg("restore", "files", "web1", "/etc")
    stage.zborg("restore", "repo", "web1", "--to", "copy")
    stage.zborg("restore", "repo", "web1", "--to", "copy", "--json")
    stage.shows_runs("restore files", "restore repo")


@scenes
def doctor(stage: Stage) -> None:
    """What does not depend on the machine: the areas whose facts can be acted."""
    stage.hosts({"web1": Play(), "web2": Play(answer={"opens": "no"})})
    stage.pools()
    for area in ("config", "keys", "hosts", "storage", "pool", "repositories", "nothing"):
        stage.zborg("doctor", "--only", area)
    stage.zborg("doctor", "--only", "hosts", "--json")
    stage.zborg("doctor", "web9")
    stage.pools(health="DEGRADED", free=1 << 30)
    stage.zborg("doctor", "--only", "pool", "--json")
    stage.zfs.unmount("tank/borg/web1")
    stage.config("web1", "web2", "web3")
    stage.zborg("doctor", "--only", "storage", "--json")
    shutil.rmtree(stage.directory / "state")
    stage.zborg("doctor", "--only", "state")
    (stage.directory / "id").chmod(0o644)
    stage.zborg("doctor", "--only", "keys")


@scenes
def import_qb_backup(stage: Stage) -> None:
    """Another system's hosts are taken over."""
    shutil.copytree(QB, stage.directory / "qb")
    (stage.directory / "hosts.d").mkdir()
    text = (stage.directory / "zborg.toml").read_text()
    stage.write("zborg.toml", f'include = ["hosts.d/*.toml"]\n{text}')
    stage.zborg("import", "qb-backup", "qb/backup.yml", "--dry-run")
    stage.zborg("import", "qb-backup", "none.yml")
    stage.zborg("import", "qb-backup", "qb/backup.yml", "--known-hosts", "none")
    stage.zborg("import", "qb-backup", "qb/backup.yml", "--json")
    stage.zborg("import", "qb-backup", "qb/backup.yml", "--to", "elsewhere")


def armoured(*recipients: str) -> str:
    """As age writes it, for so many; nobody can open it."""
    stanzas = "".join(f"-> X25519 {one}\n{one}\n" for one in recipients)
    text = b64encode(f"age-encryption.org/v1\n{stanzas}--- mac\nsealed".encode()).decode()
    lines = (text[i : i + 64] for i in range(0, len(text), 64))
    return "\n".join(["-----BEGIN AGE ENCRYPTED FILE-----", *lines, "-----END AGE ENCRYPTED FILE-----", ""])


@scenes
def escrow(stage: Stage) -> None:
    """Sealed, challenged, proved, accepted, sealed anew, and late. age and borg only say what they would."""
    stage.hosts({"web1": Play(seals=armoured("a")), "web2": Play(), "web3": Play(seals="nonsense")})
    stage.zborg("escrow", "status")
    stage.zborg("escrow", "reseal", "--dry-run")
    stage.zborg("escrow", "reseal")
    stage.zborg("escrow", "challenge", "--to", "today.challenge")
    stage.zborg("init", shown=False)
    stage.zborg("escrow", "challenge", "web1", "--to", "today.challenge")
    data = stage.home("web1") / "data/0"
    (data / "4").write_bytes(segment([put(key(1), b"an archive"), put(MANIFEST, b"m" * 60)]))
    (data / "5").write_bytes(segment([commit()]))
    with (data.parent.parent / "transactions").open("a") as log:
        log.write("transaction 5, UTC time 2026-02-12T02:30:00.000000\n")
    stage.night()
    stage.zborg("escrow", "challenge", "--to", "today.challenge", "--dry-run")
    stage.zborg("escrow", "challenge", "--to", "nowhere/today.challenge")
    stage.zborg("escrow", "challenge", "--to", "today.challenge", "--json")
    id_ = "5a" * 32
    owner = f"# Key and passphrase of web1's backup, repository {id_}."
    body = b64encode(b"\x86" + bytes(400)).decode()
    exported = f"{owner}\n# Passphrase:\nsecret\n\n# Key file:\nBORG_KEY {id_}\n{body}\n"
    archive = {"name": "web1-2026-02-12T023000Z", "time": "2026-02-12T02:30:00.000000", "id": key(1).hex()}
    for program, says in (("age", exported), ("borg", json.dumps({"archives": [archive]}))):
        stage.monkeypatch.setitem(Local.answers, program, (0, says))
    secret = stage.write("key.txt", "AGE-SECRET-KEY-1\n")
    prove = ("escrow", "prove", "today.challenge", "--identity", str(secret))
    stage.zborg(*prove)
    stage.zborg(*prove, "--json")
    stage.monkeypatch.setitem(
        Local.answers, "age", (1, "age: error: no identity matched any of the recipients")
    )
    stage.zborg(*prove)
    (challenge,) = parse((stage.directory / "today.challenge").read_text()).cases
    word = answer(challenge.bound, 1, datetime(2026, 2, 12, 2, 30, tzinfo=UTC), key(1)).word
    stage.zborg("escrow", "accept", word[:-1])
    stage.zborg("escrow", "accept", word, "--dry-run")
    stage.zborg("escrow", "accept", word, "--json")
    stage.zborg("escrow", "accept", word)
    stage.zborg("ledger", "show", "web1")
    stage.zborg("escrow", "status", "web1", "--json")
    stage.zborg("escrow", "show", "web1")
    stage.plays["web1"].seals = armoured("a", "b")
    stage.zborg("escrow", "reseal", "web1", "--json")
    stage.zborg("escrow", "show", "web1", "--json")
    stage.config("web1", "web2", escrow={"prove_every": "180d"})
    stage.clock.tick(days=200)
    stage.zborg("escrow", "status")
    stage.zborg("status")
    stage.zborg("doctor", "--only", "hosts")
    stage.zborg("report", "--to", "report.html", "--days", "2")


@pytest.mark.parametrize("name", scenes)
def test_it_reads_like_its_golden_file(name: str) -> None:
    with staged() as stage:
        scenes[name](stage)
    # A challenge's number is chance, and what is made with it.
    text = re.sub(r"\b[0-9a-f]{32}\b(?=[@\"])", "@NONCE@", stage.text)
    text = re.sub(r"(Z@)[A-Za-z0-9_-]{42,43}", r"\1@MAC@", text)
    text = re.sub(r'"leaf": "[0-9a-f]{64}"', '"leaf": "@LEAF@"', text)
    compare(FILES / f"{name}.txt", text)
