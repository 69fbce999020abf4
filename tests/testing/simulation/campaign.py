"""Many seeds over all pipelines, in as many processes as there are processors:

    python -m tests.testing.simulation.campaign --seeds 10000 [--first 0] [--jobs 2] [NAME …]

`--replay` with one seed and one name shows the trace.
"""

import argparse
import contextlib
import itertools
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from agora.testing.simulation import Simulation

__all__ = ["NAMES", "failure", "run"]

sys.path.insert(0, str(Path(__file__).parents[2] / "runtime"))  # for the model, as pytest has it

from .catalogue import SCENARIOS
from .model_pipeline import ModelPipeline

_RANDOM = "drawn from the seed"
NAMES: Sequence[str] = (*SCENARIOS, _RANDOM)


def run(name: str, seed: int) -> Simulation:
    """One simulation."""
    return ModelPipeline(seed).simulate() if name == _RANDOM else SCENARIOS[name].simulate(seed)


def failure(name: str, seed: int) -> str | None:
    """What one simulation says that is wrong."""
    try:
        run(name, seed)
    except Exception as error:
        return f"{name}, seed {seed}: {type(error).__name__}: {error}"
    return None


def _all(names: Sequence[str], first: int, seeds: int) -> Iterator[tuple[str, int]]:
    """Simulations one after the other; each seed is one simulation, the names take turns."""
    return zip(itertools.cycle(names), range(first, first + seeds), strict=False)


def _failure(pair: tuple[str, int]) -> str | None:
    return failure(*pair)


def main() -> int:
    parser = argparse.ArgumentParser(description="simulate the built-in parts")
    parser.add_argument("names", nargs="*", default=list(NAMES), help=f"of {', '.join(NAMES)}")
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--replay", action="store_true", help="show the trace of the first seed")
    options = parser.parse_args()
    if options.replay:
        print(run(options.names[0], options.first).trace)
        return 0
    began, failures = time.monotonic(), 0
    with ProcessPoolExecutor(options.jobs) as pool:
        work = _all(options.names, options.first, options.seeds)
        for number, found in enumerate(pool.map(_failure, work, chunksize=20), 1):
            if found is not None:
                failures += 1
                print(found, end="\n\n", flush=True)
            if number % 1_000 == 0:
                rate = number / (time.monotonic() - began) * 60
                print(f"{number} simulations, {rate:,.0f} a minute, {failures} failures", flush=True)
    print(f"{options.seeds} simulations in {time.monotonic() - began:.0f} s, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
