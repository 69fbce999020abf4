"""Whether two outputs are the same records in the same order. Nothing that differs is timed.

Parsed values are compared, not text: 552.0 and 5.52e2 are one number, and JSON may have spaces.
"""

import filecmp
import json
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq

__all__ = ["difference"]

_END = object()


def difference(expected: Path, found: Path) -> str | None:
    """What is different first, for people; `None` where nothing is."""
    if not found.exists():
        return f"it wrote no {found.name}"
    if expected.is_file() and found.is_file() and filecmp.cmp(expected, found, shallow=False):
        return None
    for number, (one, other) in enumerate(zip_longest(_records(expected), _records(found), fillvalue=_END)):
        if one is _END or other is _END:
            return f"{'more' if one is _END else 'fewer'} records than {number:,}"
        if one != other:
            return f"record {number:,} is {other!r}, not {one!r}"
    return None


def _records(path: Path) -> Iterator[Any]:
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    for file in files:
        if file.suffix == ".jsonl":
            yield from _lines(file)
        elif file.suffix == ".parquet":
            yield from _rows(file)
        else:
            yield from json.loads(file.read_text())


def _lines(path: Path) -> Iterator[Any]:
    with path.open("rb") as lines:
        for line in lines:
            yield orjson.loads(line)


def _rows(path: Path) -> Iterator[Any]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches():
            yield from batch.to_pylist()
