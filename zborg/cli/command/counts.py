"""The counts of a progress event in words."""

from __future__ import annotations

from zborg.model.events import Progress
from zborg.model.text.units import counted, size, span


def describe(counts: Progress) -> str:
    """What is known of it, in a few words."""
    words = [counted(counts.files, "file")] if counts.files is not None else []
    if counts.total is not None:
        words.append(f"{size(counts.bytes or 0)} of {size(counts.total)}")
    elif counts.bytes is not None:
        words.append(size(counts.bytes))
    if counts.rate is not None:
        words.append(f"{size(counts.rate)}/s")
    if counts.remaining is not None:
        words.append(f"{span(counts.remaining)} left")
    if counts.percent is not None:
        words.append(f"{counts.percent:.0f} %")
    return ", ".join(words)
