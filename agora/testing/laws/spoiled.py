"""Records that can't be read: the neighbours of a failing record are looked at."""

from collections.abc import Iterator
from typing import Any

from agora.copying import keep
from agora.records import Record

__all__ = ["Spoiled", "SpoiledField", "spoil"]


class SpoiledField(ValueError):  # noqa: N818  - what a record does, as data errors do
    """Reading this field failed, as the law's case wants it."""


class Spoiled(dict[Any, Any]):
    """A dict of which some fields raise whenever they are read, in whatever way."""

    __slots__ = ("spoiled",)

    def __init__(self, fields: dict[Any, Any], spoiled: list[Any]) -> None:
        super().__init__(fields)
        self.spoiled = spoiled

    def __getitem__(self, key: Any) -> Any:
        if key in self.spoiled:
            raise SpoiledField(f"field {key!r} can't be read")
        return super().__getitem__(key)

    def get(self, key: Any, default: Any = None) -> Any:
        return self[key] if key in self else default  # noqa: SIM401  - that is what is defined here

    def pop(self, key: Any, *default: Any) -> Any:
        return super().pop(key, *default) if key not in self else (self[key], super().pop(key))[0]

    def setdefault(self, key: Any, default: Any = None) -> Any:
        return self[key] if key in self else super().setdefault(key, default)

    def __iter__(self) -> Iterator[Any]:  # overridden, so that `dict(record)` and `{**record}` read by key
        return super().__iter__()

    def values(self) -> Any:
        return [self[key] for key in self]

    def items(self) -> Any:
        return [(key, self[key]) for key in self]

    def copy(self) -> Any:
        return {key: self[key] for key in self}

    def __or__(self, other: Any) -> Any:
        return self.copy() | other

    def __ror__(self, other: Any) -> Any:
        return other | self.copy()

    def __deepcopy__(self, memo: Any) -> "Spoiled":
        return Spoiled({key: keep(value) for key, value in dict.items(self)}, self.spoiled)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Spoiled, (dict(dict.items(self)), self.spoiled)

    def __repr__(self) -> str:
        return f"Spoiled({dict.__repr__(self)}, {self.spoiled!r})"


class _Unreadable:
    """In place of a record that has no fields: nothing can be done with it."""

    def __repr__(self) -> str:
        return "Unreadable()"


def spoil(record: Record, which: int) -> Record:
    """The record with its field number `which` (counted from 1, around) made unreadable, with 0 all of them; something
    that no step can use in place of a record without fields."""
    if isinstance(record, dict) and record:
        names = list(record)
        return Spoiled(record, [names[which % len(names)]] if which else names)
    return _Unreadable()
