"""Rounds in which every way runs once, so that a machine that gets slower slows all of them."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

Rounds = Sequence[Mapping[str, float]]  # seconds per way, one mapping per round


def table(rounds: Rounds, *references: str) -> list[str]:
    """A Markdown table: median seconds with their spread, and the medians of the ratios round by round."""
    titles = ["way", "median s", "min - max"]
    titles += [word for reference in references for word in (f"of {reference}", "min - max")]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for way in rounds[0]:
        ratios = [[one[way] / one[reference] for one in rounds] for reference in references]
        columns = [_row([one[way] for one in rounds]), *map(_row, ratios)]
        lines.append(f"| {way} | {' | '.join(columns)} |")
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
