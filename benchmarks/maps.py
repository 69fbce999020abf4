"""Five trivial maps in memory: what the engine itself costs a record, against nested calls written by hand."""

import trio

from agora import Pipeline
from agora.sinks import MemorySink
from agora.sources import IterableSource
from benchmarks.rounds import Comparison, interleaved

__all__ = ["maps"]


def maps(*, full: bool, rounds: int) -> list[Comparison]:
    """At least half the speed of `five(four(three(two(one(x)))))` in a loop."""
    numbers = list(range(1_000_000 if full else 200_000))

    def agora() -> list[int]:
        sink = MemorySink()
        pipeline = Pipeline(IterableSource(numbers), name="maps")
        for step in (_one, _two, _three, _four, _five):
            pipeline = pipeline.map(step)
        trio.run(pipeline.to(sink).build().run)
        return sink.records

    def by_hand() -> list[int]:
        results = []
        for number in numbers:
            results.append(_five(_four(_three(_two(_one(number))))))  # noqa: PERF401  - a plain loop is the rival
        return results

    return interleaved(
        "five maps",
        {"agora": agora, "nested calls": by_hand},
        rounds=rounds,
        targets={"nested calls": 0.5},
        records=len(numbers),
    )


def _one(number: int) -> int:
    return number + 1


def _two(number: int) -> int:
    return number * 3


def _three(number: int) -> int:
    return number - 2


def _four(number: int) -> int:
    return number ^ 5


def _five(number: int) -> int:
    return number + 7
