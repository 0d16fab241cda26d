"""The counts of a progress event in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zborg.model.text.units import counted, size, span


def describe(data: Mapping[str, Any]) -> str:
    words = [counted(data["files"], "file")] if "files" in data else []
    if "total" in data:
        words.append(f"{size(data.get('bytes', 0))} of {size(data['total'])}")
    elif "bytes" in data:
        words.append(size(data["bytes"]))
    if "rate" in data:
        words.append(f"{size(data['rate'])}/s")
    if "remaining" in data:
        words.append(f"{span(data['remaining'])} left")
    if "percent" in data:
        words.append(f"{data['percent']:.0f} %")
    return ", ".join(words)
