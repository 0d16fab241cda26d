"""Rounds in which every way runs once, so that a machine that gets slower slows all of them."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

Rounds = Sequence[Mapping[str, float]]  # seconds per way, one mapping per round


def table(rounds: Rounds, reference: str) -> list[str]:
    """A Markdown table: median seconds with their spread, and the median of the ratios round by round."""
    lines = [f"| way | median s | min - max | of {reference} | min - max |", "|---|---|---|---|---|"]
    for way in rounds[0]:
        seconds = [one[way] for one in rounds]
        ratios = [one[way] / one[reference] for one in rounds]
        lines.append(f"| {way} | {_row(seconds)} | {_row(ratios)} |")
    return lines


def _row(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} | {min(values):.2f} - {max(values):.2f}"


def machine() -> str:
    """What it was measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown processor",
    )
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {model}, {system}"
