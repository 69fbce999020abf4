"""The cattrs converter of a config file: TOML values to what a declaration asks for, strictly.

cattrs by itself turns almost anything into almost anything (`"5"` into 5, a text into a list of its letters).
Here a value must be of the kind that was declared; only a text with a variable filled in may become a number,
since TOML has no other way to say it.
"""

import collections.abc
import datetime
import decimal
import os
import types
import typing
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import cattrs
from cattrs import cols

from agora.config.imports import import_object, names_object
from agora.config.interpolate import Filled
from agora.config.problems import Problem, Problems, found, problems_of
from agora.plugins import Option, nearest, options_of

__all__ = ["make_converter", "structure_options"]

_NOUNS: Mapping[type, str] = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}
_TYPES: Mapping[str, type] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "bytes": bytes,
    "date": datetime.date,
    "datetime": datetime.datetime,
    "time": datetime.time,
    "Decimal": decimal.Decimal,
    "decimal": decimal.Decimal,
    "UUID": uuid.UUID,
    "uuid": uuid.UUID,
}


def make_converter(directory: Path) -> cattrs.Converter:
    """A strict converter for a file in `directory`, which paths and imports are relative to."""
    converter = cattrs.Converter(detailed_validation=True)
    for scalar in (str, int, float, bool):
        converter.register_structure_hook(scalar, _scalar)
    for moment in (datetime.datetime, datetime.date, datetime.time):
        converter.register_structure_hook(moment, _moment)

    def structure_path(value: Any, _: Any) -> Path:
        if not isinstance(value, str):
            raise Problems.one(f"expected a path, found {found(value)}")
        return directory / Path(value).expanduser()

    def structure_type(value: Any, _: Any) -> Any:
        if isinstance(value, str) and value in _TYPES:
            return _TYPES[value]
        if isinstance(value, str) and ":" in value:
            return import_object(value, directory)
        known = nearest(value, _TYPES) if isinstance(value, str) else f"known: {', '.join(_TYPES)}"
        raise Problems.one(f'expected a type or "module:Class", found {found(value)}; {known}')

    def structure_callable(value: Any, _: Any) -> Any:
        function = import_object(value, directory)
        if not callable(function):
            raise Problems.one(f"expected a function, found {value}, which is {type(function).__name__}")
        return function

    converter.register_structure_hook(Path, structure_path)  # over the one that cattrs has
    converter.register_structure_hook_func(_is_path, structure_path)
    converter.register_structure_hook_func(_is_type, structure_type)
    converter.register_structure_hook_func(_is_callable, structure_callable)
    converter.register_structure_hook_func(lambda kind: kind in (Any, object), lambda value, _: _plain(value))
    converter.register_structure_hook_func(_is_literal, _one_of)
    converter.register_structure_hook_factory(_is_list, _list_hook)
    converter.register_structure_hook_factory(cols.is_mapping, _mapping_hook)
    converter.register_structure_hook_factory(_is_union, _union_hook)
    converter.register_structure_hook_factory(attrs.has, _class_hook)
    return converter


def structure_options(
    converter: cattrs.Converter,
    options: Sequence[Option],
    table: Mapping[str, Any],
    *,
    also: Sequence[str] = (),
    fallback: Callable[[Option], Any] = lambda _: None,
) -> dict[str, Any]:
    """The arguments that a table gives for these options. Raises `Problems` with all that is wrong with it.

    `also`: further keys that the table may have, for the hint at an unknown one. `fallback`: the argument for
    a required option that isn't there, or `None`.
    """
    arguments: dict[str, Any] = {}
    by_name = {option.name: option for option in options}
    problems = [
        Problem((key,), f"unknown key; {nearest(key, [*by_name, *also])}")
        for key in table
        if key not in by_name
    ]
    for option in options:
        if option.name in table:
            try:
                arguments[option.name] = converter.structure(table[option.name], option.annotation)
            except Exception as error:  # noqa: BLE001  - hooks run users' constructors: all becomes a problem
                problems.extend(problems_of(error, (option.name,)))
        elif option.required:
            value = fallback(option)
            if value is None:
                doc = f" ({option.doc.rstrip('.')})" if option.doc else ""
                problems.append(Problem((option.name,), f"missing; expected {_noun(option.annotation)}{doc}"))
            else:
                arguments[option.name] = value
    if problems:
        raise Problems(*problems)
    return arguments


def _scalar(value: Any, kind: Any) -> Any:
    if isinstance(value, Filled) and kind is not str:
        return _number(value, kind)
    fits = isinstance(value, int | float if kind is float else kind)
    if not fits or (isinstance(value, bool) and kind is not bool):
        raise Problems.one(f"expected {_NOUNS[kind]}, found {found(value)}")
    return kind(value)


