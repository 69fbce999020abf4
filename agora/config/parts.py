"""A part of a pipeline as a config file says it: by its registered type, or by an import.

Structuring a part checks everything about it and makes nothing; `Part.make` makes a new object each time, so
that two pipelines built from one file share no source. A registered part is also made once while it is
checked, and thrown away: making a part does no I/O, and only so a refusal by its constructor comes with all
other problems.
"""

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import cattrs

from agora.config.imports import import_object
from agora.config.problems import Problem, Problems, found, problems_of
from agora.config.values import structure_options
from agora.plugins import Option, Registry, nearest, options_of
from agora.state.base import StateBackend

__all__ = ["PIPELINE_STATE", "Part", "PartReader"]

PIPELINE_STATE: Final = object()
"""Stands for the state of the pipeline that a part belongs to, until the part is made."""

_HEADER = ("type", "import", "with")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Part:
    """A part that can be made: a class or factory and its arguments, or an object that was imported."""

    says: str
    """What the file says, for messages: `type = "csv"` or `import = "steps:GeoLookup"`."""
    factory: Callable[..., Any]
    arguments: Mapping[str, Any] = attrs.field(factory=dict, repr=False)  # may hold secrets

    @property
    def needs_state(self) -> bool:
        """Whether it works on the pipeline's state."""
        return any(value is PIPELINE_STATE for value in self.arguments.values())

    def make(self, state: object = None) -> Any:
        """A new object; `state` goes where the part wants the pipeline's. Raises what the constructor
        raises.
        """
        arguments = {
            name: state if value is PIPELINE_STATE else value.make() if isinstance(value, Part) else value
            for name, value in self.arguments.items()
        }
        return self.factory(**arguments)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PartReader:
    """Reads the parts of one kind from tables."""

    converter: cattrs.Converter
    directory: Path
    registry: Registry
    bare_function_is_part: bool
    """Whether an imported function without `with` is the part itself (a step, a sink) or makes it (a
    source).
    """
    imported_types: Sequence[str] = ()
    """Values of `type` that say how an import is used, in place of naming a registered part."""

    def read(self, table: Mapping[str, Any], *, also: Sequence[str] = ()) -> Part:
        """The part that a table says; `also` are keys that the table may have beside the part's own, taken
        out already.

        Raises `Problems`.
        """
        if "import" in table:
            return self._imported(table, also)
        if "type" not in table:
            raise Problems.one('missing "type" or "import"')
        kind = table["type"]
        if not isinstance(kind, str):
            raise Problems.one(f"expected a string, found {found(kind)}", "type")
        if kind in self.imported_types:
            raise Problems.one('missing; expected "module:function"', "import")
        if kind not in self.registry:
            known = nearest(kind, [*self.registry, *self.imported_types])
            raise Problems.one(f"unknown {self.registry.kind} {kind!r}; {known}", "type")
        try:
            factory = self.registry.get(kind)
        except Exception as error:
            raise Problems(*problems_of(error, ("type",))) from error
        options = {key: value for key, value in table.items() if key != "type"}
        part = Part(
            says=f'type = "{kind}"',
            factory=factory,
            arguments=self._arguments(factory, options, also=("type", *also)),
        )
        _try(part)
        return part

    def _imported(self, table: Mapping[str, Any], also: Sequence[str]) -> Part:
        problems = [*self._import_header(table, also)]
        part = None
        try:
            value = import_object(table["import"], self.directory)
        except Problems as error:
            problems.extend(problems_of(error, ("import",)))
        else:
            try:
                part = self._imported_part(str(table["import"]), value, table.get("with"))
            except Problems as error:
                problems.extend(problems_of(error, ("with",)))
        if problems or part is None:
            raise Problems(*problems)
        return part

    def _import_header(self, table: Mapping[str, Any], also: Sequence[str]) -> typing.Iterator[Problem]:
        kind = table.get("type")
        if kind is not None and kind not in self.imported_types:
            allowed = " or ".join(map(repr, self.imported_types)) or "no type"
            yield Problem(("type",), f"expected {allowed} beside an import, found {found(kind)}")
        for key in table:
            if key not in _HEADER:
                hint = nearest(key, [*_HEADER, *also])
                yield Problem((key,), f'unknown key; options of an imported part go under "with"; {hint}')

    def _imported_part(self, spec: str, value: Any, options: Any) -> Part:
        says = f'import = "{spec}"'
        makes = (
            isinstance(value, type) or options is not None or _is_factory(value, self.bare_function_is_part)
        )
        if not makes:
            return Part(says=says, factory=lambda: value)
        if not isinstance(options, dict | None):
            raise Problems.one(f"expected a table, found {found(options)}")
        if not (isinstance(value, type) or inspect.isroutine(value)):
            raise Problems.one(f"{spec} is an object and no class or function: nothing takes these options")
        return Part(says=says, factory=value, arguments=self._arguments(value, options or {}))

    def _arguments(
        self, factory: Callable[..., Any], table: Mapping[str, Any], *, also: Sequence[str] = ()
    ) -> dict[str, Any]:
        options = options_of(factory)
        named = {option.name for option in options}
        more = {} if not _takes_more(factory) else {key: table[key] for key in table if key not in named}
        known = {key: value for key, value in table.items() if key not in more}
        arguments = structure_options(self.converter, options, known, also=also, fallback=_pipeline_state)
        return arguments | {key: self.converter.structure(value, Any) for key, value in more.items()}


def _is_factory(value: object, bare_function_is_part: bool) -> bool:
    return inspect.isroutine(value) and not bare_function_is_part


def _takes_more(factory: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except ValueError:  # some callables written in C tell nothing of their parameters
        return True
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _pipeline_state(option: Option) -> Any:
    wanted = (option.annotation, *typing.get_args(option.annotation))
    return PIPELINE_STATE if StateBackend in wanted else None


def _try(part: Part) -> None:
    if part.needs_state:
        return
    try:
        part.make()
    except Exception as error:
        raise Problems(*problems_of(error)) from error
