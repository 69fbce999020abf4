"""Where records go: the sinks, and the contract for one's own."""

from typing import TYPE_CHECKING

from agora.lazily import lazily

if TYPE_CHECKING:
    from agora.sinks.adapt import as_sink
    from agora.sinks.base import DATA_ERRORS, Sink, TransactionalSink
    from agora.sinks.channel import ChannelSink
    from agora.sinks.csv import CsvSink
    from agora.sinks.function import FunctionSink
    from agora.sinks.jsonl import JsonLinesSink
    from agora.sinks.memory import MemorySink
    from agora.sinks.null import NullSink
    from agora.sinks.parquet import ParquetSink
    from agora.sinks.sqlite import SQLiteSink
    from agora.sinks.stdout import StdoutSink

__all__ = [
    "DATA_ERRORS",
    "ChannelSink",
    "CsvSink",
    "FunctionSink",
    "JsonLinesSink",
    "MemorySink",
    "NullSink",
    "ParquetSink",
    "SQLiteSink",
    "Sink",
    "StdoutSink",
    "TransactionalSink",
    "as_sink",
]

_MODULES = {
    "DATA_ERRORS": ".base",
    "ChannelSink": ".channel",
    "CsvSink": ".csv",
    "FunctionSink": ".function",
    "JsonLinesSink": ".jsonl",
    "MemorySink": ".memory",
    "NullSink": ".null",
    "ParquetSink": ".parquet",
    "SQLiteSink": ".sqlite",
    "Sink": ".base",
    "StdoutSink": ".stdout",
    "TransactionalSink": ".base",
    "as_sink": ".adapt",
}

__getattr__, __dir__ = lazily(__name__, _MODULES)
