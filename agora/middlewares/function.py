"""The `middleware` decorator: a function as a Middleware."""

from collections.abc import Awaitable, Callable
from typing import Generic, ParamSpec, TypeVar, overload

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

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.process(*args, **kwargs)


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
