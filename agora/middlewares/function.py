"""The `middleware` decorator: a function as a Middleware."""

import functools
import importlib
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Generic, ParamSpec, TypeVar, overload

import attrs

from agora.records import Record

__all__ = ["FunctionMiddleware", "middleware"]

P = ParamSpec("P")
R = TypeVar("R")


@attrs.frozen
class FunctionMiddleware(Generic[P, R]):
    """A plain or async function of one record as a Middleware; still callable as the function that it was."""

    process: Callable[P, R]
    name: str
    min_concurrency: int = attrs.field(default=1, validator=attrs.validators.ge(1))

    def __reduce__(self) -> Any:
        """By its name where a decorator stands over the function: it is what the name means, and the function can't
        be found by it anymore."""
        module, name = self.process.__module__, getattr(self.process, "__qualname__", "")
        try:
            found = _named(module, name)
        except (AttributeError, ImportError):
            found = None
        if found is self:
            return _named, (module, name)
        return FunctionMiddleware, (self.process, self.name, self.min_concurrency)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.process(*args, **kwargs)


def _named(module: str, name: str) -> Any:
    found: Any = sys.modules[module] if module in sys.modules else importlib.import_module(module)
    return functools.reduce(getattr, name.split("."), found)


_Fn = Callable[[Record], Record | None | Awaitable[Record | None]]


@overload
def middleware(fn: Callable[P, R], /) -> FunctionMiddleware[P, R]: ...


@overload
def middleware(
    *, min_concurrency: int = 1, name: str | None = None
) -> Callable[[Callable[P, R]], FunctionMiddleware[P, R]]: ...


def middleware(
    fn: Callable[P, R] | None = None, /, *, min_concurrency: int = 1, name: str | None = None
) -> FunctionMiddleware[P, R] | Callable[[Callable[P, R]], FunctionMiddleware[P, R]]:
    """Make a Middleware of a function, with or without arguments to the decorator.

    The function gets a record and answers a record, or `None` to drop it; `name` defaults to its own.
    """

    def decorate(function: Callable[P, R]) -> FunctionMiddleware[P, R]:
        own_name = name or str(getattr(function, "__name__", type(function).__name__))
        return FunctionMiddleware(function, own_name, min_concurrency)

    return decorate if fn is None else decorate(fn)
