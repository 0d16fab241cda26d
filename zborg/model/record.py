"""Frozen records whose class costs nothing to make: results of outcomes, and events.

`zborg status` and `zborg backup` need some forty of them, and a dataclass takes 1.2 ms of each start
(measured): its methods are compiled for each class. These share theirs, and are dataclasses to type checkers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self


class Record:
    """Subclasses annotate their fields; one without a default in its class has to be given.

    A field that was not given, or has its default, is not stored: `vars()` of a record are the facts that are
    known, in the order in which they were given. `_always` names fields that are stored all the same.
    """

    _always: ClassVar[frozenset[str]] = frozenset()
    _fields: ClassVar[tuple[str, ...]] = ()  # all, in order
    _defaults: ClassVar[Mapping[str, object]] = {}  # of those that are not stored when they have it
    _required: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        own: dict[str, str] = cls.__dict__.get("__annotations__", {})
        new = (
            name for name, kind in own.items() if not name.startswith("_") and not kind.startswith("ClassVar")
        )
        cls._fields = (*cls._fields, *(name for name in new if name not in cls._fields))
        defaults = {name: getattr(cls, name) for name in cls._fields if hasattr(cls, name)}
        cls._required = frozenset(cls._fields) - defaults.keys()
        cls._defaults = {name: value for name, value in defaults.items() if name not in cls._always}

    def __init__(self, *values: object, **facts: object) -> None:
        given = dict(zip(self._fields, values, strict=False)) | facts if values else facts
        if len(given) != len(values) + len(facts):
            raise TypeError(f"{type(self).__name__} was given a field twice, or too many")
        if not given.keys() <= set(self._fields):
            raise TypeError(
                f"{type(self).__name__} has no field {', '.join(given.keys() - set(self._fields))}"
            )
        if not self._required <= given.keys():
            raise TypeError(f"{type(self).__name__} needs {', '.join(self._required - given.keys())}")
        defaults = self._defaults
        known = {
            name: value for name, value in given.items() if name not in defaults or value != defaults[name]
        }
        self.__dict__.update(known)

    def replace(self, **facts: object) -> Self:
        """The same with other values; raises TypeError for a field that it does not have."""
        return type(self)(**(vars(self) | facts))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), frozenset(vars(self))))  # a value may be a mapping

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"
        )
