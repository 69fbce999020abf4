"""Deduplicate at ten million keys: `python -m benchmarks.deduplicate --full`, on a disk.

What a barrier costs must depend on what has changed since the last one, not on how many keys there are. So the
median of the barriers near the hundredth part of the keys is compared with that of the last ones, in one run, each
with the same number of new keys; and nothing may stop the loop meanwhile, a growing table and Python's garbage
collector among it. Cuts and stops are measured in CPU time of the loop's thread, since another process that has the
core is nothing of ours; barriers by the clock, with their fsyncs.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from agora import Pipeline
from agora.checkpoint import Checkpoint
from agora.middlewares import Deduplicate
from agora.runtime.stepstate import StepState
from agora.sinks import NullSink
from agora.sources.base import Block, Demand
from agora.state import CheckpointStore, SQLiteBackend
from benchmarks.comparison import Comparison

__all__ = ["deduplicate"]

EVERY = 10_000
"""New keys between two barriers."""
BLOCK = 2_048


def deduplicate(*, full: bool, directory: Path) -> tuple[list[Comparison], dict[str, Any]]:
    """The figures with their targets, and all that was measured. `directory`: on a disk."""
    keys = 10_000_000 if full else 500_000
    with tempfile.TemporaryDirectory(dir=directory) as here:
        filled = _in_process("fill", keys, Path(here))
        opened = _in_process("open", keys, Path(here))
    few, many = filled["barrier few"], filled["barrier many"]
    size = f"{keys:,} keys"
    found = [
        Comparison(
            name="barrier",
            what=f"{many * 1000:.1f} ms at {size}, {few * 1000:.1f} ms at {_few(keys) * EVERY * 3 // 2:,}",
            ratio=many / few,
            target=2.0,
            at_most=True,
        ),
        Comparison(
            name="cut",
            what=f"{filled['cut many'] * 1000:.2f} ms at {size}, of which nothing else waits",
            ratio=filled["cut many"] / filled["cut few"],
            target=2.0,
            at_most=True,
        ),
        Comparison(
            name="longest stop",
            what=f"of the loop, s of CPU: {filled['stop']:.3f} filling {size}, {opened['stop']:.3f} opening them",
            ratio=max(filled["stop"], opened["stop"]),
            target=0.1,
            at_most=True,
        ),
        Comparison(
            name="bytes a key",
            what=f"{filled['peak'] >> 20:,} MiB at {size}, {opened['peak'] >> 20:,} MiB when opened again",
            ratio=max(filled["peak"], opened["peak"]) / keys,
            target=200 if full else 400,  # the process itself counts among few
            at_most=True,
        ),
        Comparison(
            name="records/s",
            what=f"of CPU; {size} in {filled['seconds']:.1f} s; slowest barrier "
            f"{filled['barrier slowest'] * 1000:.0f} ms",
            ratio=keys / filled["cpu"],
            target=100_000,
            at_most=False,
        ),
        Comparison(
            name="keys/s to open",
            what=f"of CPU; {size} in {opened['seconds']:.1f} s",
            ratio=keys / opened["cpu"],
            target=300_000 if full else 200_000,
            at_most=False,
        ),
    ]
    return found, {"fill": filled, "open": opened}


def _in_process(what: str, keys: int, directory: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.deduplicate", what, str(keys), str(directory)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@attrs.define(eq=False)
class Keys:
    """Records with a new key each, in no order that a table would like."""

    count: int
    supports_checkpoint: bool = True
    _at: int = 0

    async def stream(self) -> AsyncGenerator[dict[str, Any]]:
        async for block in self.blocks(None):
            for row in block.rows:
                yield row

    async def blocks(self, demand: Demand | None) -> AsyncGenerator[Block]:
        while self._at < self.count:
            start, stop = self._at, min(self._at + BLOCK, self.count)
            self._at = stop
            await trio.lowlevel.checkpoint()
            rows = [{"id": f"order-{number * 7_919 % 1_000_000_007:010}"} for number in range(start, stop)]
            yield Block(rows, position=lambda row, start=start: start + row)  # type: ignore[misc]  # bound now

    def checkpoint(self) -> int:
        return self._at

    async def prepare_resume(self, position: Any) -> None:
        self._at = position or 0

    def identity(self) -> str:
        return "keys"


@attrs.define(eq=False)
class Watch(trio.abc.Instrument):
    """The longest turn of the loop: how long nothing else could run. In CPU time, and by the clock."""

    longest: float = 0.0
    longest_by_clock: float = 0.0
    _began: float = attrs.field(factory=time.thread_time)
    _began_by_clock: float = attrs.field(factory=time.perf_counter)

    def after_io_wait(self, timeout: float) -> None:
        self._began, self._began_by_clock = time.thread_time(), time.perf_counter()

    def before_io_wait(self, timeout: float) -> None:
        self.longest = max(self.longest, time.thread_time() - self._began)
        self.longest_by_clock = max(self.longest_by_clock, time.perf_counter() - self._began_by_clock)


@attrs.frozen
class TimedStore(CheckpointStore):
    """Notes how long each save took."""

    seconds: list[float] = attrs.field(factory=list)

    async def save(self, pipeline: str, checkpoint: Checkpoint, **more: Any) -> None:
        began = time.perf_counter()
        await super().save(pipeline, checkpoint, **more)
        self.seconds.append(time.perf_counter() - began)


@contextmanager
def _timed_cuts() -> Iterator[list[float]]:
    seconds: list[float] = []
    cut = StepState.cut

    def timed(self: StepState) -> Any:
        began = time.thread_time()
        result = cut(self)
        seconds.append(time.thread_time() - began)
        return result

    StepState.cut = timed  # type: ignore[method-assign]  # of this process, which does nothing else
    yield seconds


def _bound(keys: int, directory: Path) -> tuple[Any, TimedStore]:
    store = TimedStore(SQLiteBackend(directory / "state.db"))
    pipeline = Pipeline(Keys(keys), name="keys").pipe(Deduplicate("id", ttl=86_400)).to(NullSink())
    return pipeline.build(checkpoint_store=store, checkpoint_every=EVERY), store


async def _fill(keys: int, directory: Path) -> dict[str, Any]:
    bound, store = _bound(keys, directory)
    watch = Watch()
    trio.lowlevel.add_instrument(watch)
    began, cpu = time.perf_counter(), time.process_time()
    with _timed_cuts() as cuts:
        summary = await bound.run()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    assert summary.written == keys, summary
    few = _few(keys)
    return {
        "seconds": seconds,
        "cpu": cpu,
        **_stops(watch),
        "peak": _high_water(),
        "file": (directory / "state.db").stat().st_size,
        "barrier few": statistics.median(store.seconds[few : 2 * few]),
        "barrier many": statistics.median(store.seconds[-2 * few : -1]),
        "barrier slowest": max(store.seconds),
        "cut few": statistics.median(cuts[few : 2 * few]),
        "cut many": statistics.median(cuts[-2 * few : -1]),
        "cut slowest": max(cuts),
    }


async def _open(keys: int, directory: Path) -> dict[str, Any]:
    bound, _ = _bound(keys, directory)
    watch = Watch()
    trio.lowlevel.add_instrument(watch)
    began, cpu = time.perf_counter(), time.process_time()
    async with trio.open_nursery() as nursery:
        handle = await nursery.start(bound.run)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        assert (await handle.wait()).read == 0
    return {"seconds": seconds, "cpu": cpu, **_stops(watch), "peak": _high_water()}


def _few(keys: int) -> int:
    """The first of the early barriers that are compared, which are as many, and the number of late ones."""
    return max(keys // 100 // EVERY, 5)


def _stops(watch: Watch) -> dict[str, float]:
    return {"stop": watch.longest, "stop by clock": watch.longest_by_clock}


def _high_water() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM: this benchmark needs Linux")


def main(arguments: Sequence[str]) -> int:
    if arguments[:1] in (["fill"], ["open"]):
        what, keys, directory = arguments
        work = _fill if what == "fill" else _open
        print(json.dumps(trio.run(work, int(keys), Path(directory))))
        return 0
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deduplicate", description=__doc__)
    parser.add_argument("--full", action="store_true", help="ten million keys")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    parser.add_argument("--directory", type=Path, default=Path(__file__).parent / "data", help="on a disk")
    options = parser.parse_args(arguments)
    options.directory.mkdir(parents=True, exist_ok=True)
    found, measured = deduplicate(full=options.full, directory=options.directory)
    for comparison in found:
        print(comparison)
    print(json.dumps(measured))
    return 1 if options.check and not all(comparison.met for comparison in found) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
