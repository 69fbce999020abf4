"""What `Pipeline.build` refuses of its options: pure checks, which find every problem and raise none."""

import math

from agora.backpressure import Backpressure

__all__ = ["kind_problems", "number_problems"]


def kind_problems(store: object, backpressure: object, tracer: object) -> list[str]:
    """What isn't the kind of object that its option takes; parts are duck-typed, by their methods."""
    problems = []
    if store is not None and not _has(store, "load", "save"):
        problems.append(
            f"checkpoint_store={store!r}: expected an object with load and save, such as CheckpointStore(state)"
        )
    if backpressure is not None and not isinstance(backpressure, Backpressure):
        problems.append(
            f"backpressure={backpressure!r}: expected Backpressure.fixed(…) or Backpressure.adaptive(…)"
        )
    if tracer is not None and not (_has(tracer, "span") and hasattr(tracer, "enabled")):
        problems.append(f"tracer={tracer!r}: expected an object with span and enabled, such as NoopTracer()")
    return problems


def _has(candidate: object, *methods: str) -> bool:
    return not isinstance(candidate, type) and all(
        callable(getattr(candidate, method, None)) for method in methods
    )


def number_problems(
    every: object, interval: object, batch_size: object, linger: object, max_dead_letters: object
) -> list[str]:
    """Which numbers that `build` was given are none of those that it takes."""
    problems = []
    if every is not None and not _whole(every):
        problems.append(f"checkpoint_every={every!r}: expected a whole number of records from 1")
    if interval is not None and not (_number(interval) and interval > 0):  # type: ignore[operator]  # a number by then
        problems.append(f"checkpoint_interval={interval!r}: expected seconds above 0")
    if not _whole(batch_size):
        problems.append(f"batch_size={batch_size!r}: expected a whole number of records from 1")
    if not (_number(linger) and linger >= 0):  # type: ignore[operator]  # a number by then
        problems.append(f"linger={linger!r}: expected seconds from 0")
    if max_dead_letters is not None:
        share = isinstance(max_dead_letters, float) and 0 <= max_dead_letters <= 1
        count = (
            isinstance(max_dead_letters, int)
            and not isinstance(max_dead_letters, bool)
            and max_dead_letters >= 0
        )
        if not (share or count):
            problems.append(
                f"max_dead_letters={max_dead_letters!r}: expected a count from 0, or a share from 0.0 to 1.0"
            )
    return problems


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
