"""`zborg report` as a command, for a history with a hostile host."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.harness.worlds.world import ZBORG

EVIL = '<img src=http://127.0.0.1:9/x onerror="window.hit=1"></td></svg><script>window.hit=1</script>&amp;\''
DAYS = 40


def zborg(config: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    argv = [str(ZBORG), "report", *words, "--config", str(config)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, env={**os.environ, **env})