def _number(value: Filled, kind: Any) -> Any:
    text = str(value).strip()
    try:
        return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        raise Problems.one(f"expected {_NOUNS[kind]}, found a text in {found(value)}") from None


def _moment(value: Any, kind: Any) -> Any:
    if type(value) is not kind:
        raise Problems.one(f"expected a {kind.__name__}, found {found(value)}")
    return value


def _plain(value: Any) -> Any:
    """The value as it is, with plain texts."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Filled) else value


def _one_of(value: Any, kind: Any) -> Any:
    choices = typing.get_args(kind)
    if value in choices and type(value) in {Filled, *map(type, choices)}:
        return next(choice for choice in choices if choice == value)
    hint = f"; {nearest(value, map(str, choices))}" if isinstance(value, str) and len(choices) > 1 else ""
    raise Problems.one(f"expected {' or '.join(map(repr, choices))}, found {found(value)}{hint}")


def _is_path(kind: Any) -> bool:
    origin = typing.get_origin(kind) or kind
    return isinstance(origin, type) and (origin is os.PathLike or issubclass(origin, Path))


def _is_type(kind: Any) -> bool:
    return kind is type or typing.get_origin(kind) is type


def _is_callable(kind: Any) -> bool:
    return typing.get_origin(kind) is collections.abc.Callable


def _is_literal(kind: Any) -> bool:
    origin: Any = typing.get_origin(kind)
    return origin is typing.Literal


def _is_union(kind: Any) -> bool:
    return isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union


def _is_list(kind: Any) -> bool:
    return (typing.get_origin(kind) or kind) in (list, Sequence, Iterable, tuple, set, frozenset)


def _list_hook(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    origin, members = typing.get_origin(kind) or kind, typing.get_args(kind)
    make = tuple if origin in (Sequence, Iterable) else origin
    inner: Any = types.GenericAlias(list, members[:1] or (Any,))
    whole = cols.list_structure_factory(inner, converter)

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, list):
            raise Problems.one(f"expected a list, found {found(value)}")
        return make(whole(value, list))

    return structure


def _mapping_hook(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    members = typing.get_args(kind) or (str, Any)
    inner: Any = types.GenericAlias(dict, members)
    whole: Callable[[Any, Any], Any] = cols.mapping_structure_factory(inner, converter)

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise Problems.one(f"expected a table, found {found(value)}")
        return whole(value, dict)

    return structure


def _meant(union: Any) -> list[Any]:
    """The members of a union that TOML can say: not `None`, and no span of time, which is a number of seconds; and a
    text is a path where one may be given."""
    unsaid = (type(None), datetime.timedelta)
    members = [member for member in typing.get_args(union) if member not in unsaid]
    return [member for member in members if member is not str or not any(map(_is_path, members))]


def _union_hook(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    members = _meant(kind)

    def structure(value: Any, _: Any) -> Any:
        problems: list[Problem] = []
        candidates = _by_text(members, value)
        for member in candidates:
            try:
                return converter.structure(value, member)
            except Exception as error:  # noqa: BLE001  - the next member may take it
                problems.extend(problems_of(error))
        # The member that got furthest into the value is the one that was meant.
        deeper = [problem for problem in problems if problem.path]
        if deeper or len(candidates) == 1:
            raise Problems(*(deeper or problems))
        raise Problems.one(f"expected {_noun(kind)}, found {found(value)}")

    return structure


def _by_text(members: list[Any], value: Any) -> list[Any]:
    """Of a function and another text, which one a text means: told by its form, so that a function that isn't found is
    said to be missing, and not to be a bad text."""
    functions = [member for member in members if _is_callable(member)]
    if not (functions and str in members and isinstance(value, str)):
        return members
    return functions if names_object(value) else [member for member in members if member not in functions]


_KINDS: Sequence[tuple[Callable[[Any], bool], str]] = (
    (_is_path, "a path"),
    (_is_list, "a list"),
    (cols.is_mapping, "a table"),
    (attrs.has, "a table"),
    (_is_type, "a type"),
    (_is_callable, 'a function ("module:name")'),
)


def _noun(kind: Any) -> str:
    """What a key takes, in the words of TOML."""
    if _is_union(kind):
        nouns = [_noun(member) for member in _meant(kind)]
        return " or ".join(dict.fromkeys(nouns))
    for fits, noun in _KINDS:
        if fits(kind):
            return noun
    if _is_literal(kind):
        return " or ".join(map(repr, typing.get_args(kind)))
    if kind in (Any, object):
        return "a value"
    return _NOUNS.get(kind, getattr(kind, "__name__", str(kind)))


def _class_hook(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    options = options_of(typing.get_origin(kind) or kind)

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise Problems.one(f"expected a table, found {found(value)}")
        return kind(**structure_options(converter, options, value))

    return structure
