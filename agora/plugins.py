"""Parts by name: a registry for each kind of part, filled from entry points of installed distributions.

agora's own parts are found by the very mechanism that a plugin uses, so a plugin can do all that a built-in
can. A registry reads names from metadata and imports a part when it is asked for: one broken plugin harms
only itself.
"""

import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

import attrs

from agora.errors import ConfigError

__all__ = [
    "REQUIRED",
    "Option",
    "Registry",
    "middleware_registry",
    "nearest",
    "options_of",
    "provider_registry",
    "sink_registry",
    "source_registry",
    "state_registry",
    "tracer_registry",
]

REQUIRED: Final = inspect.Parameter.empty


@attrs.frozen
class Option:
    """One option of a part, as its class or factory declares it."""

    name: str
    annotation: Any
    """What the option takes; `typing.Any` where nothing is declared."""
    default: Any
    """The default, an `attrs.Factory` for one that is made anew each time; `REQUIRED` where there is none."""
    doc: str

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is REQUIRED

    @property
    def type(self) -> str:
        """The annotation as text, as one would write it."""
        return _type_text(self.annotation)


def _type_text(annotation: Any) -> str:
    if annotation is type(None):
        return "None"
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return " | ".join(_type_text(member) for member in typing.get_args(annotation))
    return str(annotation).replace("typing.", "").replace("collections.abc.", "")


def options_of(part: Callable[..., Any]) -> tuple[Option, ...]:
    """The options of a part: the `init` fields of an attrs class, else the named parameters of the callable.

    An option with a converter takes what the converter takes. `metadata={"doc": …}` of an attrs field
    documents it.
    """
    if isinstance(part, type) and attrs.has(part):
        hints = _hints(part)
        return tuple(_field_option(field, hints) for field in attrs.fields(part) if field.init)
    parameters = _parameters(part)
    hints = _hints(vars(part).get("__init__") if isinstance(part, type) else part)
    return tuple(
        Option(parameter.name, hints.get(parameter.name, Any), parameter.default, "")
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    )


def _parameters(part: Callable[..., Any]) -> Iterable[inspect.Parameter]:
    try:
        return inspect.signature(part).parameters.values()
    except ValueError:  # some callables written in C tell nothing of their parameters
        return ()


def _hints(thing: Any) -> Mapping[str, Any]:
    try:
        return typing.get_type_hints(thing)
    except (NameError, TypeError, AttributeError):  # a name that exists for type checkers only
        return {}


def _field_option(field: "attrs.Attribute[Any]", hints: Mapping[str, Any]) -> Option:
    annotation = hints.get(field.name, Any)
    if field.converter is not None:
        annotation = _converter_takes(field.converter, annotation)
    default = REQUIRED if field.default is attrs.NOTHING else field.default
    return Option(field.alias or field.name, annotation, default, field.metadata.get("doc", ""))


def _converter_takes(converter: Any, field_annotation: Any) -> Any:
    function = getattr(converter, "converter", converter)  # attrs.Converter wraps one
    if isinstance(function, type):
        return field_annotation
    first = next(iter(_parameters(function)), None)
    return Any if first is None else _hints(function).get(first.name, Any)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that ends an error message: the nearest known name, and all known ones."""
    known = sorted(known)
    if not known:
        return "there is none"
    import difflib  # noqa: PLC0415 - for an error only

    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    suggestion = f"did you mean {close[0]!r}? " if close else ""
    return f"{suggestion}known: {', '.join(known)}"


@attrs.frozen(eq=False)
class Registry:
    """The parts of one kind, by name."""

    group: str
    """The entry-point group."""
    kind: str
    """What one is called in messages."""
    _registered: dict[str, Any] = attrs.field(factory=dict, init=False, repr=False)

    def names(self) -> tuple[str, ...]:
        """All names, sorted; imports nothing."""
        return tuple(sorted({*self._offered(), *self._registered}))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self._registered or name in self._offered()

    def __len__(self) -> int:
        return len(self.names())

    def get(self, name: str) -> Any:
        """The part registered under this name, imported now if it wasn't.

        Raises `ConfigError` for an unknown name (with the nearest one), for one that two distributions offer,
        and for one whose import fails.
        """
        if name in self._registered:
            return self._registered[name]
        candidates = self._offered().get(name)
        if candidates is None:
            raise ConfigError(f"unknown {self.kind} {name!r}; {nearest(name, self.names())}")
        if len(candidates) > 1:
            offers = " and ".join(_offer(candidate) for candidate in candidates)
            raise ConfigError(f"{self.kind} {name!r} is offered by {offers}: uninstall all but one")
        try:
            return candidates[0].load()
        except Exception as error:
            raise ConfigError(
                f"{self.kind} {name!r} of {_offer(candidates[0])} can't be imported: "
                f"{type(error).__name__}: {error}"
            ) from error

    def register(self, name: str, part: Any) -> None:
        """Add a part for this process, beside those of the entry points.

        Raises `ConfigError` if the name is taken by another part.
        """
        if self._registered.get(name, part) is not part or name in self._offered():
            raise ConfigError(f"{self.kind} {name!r} is registered already")
        self._registered[name] = part

    def unregister(self, name: str) -> None:
        """Take back a `register`. Raises `ConfigError` if there was none."""
        if name not in self._registered:
            raise ConfigError(f"{self.kind} {name!r} was not registered by register()")
        del self._registered[name]

    def describe(self, name: str) -> tuple[Option, ...]:
        """The options of a part, from its own declaration. Raises as `get` does."""
        return options_of(self.get(name))

    def _offered(self) -> Mapping[str, tuple[EntryPoint, ...]]:
        """By name; several of one name, where distributions contend for it."""
        return _entry_points(self.group, tuple(sys.path))


@lru_cache(maxsize=16)
def _entry_points(group: str, path: tuple[str, ...]) -> Mapping[str, tuple[EntryPoint, ...]]:
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for entry_point in _installed(path).select(group=group):
        found[entry_point.name] = (*found.get(entry_point.name, ()), entry_point)
    return found


@lru_cache(maxsize=1)
def _installed(path: tuple[str, ...]) -> Any:
    """The entry points of all distributions on `sys.path`. Reading them costs milliseconds: once for all kinds."""
    return entry_points()


def _offer(entry_point: EntryPoint) -> str:
    owner = "unknown" if entry_point.dist is None else repr(entry_point.dist.name)
    return f"distribution {owner} ({entry_point.value})"


source_registry = Registry("agora.sources", "source type")
sink_registry = Registry("agora.sinks", "sink type")
middleware_registry = Registry("agora.middlewares", "middleware type")
state_registry = Registry("agora.state_backends", "state type")
tracer_registry = Registry("agora.tracers", "tracer type")
provider_registry = Registry("agora.providers", "provider type")
