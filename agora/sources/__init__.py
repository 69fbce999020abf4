"""Sources: where records come from. Each is imported when it is first used, so that reading CSV costs no
pyarrow."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agora.records import Malformed
    from agora.sources.base import Block, Demand, Source
    from agora.sources.csv import CsvSource
    from agora.sources.iterable import IterableSource
    from agora.sources.jsonl import JsonLinesSource
    from agora.sources.parquet import ParquetSource

__all__ = [
    "Block",
    "CsvSource",
    "Demand",
    "IterableSource",
    "JsonLinesSource",
    "Malformed",
    "ParquetSource",
    "Source",
]

_HOMES = {
    "Block": "agora.sources.base",
    "CsvSource": "agora.sources.csv",
    "Demand": "agora.sources.base",
    "IterableSource": "agora.sources.iterable",
    "JsonLinesSource": "agora.sources.jsonl",
    "Malformed": "agora.records",
    "ParquetSource": "agora.sources.parquet",
    "Source": "agora.sources.base",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
