"""Where this checkout is, and the golden files in it."""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
GOLDEN_FILES = CHECKOUT / "tests" / "golden"
