"""Middlewares: what happens to a record between source and sinks."""

from agora.middlewares.base import BatchMiddleware, ExpandingMiddleware, Middleware, StatefulMiddleware
from agora.middlewares.chain import MiddlewareChain
from agora.middlewares.function import FunctionMiddleware, middleware
from agora.middlewares.step import Policy, Step, StepKind

__all__ = [
    "BatchMiddleware",
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
