"""Where damaged files are: which dataset, and so whose backup."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from zborg.model import Dataset
from zborg.model.text.units import counted

_METADATA = "<metadata>"


def damaged_in(files: Iterable[str], datasets: Sequence[Dataset], root: str) -> tuple[str, ...]:
    """In words, worst first: "web1 (2 files)", with the host's name for what lies below `root`.

    `files` are as `zpool status -v` names them: DATASET:PATH, DATASET@SNAPSHOT:PATH, an object's number
    in place of a path, or the path where the dataset is mounted.
    """
    found = Counter(_dataset_of(file, datasets) for file in files)
    return tuple(f"{_name(one, root)} ({counted(count, 'file')})" for one, count in found.most_common())


def _dataset_of(file: str, datasets: Sequence[Dataset]) -> str:
    if not file.startswith("/"):
        return file.partition(":")[0].partition("@")[0]
    places = [one for one in datasets if one.mounted and one.mountpoint and _below(file, one.mountpoint)]
    nearest = max(places, key=lambda one: len(one.mountpoint or ""), default=None)
    return nearest.name if nearest else file


def _below(file: str, mountpoint: str) -> bool:
    return file.startswith(f"{mountpoint.rstrip('/')}/")


def _name(dataset: str, root: str) -> str:
    if dataset == _METADATA:
        return "the pool's own metadata"
    return dataset.removeprefix(f"{root}/") if dataset.startswith(f"{root}/") else dataset
