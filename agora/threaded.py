"""Async methods that are one blocking call in a thread, and may become part of a larger one.

A barrier has several of them to make one behind the other, and each change of thread costs as much CPU as all else in
it. So whoever has such methods can ask for what they do in the thread, and do it all in one. What is asked is the very
function that stands in the object's class: where somebody has put another one there, there is nothing to be had, and
the method is awaited as it is.
"""

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from agora import seam

__all__ = ["blocking_form", "threaded", "with_blocking_form"]

S = TypeVar("S")
T = TypeVar("T")
P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., Any])

_forms: dict[object, Callable[[Any], Callable[..., Any] | None]] = {}
"""Async method → of an object, the function that does in a thread what the method awaits."""


def threaded(fn: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Make the blocking method async: it runs in a thread, and isn't begun where it is cancelled."""

    @functools.wraps(fn)
    async def method(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await seam.current().in_thread(fn, self, *args, **kwargs)

    return with_blocking_form(lambda owner: functools.partial(fn, owner))(method)


def with_blocking_form(form: Callable[[Any], Callable[..., Any] | None]) -> Callable[[F], F]:
    """Say of an async method how to do the same in a thread; `None` where that can't be had of this object at
    present."""

    def register(method: F) -> F:
        _forms[method] = form
        return method

    return register


def blocking_form(method: Any) -> Callable[..., Any] | None:
    """What this bound async method does in a thread, to be called in one; `None` for every other callable."""
    form = _forms.get(getattr(method, "__func__", None))
    return None if form is None else form(method.__self__)
