"""Where `zborg report` goes: its file, who may read it, and mail."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pytest_httpserver import HTTPServer

from tests.harness.builders.reports import report
from tests.harness.builders.rows import told
from tests.harness.mail import mail_server
from tests.harness.worlds.report_page import zborg
from zborg.config import load
from zborg.planning.observe.figures import figures
from zborg.reporting.report_html import html
from zborg.state.history import History
from zborg.steps.observe.html_report import gathered

# --- the file -----------------------------------------------------------------------------------------


def test_without_a_file_it_goes_to_the_state_directory_for_its_owner_alone(year: Path) -> None:
    made = zborg(year, "--json")
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)["outcomes"]
    place = year.parent / "state" / "report.html"
    assert [one["subject"] for one in told if one["kind"] == "file"] == [str(place)]
    assert place.stat().st_mode & 0o777 == 0o600
    host = next(one for one in told if one["subject"] == "host01")
    assert host["data"].keys() >= {
        "good",
        "of",
        "original_bytes",
        "growth",
        "last_good",
        "snapshot",
        "copies",
    }
    place.chmod(0o644)
    assert zborg(year).returncode == 0
    assert place.stat().st_mode & 0o777 == 0o644
    assert {one.name for one in place.parent.iterdir() if "report" in one.name} == {"report.html"}


def test_a_link_is_followed_and_what_is_no_file_is_refused(year: Path, tmp_path: Path) -> None:
    link, real = tmp_path / "link.html", tmp_path / "real.html"
    link.symlink_to(real)
    assert zborg(year, "--to", str(link)).returncode == 0
    assert link.is_symlink()
    assert real.read_text().startswith("<!DOCTYPE html>")
    for odd in ("/dev/null", str(tmp_path)):
        refused = zborg(year, "--to", odd)
        assert refused.returncode == 2
        assert "is no file" in refused.stderr
    gone = zborg(year, "--to", str(tmp_path / "no" / "page.html"))
    assert gone.returncode == 4
    assert "cannot be written: No such file" in gone.stderr


def test_a_dry_run_writes_and_sends_nothing(year: Path, tmp_path: Path) -> None:
    place = tmp_path / "page.html"
    shown = zborg(year, "--to", str(place), "--mail", "--dry-run")
    assert shown.returncode == 0
    assert f"write {place}" in shown.stdout
    assert not place.exists()


def test_a_server_without_any_night_has_a_page_too(year: Path, tmp_path: Path) -> None:
    config = load(year)
    now = datetime.now(UTC)
    found = gathered(History(tmp_path / "none.db"), replace(config, state_dir=tmp_path), 30, now)
    page = html(found, report(command="status"))
    assert "No backup is recorded in these days" in page
    nobody = html(figures(told(3)), report(command="status"))
    assert "There are none." in nobody
    assert "zborg.toml names no target" in nobody


# --- mail ---------------------------------------------------------------------------------------------


def test_it_is_mailed_as_an_attachment_and_not_written(year: Path, tmp_path: Path) -> None:
    with mail_server(tmp_path, "ssl") as mail:
        config = notified(year, f'urls = ["{mail.url()}"]')
        made = zborg(config, "--mail", SSL_CERT_FILE=str(mail.ca))
        assert made.returncode == 0, made.stdout + made.stderr
        (got,) = mail.received
    (attached,) = got.iter_attachments()
    assert attached.get_content_type() == "text/html"
    assert (attached.get_filename() or "").startswith("zborg-report-2")
    assert attached.get_content().startswith("<!DOCTYPE html>")
    assert "report warning" in got["subject"], "what it says of the hosts, not that it was made"
    assert "host03" in mail.text("plain")
    assert "report.html" not in made.stdout


def test_a_service_that_takes_no_files_gets_the_text(year: Path, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/hooks/token").respond_with_data("ok")
    config = notified(year, f'urls = ["mmost://localhost:{httpserver.port}/token-of-24-characters-ab"]')
    httpserver.expect_request("/hooks/token-of-24-characters-ab", method="POST").respond_with_data("ok")
    made = zborg(config, "--mail")
    assert made.returncode == 0, made.stdout + made.stderr
    assert "host03" in httpserver.log[0][0].get_data(as_text=True)


def test_mail_to_nobody_is_a_failure(year: Path) -> None:
    made = zborg(year, "--mail")
    assert made.returncode == 4
    assert "names no notifier" in " ".join(made.stdout.split())


def notified(year: Path, words: str) -> Path:
    config = year.with_name("notified.toml")
    config.write_text(f"{year.read_text()}\n[notify]\n{words}\n")
    config.chmod(0o600)
    return config
