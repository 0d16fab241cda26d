"""What stands in for clock, threads, programs and chance on a stage (stage.py)."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, ClassVar

import pytest

from zborg.errors import CommandFailed
from zborg.model import MAX_OUTPUT, Completed
from zborg.process import LocalRunner

BEGIN = datetime(2026, 2, 12, 2, 30, 0, tzinfo=UTC)


class _Asked(type(datetime)):  # type: ignore[misc]  # datetime's metaclass is `type`
    """Whatever is a datetime is one of these, too."""

    def __instancecheck__(cls, one: object) -> bool:
        return isinstance(one, datetime)


class Clock:
    """Stands still. `also` is put in the place of `datetime` in zborg's modules."""

    def __init__(self) -> None:
        self.now = BEGIN
        clock = self

        class Stopped(datetime, metaclass=_Asked):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # a plain one
                return clock.now.astimezone(tz) if tz else clock.now.replace(tzinfo=None)

        self.also = Stopped

    def __call__(self) -> datetime:
        return self.now

    def tick(self, hours: float = 0, *, minutes: float = 0, days: float = 0) -> None:
        self.now += timedelta(days=days, hours=hours, minutes=minutes)


class InTurn(ThreadPoolExecutor):
    """One after the other: of what is done at once any may be first to end."""

    def __init__(self, max_workers: int | None = None, thread_name_prefix: str = "") -> None:
        super().__init__(1, thread_name_prefix)


class Local(LocalRunner):
    """Runs programs in Python in this process: to start an interpreter takes longer than a whole scene.

    `answers` are the status and output of programs that are not run: what they tell is of the machine.
    """

    answers: ClassVar[dict[str, tuple[int, str]]] = {"pgrep": (1, "")}

    def run(
        self, argv: Sequence[str], *, timeout: float = 60, stdin: str = "", max_bytes: int = MAX_OUTPUT
    ) -> Completed:
        if argv[0] in self.answers:
            status, text = self.answers[argv[0]]
            if status:
                raise CommandFailed(tuple(argv), status, text)
            return Completed(status, text, "")
        if tuple(argv[:4]) != ("python3", "-I", "-S", "-c") or "os.fork()" in argv[4]:
            return super().run(argv, timeout=timeout, stdin=stdin, max_bytes=max_bytes)
        given, out, status = _stream(stdin), _stream(), 0
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (("stdin", given), ("stdout", out), ("argv", ["-c", *argv[5:]])):
                patch.setattr(sys, name, value)
            try:
                exec(compile(argv[4], "<program>", "exec"), {"__name__": "__main__"})
            except SystemExit as ended:
                status = ended.code if isinstance(ended.code, int) else 1
                if status:
                    raise CommandFailed(tuple(argv[:1]), status, str(ended.code)) from None
        out.seek(0)
        return Completed(status, out.read(), "")


def _stream(text: str = "") -> io.TextIOWrapper:
    """As those of a process: with the bytes below."""
    return io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8", newline="", write_through=True)


class Far(Local):
    """In the place of one through SSH: what it is asked to run is run here."""

    once = False

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()

    def close(self) -> None:
        """There is no connection."""


class Numbers:
    """In the place of os.urandom: ids of runs are counted from 1 in each command."""

    def __init__(self, real: Any) -> None:
        self._real, self._count = real, 0

    def __call__(self, size: int) -> bytes:
        if size != 2:
            return bytes(self._real(size))
        self._count += 1
        return self._count.to_bytes(2, "big")
