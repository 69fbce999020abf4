"""Middlewares: what happens to a record between source and sinks."""

from typing import TYPE_CHECKING

from agora.middlewares.base import BatchMiddleware, ExpandingMiddleware, Middleware, StatefulMiddleware
from agora.middlewares.chain import MiddlewareChain
from agora.middlewares.function import FunctionMiddleware, middleware
from agora.middlewares.step import Policy, Step, StepKind

if TYPE_CHECKING:
    from agora.middlewares.deduplicate import Deduplicate

__all__ = [
    "BatchMiddleware",
    "Deduplicate",
    "ExpandingMiddleware",
    "FunctionMiddleware",
    "Middleware",
    "MiddlewareChain",
    "Policy",
    "StatefulMiddleware",
    "Step",
    "StepKind",
    "middleware",
]

_LATER = {"Deduplicate": "deduplicate"}
"""Parts with imports of their own, which nobody pays for who doesn't use them."""


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415 - with the name that wants it

    found = getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return list(__all__)
