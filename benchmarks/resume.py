"""What a resume reads: at 99 % of a file as little as at 1 %, since it seeks and never reads up to its place."""

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pyarrow as pa
import pyarrow.parquet as pq
import trio

from agora import Pipeline
from agora.sinks import JsonLinesSink
from agora.sources import CsvSource, JsonLinesSource, ParquetSource
from agora.state import CheckpointStore, SQLiteBackend, StateDLQSink
from benchmarks.comparison import Comparison

__all__ = ["BLOCK", "Reading", "read_by_resumes", "resume"]

BLOCK = 256 * 1024
"""Bytes that the sources read in one go; Parquet by row groups, which are a little smaller here."""
GROUP_ROWS = 3_000
MORE = 2_000
"""Records that a resumed run reads."""
CHUNK = 100_000
"""Records that are repeated until the file is large enough."""


def resume(*, full: bool, directory: Path) -> list[Comparison]:
    """Bytes that a resume at 99 % of a file of 1 GiB (small: 64 MiB) reads beyond those of one at 1 %, in blocks."""
    size = 1 << (30 if full else 26)
    comparisons = []
    for kind in ("csv", "jsonl", "parquet"):
        with tempfile.TemporaryDirectory(dir=directory) as folder:
            early, late = read_by_resumes(kind, Path(folder), size, (0.01, 0.99))
        what = f"{late.count:,} bytes in {late.seconds:.3f} s at 99 %, {early.count:,} in {early.seconds:.3f} s at 1 %"
        ratio = (late.count - early.count) / BLOCK
        comparisons.append(
            Comparison(name=f"resume : {kind}", what=what, ratio=ratio, target=1.0, at_most=True)
        )
    return comparisons


@attrs.frozen
class Reading:
    """What one resumed run took."""

    count: int
    """Bytes that the process read, of whatever file: the source, its fingerprints, state and target among them."""
    seconds: float


def read_by_resumes(kind: str, folder: Path, size: int, shares: tuple[float, ...]) -> list[Reading]:
    """Run up to each share of a file of about `size` bytes, in ascending order; resume there, for 2,000 records."""
    source, records = WRITERS[kind](folder / f"in.{kind}", size)
    readings = []
    done = 0
    for share in shares:
        there = int(share * records)
        assert trio.run(partial(_built(kind, source).run, max_records=there - done)).read == there - done
        bound = _built(kind, source)
        before, began = _read_so_far(), time.perf_counter()
        summary = trio.run(partial(bound.run, max_records=MORE))
        readings.append(Reading(_read_so_far() - before, time.perf_counter() - began))
        assert summary.resumed_from is not None
        assert (summary.resumed_from.ordinal, summary.read) == (there, MORE)
        assert summary.dead_lettered > 0
        done = there + MORE
    return readings


def _read_so_far() -> int:
    """Bytes that this process has read by any system call."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("rchar: "):
            return int(line.split()[1])
    raise AssertionError("the system doesn't tell what a process reads")


def _built(kind: str, source: Path) -> Any:
    """Each thousandth record becomes a letter, each hundredth is written."""
    sources: Mapping[str, Any] = {"csv": CsvSource, "jsonl": JsonLinesSource, "parquet": ParquetSource}
    state = SQLiteBackend(source.with_name("state.db"))
    return (
        Pipeline(sources[kind](source), name="resume")
        .map(_divide)
        .filter(lambda record: int(record["id"]) % 100 == 0)
        .to(JsonLinesSink(source.with_name("out.jsonl")))
        .build(checkpoint_store=CheckpointStore(state), dlq=StateDLQSink(state))
    )


def _divide(record: dict[str, Any]) -> dict[str, Any]:
    record["share"] = 1 / (int(record["id"]) % 1_000)
    return record


def _rows() -> Iterator[tuple[int, str]]:
    return ((number, f"text of some length, such as records have, {number:08}") for number in range(CHUNK))


def _repeated(path: Path, size: int, head: bytes, chunk: bytes) -> tuple[Path, int]:
    times = max(1, round(size / len(chunk)))
    with path.open("wb") as file:
        file.write(head)
        file.writelines(itertools.repeat(chunk, times))
    return path, times * CHUNK


def _write_csv(path: Path, size: int) -> tuple[Path, int]:
    return _repeated(path, size, b"id,text\n", "".join(f'{n},"{text}"\n' for n, text in _rows()).encode())


def _write_jsonl(path: Path, size: int) -> tuple[Path, int]:
    chunk = "".join(f'{{"id":{n},"text":"{text}"}}\n' for n, text in _rows()).encode()
    return _repeated(path, size, b"", chunk)


def _write_parquet(path: Path, size: int) -> tuple[Path, int]:
    numbers, texts = zip(*_rows(), strict=True)
    table = pa.table({"id": numbers, "text": texts})
    times = 0
    with pq.ParquetWriter(path, table.schema, compression="none", use_dictionary=False) as writer:
        while times * table.nbytes < size:
            writer.write_table(table, row_group_size=GROUP_ROWS)
            times += 1
    return path, times * CHUNK


WRITERS: Mapping[str, Callable[[Path, int], tuple[Path, int]]] = {
    "csv": _write_csv,
    "jsonl": _write_jsonl,
    "parquet": _write_parquet,
}
