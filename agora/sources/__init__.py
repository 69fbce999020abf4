"""Sources: where records come from. Each is imported when it is first used, so that reading CSV costs no
pyarrow."""

from typing import TYPE_CHECKING

from agora.lazily import lazily

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

__getattr__, __dir__ = lazily(__name__, _HOMES)
