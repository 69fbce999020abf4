"""Tagged JSON: Python values as JSON text and back, for dead letters and checkpoints.

A value that JSON lacks becomes an object with the key `"$"` that names its kind; an object of the data that
has this key itself is escaped, so nothing can pass for a tag. Chosen over pickle and its kin since reading
must run no code and import nothing: classes come back only where the reader hands them in, and what has no
form here is kept as its `repr`.
"""

import base64
import dataclasses
import enum
import math
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import Any, cast

import attrs
import msgspec

from agora.errors import StateError
from agora.records import Json, Opaque

__all__ = ["decode", "encode", "from_jsonable", "opaque_in", "to_jsonable"]

_TAG = "$"
_DEEPEST = 100  # levels; keeps both directions far from Python's own recursion limit
_INT_BOUND = 1 << 63  # what JSON readers commonly keep exact as an integer
_PLAIN = frozenset({type(None), bool})


def to_jsonable(value: object) -> Json:
    """`value` as JSON-able data. Never fails: what has no form becomes an `Opaque` with its `repr`, in its
    place."""
    return _to(value, 0)


def encode(value: object) -> bytes:
    """`value` as UTF-8 JSON text; equal values of built-in types give equal text. Never fails (see
    `to_jsonable`)."""
    return msgspec.json.encode(_to(value, 0))


def opaque_in(value: Json, at: str = "") -> tuple[str, str] | None:
    """Of what `to_jsonable` gave: where the first value is that has no form, as in `states.count.snapshot[0]`, and its
    `repr`; `None` where all have one."""
    if isinstance(value, dict):
        if value.get(_TAG) == "opaque":
            return at, str(_from(value["v"], {}))
        inner = [(f"{at}.{name}" if at else name, item) for name, item in value.items()]
    elif isinstance(value, list):
        inner = [(f"{at}[{index}]", item) for index, item in enumerate(value)]
    else:
        return None
    return next((found for place, item in inner if (found := opaque_in(item, place)) is not None), None)


def decode(data: bytes, classes: Iterable[type] = ()) -> Any:
    """The value that `encode` was given.

    `classes`: attrs classes, dataclasses and enums whose instances are wanted back; those of others come back
    as a dict of their fields (an enum: as its value). Raises `StateError` for text that `encode` didn't
    write.
    """
    try:
        return from_jsonable(msgspec.json.decode(data), classes)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StateError(f"not tagged JSON: {error}") from error


def from_jsonable(value: Json, classes: Iterable[type] = ()) -> Any:
    """The value that `to_jsonable` was given; see `decode`."""
    return _from(value, {_class_name(known): known for known in classes})


def _class_name(known: type) -> str:
    return f"{known.__module__}.{known.__qualname__}"


# --- writing ---


def _to(value: Any, depth: int) -> Json:  # noqa: PLR0911 - one return a kind, the most frequent first
    kind = type(value)
    if kind is str:
        return cast("str", value) if value.isascii() or _is_text(value) else _text(value)
    if kind is int:
        return cast("int", value) if -_INT_BOUND <= value < _INT_BOUND else {_TAG: "int", "v": hex(value)}
    if kind is float:
        return cast("float", value) if math.isfinite(value) else {_TAG: "float", "v": repr(value)}
    if kind in _PLAIN:
        return cast("bool | None", value)
    if depth >= _DEEPEST:
        return _opaque(value)
    try:
        if kind is dict:
            return _mapping(value, depth + 1)
        if kind is list:
            return [_to(item, depth + 1) for item in value]
        writer = _WRITERS.get(kind)
        if writer is not None:
            return writer(value, depth + 1)
        return _of_class(value, depth)
    except Exception:  # noqa: BLE001 - a letter is never lost to a value's own broken methods
        return _opaque(value)


def _mapping(value: Mapping[Any, Any], depth: int) -> Json:
    if _TAG not in value:
        fields: dict[str, Json] = {}
        for key, item in value.items():
            if type(key) is not str or not (key.isascii() or _is_text(key)):
                break
            # What most fields are is answered here: a call less for each.
            fields[key] = item if type(item) is str and item.isascii() else _to(item, depth)
        else:
            return fields
    return {_TAG: "dict", "v": [[_to(key, depth), _to(item, depth)] for key, item in value.items()]}


def _of_class(value: Any, depth: int) -> Json:
    kind = type(value)
    if isinstance(value, enum.Enum):
        return {_TAG: "enum", "c": _class_name(kind), "v": _to(value.value, depth + 1)}
    names = _field_names(kind)
    if names is not None:
        fields = {name: _to(getattr(value, name), depth + 1) for name in names}
        return {_TAG: "class", "c": _class_name(kind), "v": cast("Json", fields)}
    for base in _BASES:  # a subclass is kept as what it is equal to
        if isinstance(value, base):
            return _to(base(value), depth)
    return _opaque(value)


def _field_names(kind: type) -> list[str] | None:
    if attrs.has(kind):
        return [field.name for field in attrs.fields(kind)]
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    return None


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # lone surrogates, as in a file name that isn't UTF-8
        return False
    return True


def _text(value: str) -> Json:
    return {_TAG: "str", "v": base64.b64encode(value.encode("utf-8", "surrogatepass")).decode()}


def _opaque(value: object) -> Json:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a broken __repr__, or one nested too deeply
        text = f"<{_class_name(type(value))} without a repr>"
    return {_TAG: "opaque", "v": to_jsonable(text)}


def _zoned(value: datetime | time) -> dict[str, Json]:
    more: dict[str, Json] = {}
    zoneinfo = sys.modules.get("zoneinfo")  # who has a value of it has loaded it
    if zoneinfo is not None and isinstance(value.tzinfo, zoneinfo.ZoneInfo) and value.tzinfo.key:
        more["zone"] = value.tzinfo.key
    if value.fold:
        more["fold"] = 1
    return more


