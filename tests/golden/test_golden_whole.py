"""Golden files as a whole: none is left over, and what they show of kinds, statuses and keys."""

from __future__ import annotations

from collections import defaultdict
from importlib import import_module
from pathlib import Path

from tests.harness.scenes.golden import FILES, Scenes, compare, objects

INVENTORY = FILES.parent / "inventory.txt"


def scenes() -> list[str]:
    modules = sorted(path.stem for path in Path(__file__).parent.glob("test_golden_*.py"))
    found = [getattr(import_module(f"tests.golden.{name}"), "scenes", Scenes()) for name in modules]
    return sorted(f"{name}.txt" for some in found if isinstance(some, Scenes) for name in some)


def test_every_golden_file_is_of_a_scene() -> None:
    assert sorted(path.name for path in FILES.iterdir()) == scenes()


def test_the_inventory_lists_all_that_the_golden_files_show() -> None:
    """By command and kind: its statuses, and the keys of its data."""
    statuses: defaultdict[str, set[str]] = defaultdict(set)
    keys: defaultdict[str, set[str]] = defaultdict(set)
    for path in sorted(FILES.iterdir()):
        for report in objects(path.read_text(encoding="utf-8")):
            for one in report.get("outcomes", ()):
                title = f"{report['command']}: {one['kind']}"
                statuses[title].add(one["status"])
                keys[title] |= one["data"].keys()
    lines = [f"{one}\n  {' '.join(sorted(statuses[one]))}\n" for one in sorted(statuses)]
    with_keys = [
        f"{text}  data: {', '.join(sorted(keys[one]))}\n" if keys[one] else text
        for one, text in zip(sorted(statuses), lines, strict=True)
    ]
    compare(INVENTORY, "".join(with_keys))
