"""Records of whatever declares them: an attrs class, `types=`, or a `pyarrow.Schema`."""

import enum
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any

import attrs
from hypothesis import strategies as st

from agora.records import Record
from agora.sources.convert import type_of
from agora.testing.strategies.values import rows_of, scalars

__all__ = ["records"]

_MOST = 3
_Fields = Mapping[str, st.SearchStrategy[Any]]


def records(
    declaration: object, /, *, fields: _Fields | None = None, extreme: bool = False
) -> st.SearchStrategy[Record]:
    """Yields one record after another of what declares them.

    - an attrs class: instances of it, all fields drawn, of the classes that it holds too;
    - a dict as a source's `types=` takes it: dicts with these fields, their values converted already;
    - a `pyarrow.Schema`: dicts as `to_pylist()` gives them, nested too.

    `fields` gives strategies for the fields of these names, in place of what their type says; those of a validator's,
    or of a function in `types=`, need one. `extreme`: also values that only some parts can hold (NaN and infinities,
    integers beyond 64 bits, lone surrogates, times with a zone).

    Shrinks towards empty text, 0, false, 1970 or 2000, and `None` where a field may be. `TypeError` for what declares
    no records, or for a field of a type that isn't known.
    """
    own = dict(fields or {})
    if isinstance(declaration, type) and attrs.has(declaration):
        return _Classes(scalars(extreme=extreme)).of(declaration, own)
    if _is_schema(declaration):
        from agora.testing.strategies.arrow import rows_of_schema  # noqa: PLC0415 - Arrow for whoever has a schema

        return rows_of_schema(declaration, own, extreme=extreme)
    if isinstance(declaration, Mapping):
        return _of_types(declaration, own, extreme=extreme)
    raise TypeError(f"{declaration!r}: expected an attrs class, a dict of types or a pyarrow.Schema")


def _is_schema(declaration: object) -> bool:
    arrow = sys.modules.get("pyarrow")
    return arrow is not None and isinstance(declaration, arrow.Schema)


def _of_types(
    kinds: Mapping[str, object], own: _Fields, *, extreme: bool
) -> st.SearchStrategy[dict[str, Any]]:
    known = scalars(extreme=extreme)
    found: dict[str, st.SearchStrategy[Any]] = {}
    for name, kind in kinds.items():
        if name in own:
            continue
        named = type_of(kind)
        if named is None:
            raise _unknown(name, kind)
        value = known[named[0]]
        if named == (str, True):  # empty text is read as None
            value = value.filter(bool)
        found[name] = st.none() | value if named[1] else value
    return rows_of({name: own[name] if name in own else found[name] for name in {**kinds, **own}})


@attrs.define
class _Classes:
    """Strategies of attrs classes, each made once: one may hold others of its own class."""

    scalars: Mapping[type, st.SearchStrategy[Any]]
    _made: dict[type, st.SearchStrategy[Any]] = attrs.field(factory=dict)

    def of(self, kind: type[Any], own: _Fields) -> st.SearchStrategy[Any]:
        attrs.resolve_types(kind)
        given = {field.alias: field for field in attrs.fields(kind) if field.init}
        unknown = set(own) - {field.name for field in given.values()}
        if unknown:
            raise TypeError(f"fields={sorted(unknown)!r}: {kind.__qualname__} has none of this name")
        drawn = {
            alias: own[field.name] if field.name in own else self._of_type(field.type, field.name)
            for alias, field in given.items()
        }
        return st.builds(kind, **drawn)

    def _of_type(self, kind: Any, name: str) -> st.SearchStrategy[Any]:
        if isinstance(kind, type) and typing.get_origin(kind) is None:
            found = self._of_class(kind)
            if found is not None:
                return found
        origin, parts = typing.get_origin(kind), typing.get_args(kind)
        if origin in (typing.Union, types.UnionType):
            # None first: what a value shrinks towards, and the end of a class that holds its own kind.
            ordered = sorted(parts, key=lambda part: part is not type(None))
            return st.one_of([self._of_type(part, name) for part in ordered])
        if origin is typing.Literal:
            return st.sampled_from(parts)
        if origin is typing.Annotated:
            return self._of_type(parts[0], name)
        return self._container(origin or kind, parts, name)

    def _container(self, origin: Any, parts: tuple[Any, ...], name: str) -> st.SearchStrategy[Any]:
        if origin is tuple and parts and parts[-1] is not ...:
            return st.tuples(*[self._of_type(part, name) for part in parts])
        items = [self._of_type(part, name) for part in parts if part is not ...]
        if origin in _SEQUENCES and len(items) == 1:
            found = st.lists(items[0], max_size=_MOST)
            return found if origin is not tuple else found.map(tuple)
        if origin in _SETS and len(items) == 1:
            return st.lists(items[0], max_size=_MOST).map(_SETS[origin])
        if origin in _MAPPINGS and len(items) == 2:
            return st.dictionaries(items[0], items[1], max_size=_MOST)
        raise _unknown(name, origin)

    def _of_class(self, kind: type[Any]) -> st.SearchStrategy[Any] | None:
        if kind in self.scalars:
            return self.scalars[kind]
        if issubclass(kind, enum.Enum):
            return st.sampled_from(kind)
        if attrs.has(kind) and kind not in self._made:
            self._made[kind] = st.deferred(lambda: self.of(kind, {}))
        return self._made.get(kind)


def _unknown(name: str, kind: object) -> TypeError:
    return TypeError(
        f"field {name!r}: no values are known for {kind!r}; give fields={{{name!r}: a strategy}}"
    )


_SEQUENCES = {list, tuple, typing.get_origin(typing.Sequence[int]), typing.get_origin(typing.Iterable[int])}
_SETS: Mapping[Any, type] = {set: set, frozenset: frozenset}
_MAPPINGS = {dict, typing.get_origin(typing.Mapping[str, int])}