def _unordered(value: Iterable[Any], depth: int) -> Json:
    return sorted((_to(item, depth) for item in value), key=msgspec.json.encode)


_WRITERS: dict[type, Callable[[Any, int], Json]] = {
    datetime: lambda value, _: {_TAG: "datetime", "v": value.isoformat(), **_zoned(value)},
    date: lambda value, _: {_TAG: "date", "v": value.isoformat()},
    time: lambda value, _: {_TAG: "time", "v": value.isoformat(), **_zoned(value)},
    timedelta: lambda value, _: {_TAG: "timedelta", "v": [value.days, value.seconds, value.microseconds]},
    Decimal: lambda value, _: {_TAG: "decimal", "v": str(value)},
    uuid.UUID: lambda value, _: {_TAG: "uuid", "v": str(value)},
    bytes: lambda value, _: {_TAG: "bytes", "v": base64.b64encode(value).decode()},
    bytearray: lambda value, _: {_TAG: "bytearray", "v": base64.b64encode(value).decode()},
    tuple: lambda value, depth: {_TAG: "tuple", "v": [_to(item, depth) for item in value]},
    set: lambda value, depth: {_TAG: "set", "v": _unordered(value, depth)},
    frozenset: lambda value, depth: {_TAG: "frozenset", "v": _unordered(value, depth)},
    Opaque: lambda value, _: {_TAG: "opaque", "v": to_jsonable(value.text)},
}
_BASES: tuple[Any, ...] = (str, int, float, bytes, list, tuple, dict)


# --- reading ---

_Classes = Mapping[str, type]


def _from(value: Any, classes: _Classes) -> Any:
    if type(value) is list:
        return [_from(item, classes) for item in value]
    if type(value) is not dict:
        return value
    tag = value.get(_TAG)
    if tag is None:
        return {key: _from(item, classes) for key, item in value.items()}
    reader = _READERS.get(tag) if isinstance(tag, str) else None
    if reader is None:
        raise StateError(
            f"unknown tag {tag!r} in tagged JSON; it was written by a newer agora, or is damaged"
        )
    try:
        return reader(value, classes)
    except StateError:
        raise
    except Exception as error:
        raise StateError(f"a value tagged {tag!r} can't be read back: {error}") from error


def _items(value: Any, classes: _Classes) -> list[Any]:
    return [_from(item, classes) for item in value["v"]]


def _zone(value: Any) -> tzinfo | None:
    if "zone" not in value:
        return None
    import zoneinfo  # noqa: PLC0415 - for who has such values

    try:
        return zoneinfo.ZoneInfo(value["zone"])
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        return None  # a zone that this machine lacks: the offset that the text holds stays


def _read_datetime(value: Any, _: _Classes) -> datetime:
    read = datetime.fromisoformat(value["v"]).replace(fold=value.get("fold", 0))
    zone = _zone(value)
    return read if zone is None else read.replace(tzinfo=zone)


def _read_time(value: Any, _: _Classes) -> time:
    read = time.fromisoformat(value["v"]).replace(fold=value.get("fold", 0))
    zone = _zone(value)
    return read if zone is None else read.replace(tzinfo=zone)


def _read_class(value: Any, classes: _Classes) -> Any:
    fields = {name: _from(item, classes) for name, item in value["v"].items()}
    known = classes.get(value["c"])
    if known is None:
        return fields
    return _build(known, fields)


def _build(known: type, fields: dict[str, Any]) -> Any:
    """An instance through its constructor, so that a field added since gets its default."""
    arguments: dict[str, Any] = {}
    computed: dict[str, Any] = {}
    if attrs.has(known):
        for field in attrs.fields(known):
            if field.name in fields:
                where, name = (arguments, field.alias or field.name) if field.init else (computed, field.name)
                where[name] = fields[field.name]
    else:
        for member in dataclasses.fields(cast("Any", known)):
            if member.name in fields:
                (arguments if member.init else computed)[member.name] = fields[member.name]
    built = known(**arguments)
    for name, item in computed.items():
        object.__setattr__(built, name, item)
    return built


def _read_enum(value: Any, classes: _Classes) -> Any:
    plain = _from(value["v"], classes)
    known = classes.get(value["c"])
    return plain if known is None else known(plain)


def _read_text(value: Any, _: _Classes) -> str:
    return base64.b64decode(value["v"], validate=True).decode("utf-8", "surrogatepass")


_READERS: dict[str, Callable[[Any, _Classes], Any]] = {
    "str": _read_text,
    "int": lambda value, _: int(value["v"], 16),
    "float": lambda value, _: float(value["v"]),
    "dict": lambda value, classes: {_from(key, classes): _from(item, classes) for key, item in value["v"]},
    "datetime": _read_datetime,
    "date": lambda value, _: date.fromisoformat(value["v"]),
    "time": _read_time,
    "timedelta": lambda value, _: timedelta(*value["v"]),
    "decimal": lambda value, _: Decimal(value["v"]),
    "uuid": lambda value, _: uuid.UUID(value["v"]),
    "bytes": lambda value, _: base64.b64decode(value["v"], validate=True),
    "bytearray": lambda value, _: bytearray(base64.b64decode(value["v"], validate=True)),
    "tuple": lambda value, classes: tuple(_items(value, classes)),
    "set": lambda value, classes: set(_items(value, classes)),
    "frozenset": lambda value, classes: frozenset(_items(value, classes)),
    "opaque": lambda value, classes: Opaque(_from(value["v"], classes)),
    "class": _read_class,
    "enum": _read_enum,
}
