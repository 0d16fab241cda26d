"""A real browser without a window: Debian's chromium, driven through its own chromium-driver."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")  # scripts/setup installs both


@contextmanager
def browser(profile: Path) -> Iterator[Chrome]:
    """One that is not there is a failure. It resolves no name, so nothing of its own leaves the machine."""
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    words = ["headless=new", f"user-data-dir={profile}", "disable-dev-shm-usage", "no-first-run"]
    words += ["disable-background-networking", "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    words += ["no-sandbox"] if os.geteuid() == 0 else []  # it refuses to sandbox root
    for word in words:
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield chrome
    finally:
        chrome.quit()


def console(chrome: Chrome) -> list[str]:
    """What the page's console was told since the last time."""
    return [str(one["message"]) for one in _log(chrome, "browser")]


def _log(chrome: Chrome, kind: str) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = chrome.get_log(kind)  # type: ignore[no-untyped-call]  # selenium's
    return told


def requests(chrome: Chrome) -> list[str]:
    """The URLs that were asked for since the last time."""
    events = [json.loads(one["message"])["message"] for one in _log(chrome, "performance")]
    sent = [one["params"] for one in events if one["method"] == "Network.requestWillBeSent"]
    return [one["request"]["url"] for one in sent]


def looks(chrome: Chrome, width: int, *, dark: bool = False) -> None:
    """As on a screen of this width, and in this light."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def ask(chrome: Chrome, script: str, *words: object) -> Any:
    """What a script in the page returns. The driver's own scripts are above the page's policy."""
    return chrome.execute_script(script, *words)
