"""Conversion of what a file holds into Python values, by `types=` (a column each) or `schema=` (an attrs
class).

One table of conversions serves text and JSON values, both options and every source, and refuses what would
lose something without a word: `bool("false")` is true to Python, and `int(1.5)` is 1.
"""

import datetime
import pkgutil
import types as python_types
import typing
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeAlias
from uuid import UUID

import attrs

from agora.errors import AgoraError, ConfigError
from agora.records import Malformed, Record

__all__ = ["Conversion", "conversions", "convert", "converted", "load_schema", "structurer", "type_of"]

Conversion: TypeAlias = Callable[[Any], Any]

_TRUE = frozenset({"true", "t", "yes", "y", "1", "on"})
_FALSE = frozenset({"false", "f", "no", "n", "0", "off"})


def _bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    text = value.strip().lower() if isinstance(value, str) else str(value)
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"{value!r} is neither true nor false")


def _int(value: object) -> int:
    if isinstance(value, str | int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise ValueError(f"{value!r} is no integer")


def _float(value: object) -> float:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return float(value)
    raise ValueError(f"{value!r} is no number")


def _str(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(f"{value!r} is no text")


def _decimal(value: object) -> Decimal:
    if isinstance(value, Decimal):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is no number")  # noqa: TRY004 - one kind of failure for all values
    try:
        return Decimal(repr(value) if isinstance(value, float) else value)
    except ArithmeticError:
        raise ValueError(f"{value!r} is no decimal number") from None


def _date(value: object) -> datetime.date:
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value
    return datetime.date.fromisoformat(_str(value).strip())


def _datetime(value: object) -> datetime.datetime:
    if isinstance(value, datetime.datetime):
        return value
    return datetime.datetime.fromisoformat(_str(value).strip())


def _time(value: object) -> datetime.time:
    if isinstance(value, datetime.time):
        return value
    return datetime.time.fromisoformat(_str(value).strip())


def _uuid(value: object) -> UUID:
    return value if isinstance(value, UUID) else UUID(_str(value).strip())


_BY_TYPE: Mapping[type, Conversion] = {
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    Decimal: _decimal,
    datetime.date: _date,
    datetime.datetime: _datetime,
    datetime.time: _time,
    UUID: _uuid,
}
_BY_NAME: Mapping[str, Conversion] = {kind.__name__.lower(): fn for kind, fn in _BY_TYPE.items()}


_OF_TEXT: Mapping[Conversion, Conversion] = {_int: int, _float: float, _str: str}
"""What needs no checks where every value is text."""


def conversions(types: Mapping[str, Any] | None, *, of_text: bool = False) -> Mapping[str, Conversion]:
    """The conversion of each column; `ConfigError` that lists every type that isn't known.

    `of_text`: every value will be text.
    """
    problems: list[str] = []
    result: dict[str, Conversion] = {}
    for column, kind in (types or {}).items():
        found = _conversion(kind)
        if found is None:
            problems.append(f"types: {column!r} has the unknown type {kind!r}{_hint(kind)}")
        else:
            result[column] = _OF_TEXT.get(found, found) if of_text else found
    if problems:
        raise ConfigError(*problems)
    return result


def _hint(kind: object) -> str:
    import difflib  # noqa: PLC0415 - for an error only

    near = difflib.get_close_matches(str(kind).rstrip("?"), _BY_NAME, n=1)
    return (
        f"; did you mean {near[0]!r}?"
        if near
        else f"; known are {', '.join(sorted(_BY_NAME))}, each also with ?"
    )


def _conversion(kind: Any) -> Conversion | None:
    if isinstance(kind, str):
        named = _BY_NAME.get(kind.removesuffix("?").strip().lower())
        return optional(named) if named and kind.endswith("?") else named
    inner = _inner_of_optional(kind)
    if inner is not None:
        found = _conversion(inner)
        return found and optional(found)
    if isinstance(kind, type) and kind in _BY_TYPE:
        return _BY_TYPE[kind]
    return kind if callable(kind) else None


def type_of(kind: Any) -> tuple[type, bool] | None:
    """The type that an entry of `types=` names, and whether it is optional; `None` for a function."""
    if isinstance(kind, str):
        name = kind.removesuffix("?").strip().lower()
        named = next((known for known in _BY_TYPE if known.__name__.lower() == name), None)
        return None if named is None else (named, kind.endswith("?"))
    inner = _inner_of_optional(kind)
    if inner is not None:
        found = type_of(inner)
        return None if found is None else (found[0], True)
    return (kind, False) if isinstance(kind, type) and kind in _BY_TYPE else None


def _inner_of_optional(kind: Any) -> Any:
    """`X` of `X | None`, else `None`."""
    if typing.get_origin(kind) not in (typing.Union, python_types.UnionType):
        return None
    rest = [part for part in typing.get_args(kind) if part is not type(None)]
    return rest[0] if len(rest) == 1 and len(typing.get_args(kind)) == 2 else None


def optional(convert: Conversion) -> Conversion:
    """Empty text and `None` are `None`."""

    def convert_optional(value: Any) -> Any:
        return None if value is None or value == "" else convert(value)

    return convert_optional


def load_schema(schema: Any) -> type[Any] | None:
    """The attrs class; one given as text `"module:Class"` is imported. `ConfigError` where it is none."""
    if isinstance(schema, str):
        try:
            schema = pkgutil.resolve_name(schema)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(f"schema: {schema!r} can't be imported: {error}") from error
    if schema is not None and not (isinstance(schema, type) and attrs.has(schema)):
        raise ConfigError(f"schema: {schema!r} is no attrs class")
    return schema


def _hook(fn: Conversion) -> Callable[[Any, Any], Any]:
    return lambda value, _: fn(value)


def structurer(schema: type[Any]) -> Conversion:
    """A function from dict to an instance of `schema`; it raises `ValueError` with every problem in it."""
    import cattrs  # noqa: PLC0415 - only who gives a schema pays for its import

    converter = cattrs.Converter()
    for kind, fn in _BY_TYPE.items():
        converter.register_structure_hook(kind, _hook(fn))

    def optional_hook(kind: Any) -> Callable[[Any, Any], Any]:
        inner = _inner_of_optional(kind)
        hook = converter.get_structure_hook(inner)
        return lambda value, _: None if value is None or value == "" else hook(value, inner)

    converter.register_structure_hook_factory(
        lambda kind: _inner_of_optional(kind) is not None,
        optional_hook,
    )
    hook = converter.get_structure_hook(schema)

    def structure(record: Any) -> Any:
        try:
            return hook(record, schema)
        except cattrs.BaseValidationError as error:
            raise ValueError("; ".join(cattrs.transform_error(error, path=schema.__name__))) from error

    return structure


def converted(
    record: dict[str, Any], types: Mapping[str, Conversion], schema: Conversion | None, place: str
) -> Record:
    """The record with its values converted, or a replayable `Malformed` that keeps it as it was read."""
    try:
        return convert(record, types, schema)
    except Exception as error:  # noqa: BLE001 - a conversion of the user's may raise anything
        failure = AgoraError(f"{place}: {error}")
        failure.__cause__ = error
        return Malformed(record, failure, replayable=True)


def convert(record: Mapping[str, Any], types: Mapping[str, Conversion], schema: Conversion | None) -> Record:
    """A new record; `record` stays as it is. Raises `AgoraError` that names the column."""
    result = dict(record)
    for name, fn in types.items():
        if name in result:
            try:
                result[name] = fn(result[name])
            except Exception as error:
                raise AgoraError(f"column {name!r}: {error}") from error
    return result if schema is None else schema(result)
