"""What checkpoints cost: the same run with one every 10,000 records, and without.

A barrier is two or three fsyncs and little CPU, so the disk decides: the figure is taken on one, with its fsync
latency beside it, and refused on a file system in memory, where it would flatter.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from agora import Pipeline
from agora.sinks import JsonLinesSink, NullSink
from agora.sources import CsvSource
from agora.state import CheckpointStore, SQLiteBackend
from benchmarks.files import add_euros, is_large, write_orders
from benchmarks.rounds import Comparison, interleaved

__all__ = ["InMemoryError", "checkpoints", "file_system"]

EVERY = 10_000
"""Records between two checkpoints."""
BATCH = 500
"""Records between two barriers, where their CPU is measured; also the batch, so that both runs cut alike."""
_MEMORY = ("tmpfs", "ramfs", "devtmpfs")


class InMemoryError(Exception):
    """The directory is on a file system in memory."""


def checkpoints(*, full: bool, rounds: int, directory: Path) -> list[Comparison]:
    """At least 0.85 times the speed of the run without checkpoints. Prints what a barrier is made of."""
    records = 1_000_000 if full else 100_000
    kind = file_system(directory)
    if kind in _MEMORY:
        raise InMemoryError(
            f"{directory} is on {kind}, where an fsync costs nothing: give --directory on a disk"
        )
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        here = Path(folder)
        source = here / "orders.csv"
        write_orders(source, records)
        before = _fsync_latency(here)
        comparisons = interleaved(
            "checkpoints",
            {
                "every 10,000": lambda: _run(source, here, JsonLinesSink(here / "saved.jsonl"), every=EVERY),
                "without": lambda: _run(source, here, JsonLinesSink(here / "plain.jsonl"), every=None),
            },
            rounds=rounds,
            targets={"without": 0.85},
            records=records,
        )
        print(f"  fsync on {kind}, before the runs {before}, after them {_fsync_latency(here)}")
        few = here / "few.csv"
        write_orders(few, 100_000)
        for sink in (lambda: JsonLinesSink(here / "barriers.jsonl"), NullSink):
            print(
                f"  CPU of one barrier, {sink().__class__.__name__}: {_cpu_of_a_barrier(few, here, sink, rounds)}"
            )
    return comparisons


def file_system(directory: Path) -> str:
    """The kind of file system that the directory is on; empty where the machine doesn't tell."""
    mounts = Path("/proc/self/mountinfo")
    if not mounts.exists():
        return ""
    real = os.path.realpath(directory)
    best, kind = "", ""
    for line in mounts.read_text().splitlines():
        fields, _, more = line.partition(" - ")
        mount = fields.split()[4].encode().decode("unicode_escape")
        if len(mount) >= len(best) and os.path.commonpath([mount, real]) == mount:
            best, kind = mount, more.split()[0]
    return kind


def _fsync_latency(directory: Path) -> str:
    """Median and worst of 50 fsyncs of 4 KiB each, appended as a sink appends."""
    seconds = []
    with (directory / "fsync").open("wb", buffering=0) as handle:
        for _ in range(50):
            handle.write(bytes(4096))
            began = time.perf_counter()
            os.fsync(handle.fileno())
            seconds.append(time.perf_counter() - began)
    return f"{statistics.median(seconds) * 1e3:.2f} ms (worst of 50: {max(seconds) * 1e3:.1f})"


def _run(source: Path, here: Path, sink: Any, *, every: int | None, **options: Any) -> "_Written":
    target = getattr(sink, "path", None)
    for old in (here / "state.db", target):
        if old is not None:
            old.unlink(missing_ok=True)
    pipeline = (
        Pipeline(CsvSource(source, types={"amount": float}), name="orders")
        .filter(is_large)
        .map(add_euros)
        .to(sink)
    )
    if every is None:
        trio.run(pipeline.build(**options).run)
    else:
        store = CheckpointStore(SQLiteBackend(here / "state.db"))
        trio.run(pipeline.build(checkpoint_store=store, checkpoint_every=every, **options).run)
    return _Written(target)


@attrs.frozen(eq=False)
class _Written:
    """A written file, compared byte for byte, and read only then."""

    path: Path | None

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, _Written)
        assert self.path is not None
        assert other.path is not None
        return self.path.read_bytes() == other.path.read_bytes()

    __hash__ = None  # type: ignore[assignment]  # it isn't a value


def _cpu_of_a_barrier(source: Path, here: Path, sink: Callable[[], Any], rounds: int) -> str:
    """CPU of the whole process, of a run with a barrier behind each batch less that of one without, a barrier."""
    barriers = 100_000 // BATCH
    costs = []
    for _ in range(max(3, rounds)):
        with _cpu() as saved:
            _run(source, here, sink(), every=BATCH, batch_size=BATCH)
        with _cpu() as plain:
            _run(source, here, sink(), every=None, batch_size=BATCH)
        costs.append((saved[0] - plain[0]) / barriers)
    return f"{statistics.median(costs) * 1e6:.0f} µs (median of {_listed(costs)})"


def _listed(costs: Sequence[float]) -> str:
    return ", ".join(f"{cost * 1e6:.0f}" for cost in costs)


@contextmanager
def _cpu() -> Iterator[list[float]]:
    began = time.process_time()
    spent: list[float] = []
    yield spent
    spent.append(time.process_time() - began)
