"""Middlewares: what happens to a record between source and sinks."""

from typing import TYPE_CHECKING

from agora.lazily import lazily
from agora.middlewares.base import BatchMiddleware, ExpandingMiddleware, Middleware, StatefulMiddleware
from agora.middlewares.chain import MiddlewareChain
from agora.middlewares.function import FunctionMiddleware, middleware
from agora.middlewares.step import Policy, Step, StepKind

if TYPE_CHECKING:
    from agora.middlewares.columnar import ColumnarMiddleware, ColumnsResult
    from agora.middlewares.deduplicate import Deduplicate
    from agora.middlewares.relational import Cast, Compute, Rename, Select, Where

__all__ = [
    "BatchMiddleware",
    "Cast",
    "ColumnarMiddleware",
    "ColumnsResult",
    "Compute",
    "Deduplicate",
    "ExpandingMiddleware",
    "FunctionMiddleware",
    "Middleware",
    "MiddlewareChain",
    "Policy",
    "Rename",
    "Select",
    "StatefulMiddleware",
    "Step",
    "StepKind",
    "Where",
    "middleware",
]

_LATER = {
    "Cast": ".relational",
    "ColumnarMiddleware": ".columnar",
    "ColumnsResult": ".columnar",
    "Compute": ".relational",
    "Deduplicate": ".deduplicate",
    "Rename": ".relational",
    "Select": ".relational",
    "Where": ".relational",
}
"""Parts with imports of their own, which nobody pays for who doesn't use them."""

__getattr__, __dir__ = lazily(__name__, _LATER)
