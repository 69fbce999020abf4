"""A crash drill: a pipeline is killed with SIGKILL again and again, and still delivers everything, once and in order.

    python examples/crash_drill/drill.py [--records N] [--kills N] [--seed N]

It writes a CSV file, runs the pipeline undisturbed for reference, then in a child process that it kills at
random moments and starts anew until the run completes; then it "repairs" the step that failed for some records,
replays the dead letters, and compares with the reference. The exit code is 1 where they differ.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import attrs
import trio

from agora import BoundPipeline, DLQRecord, Pipeline
from agora.sinks import JsonLinesSink
from agora.sources import CsvSource
from agora.state import CheckpointStore, SQLiteBackend, StateDLQSink

Order = dict[str, Any]

BROKEN = 97
"""Every so many orders have a currency that the step doesn't know before it is repaired."""


@attrs.frozen
class Convert:
    """Converts to euros; before it is repaired it doesn't know the krona."""

    repaired: bool

    async def process(self, order: Order) -> Order:
        await trio.sleep(0.001)
        rates = {"EUR": 1.0, "USD": 0.86, "GBP": 1.15} | ({"SEK": 0.091} if self.repaired else {})
        return order | {"euros": round(order["amount"] * rates[order["currency"]], 2)}


def pipeline(directory: Path, run: str, *, repaired: bool) -> BoundPipeline[Order]:
    """The pipeline; `run` names its output and its state."""
    state = SQLiteBackend(directory / f"{run}.db")
    return (
        Pipeline(CsvSource(directory / "orders.csv", types={"id": int, "amount": float}), name="orders")
        .filter(lambda order: order["amount"] >= 1)
        .pipe(Convert(repaired), concurrency=50)
        .to(JsonLinesSink(directory / f"{run}.jsonl"), name="orders")
        .build(
            checkpoint_store=CheckpointStore(state),
            checkpoint_every=500,
            dlq=StateDLQSink(state),
        )
    )


def write_orders(path: Path, records: int) -> None:
    with path.open("w") as file:
        file.write("id,amount,currency\n")
        for number in range(records):
            currency = "SEK" if number % BROKEN == 0 else ("EUR", "USD", "GBP")[number % 3]
            file.write(f"{number},{number % 1_000},{currency}\n")


@attrs.frozen
class Drill:
    """One drill in a directory of its own."""

    directory: Path
    records: int
    kills: int
    chance: random.Random

    def carry_out(self) -> bool:
        """Whether the killed runs delivered what an undisturbed one does."""
        write_orders(self.directory / "orders.csv", self.records)
        say(f"1. reference: one undisturbed run over {self.records:,} orders")
        reference = trio.run(pipeline(self.directory, "reference", repaired=False).run)
        say(f"   written {reference.written:,}, dead-lettered {reference.dead_lettered:,}")

        say("2. the same pipeline in a child process, killed at random moments")
        self._run_until_done()

        say("3. compare: output and dead letters of both")
        if not (self._same_output() and self._same_letters()):
            return False

        say("4. the step is repaired; the dead letters are replayed, in both")
        for run in ("reference", "drill"):
            summary = trio.run(pipeline(self.directory, run, repaired=True).replay)
            say(f"   {run}: delivered {summary.written:,} of {summary.read:,} letters")
        return self._same_output() and self._nothing_missing()

    def _run_until_done(self) -> None:
        """Start, kill, start anew; after the last kill, let it complete."""
        output = self.directory / "drill.jsonl"
        for attempt in range(1, self.kills + 2):
            child = subprocess.Popen([sys.executable, __file__, "--child", str(self.directory)])
            if attempt <= self.kills:
                self._wait_for_the_moment(child, output)
                child.kill()
            code = child.wait()
            lines = f"{count_lines(output):,} lines in the file"
            if code == 0:
                say(f"   run {attempt}: completed; {lines}")
                return
            if code != -signal.SIGKILL:
                raise SystemExit(f"run {attempt} ended with {code}, and nobody killed it")
            say(f"   run {attempt}: killed; {lines}")

    def _wait_for_the_moment(self, child: "subprocess.Popen[bytes]", output: Path) -> None:
        """Mostly until some more was written, sometimes a moment of the start; at random."""
        if self.chance.random() < 0.2:
            time.sleep(self.chance.uniform(0, 0.5))
            return
        share = self.chance.uniform(0, 1.5) / (self.kills + 1)
        enough = size_of(output) + share * size_of(self.directory / "reference.jsonl")
        while child.poll() is None and size_of(output) <= enough:
            time.sleep(0.001)
        time.sleep(self.chance.uniform(0, 0.02))

    def _same_output(self) -> bool:
        reference, drill = (
            (self.directory / f"{run}.jsonl").read_bytes().splitlines() for run in ("reference", "drill")
        )
        return told(
            reference == drill, f"{len(drill):,} lines, equal in content and order", "the output differs"
        )

    def _same_letters(self) -> bool:
        reference, drill = (trio.run(letters, self.directory, run) for run in ("reference", "drill"))
        return told(reference == drill, f"{len(drill):,} dead letters, equal", "the dead letters differ")

    def _nothing_missing(self) -> bool:
        with (self.directory / "drill.jsonl").open() as lines:
            found = sorted(json.loads(line)["id"] for line in lines)
        expected = [number for number in range(self.records) if number % 1_000 >= 1]
        left = trio.run(letters, self.directory, "drill")
        return told(
            found == expected and not left,
            f"every order is there once, {len(left)} letters are left",
            "orders are missing, doubled, or still dead letters",
        )


async def letters(directory: Path, run: str) -> list[tuple[Any, str, str]]:
    """What there is of dead letters, without what differs from run to run."""
    state = SQLiteBackend(directory / f"{run}.db")
    await state.open()
    try:
        found: list[DLQRecord] = [letter async for letter in StateDLQSink(state).read("orders")]
    finally:
        await state.close()
    return [(letter.original, letter.stage, letter.error_message) for letter in found]


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def told(held: bool, good: str, bad: str) -> bool:
    say(f"   {good}" if held else f"   MISMATCH: {bad}")
    return held


def say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        trio.run(pipeline(options.child, "drill", repaired=False).run)
        return 0
    with tempfile.TemporaryDirectory() as directory:
        drill = Drill(Path(directory), options.records, options.kills, random.Random(options.seed))
        held = drill.carry_out()
    say("the drill held" if held else "the drill FAILED")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
