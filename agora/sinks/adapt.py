"""What `.to()` takes, as a sink: a sink, a function, a channel."""

import inspect
import io
from typing import Any, cast

import trio

from agora.errors import ConfigError
from agora.sinks.base import Sink
from agora.sinks.channel import ChannelSink
from agora.sinks.function import FunctionSink

__all__ = ["as_sink"]


def as_sink(candidate: Any) -> Sink:
    """The sink itself, or a function or `trio.abc.SendChannel` as one. `ConfigError` for anything else."""
    if isinstance(candidate, type):
        raise ConfigError(f"a sink is an object, not a class: write {candidate.__name__}(…)")
    if isinstance(candidate, trio.abc.SendChannel):
        return cast("Sink", ChannelSink(candidate))
    if isinstance(candidate, io.IOBase):
        raise ConfigError(
            f"{candidate!r} is an open file, not a sink: give its path to JsonLinesSink or CsvSink"
        )
    if callable(getattr(candidate, "write", None)) or callable(getattr(candidate, "write_record", None)):
        return cast("Sink", candidate)
    if not callable(candidate):
        raise ConfigError(
            f"{candidate!r} is not a sink: give an object with an async write(records) or "
            "write_record(record), a function that takes a record, or a trio.abc.SendChannel"
        )
    if inspect.isgeneratorfunction(candidate) or inspect.isasyncgenfunction(candidate):
        raise ConfigError(
            f"{candidate!r} is a generator function: called with a record it would do nothing, "
            "so it can't be a sink"
        )
    return cast("Sink", FunctionSink(candidate))
