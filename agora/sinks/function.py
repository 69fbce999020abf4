"""A function as a sink."""

import inspect
from collections.abc import Callable
from typing import Any

import attrs

from agora.records import Record

__all__ = ["FunctionSink"]


@attrs.define(eq=False)
class FunctionSink:
    """Calls a plain or async function with each record, in order; what it returns is ignored.

    What it raises concerns that record where it is a data error (`agora.sinks.DATA_ERRORS`), else it ends the
    run. A trio checkpoint only where the function is one.
    """

    fn: Callable[[Record], Any]

    @property
    def target(self) -> str:
        name = getattr(self.fn, "__name__", None) or type(self.fn).__name__
        return str(name)

    async def write_record(self, record: Record) -> None:
        result = self.fn(record)
        if result is not None and inspect.isawaitable(result):
            await result
