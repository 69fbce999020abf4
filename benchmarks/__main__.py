"""Run benchmarks and hold them to their targets."""

import argparse
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from benchmarks.buffered import buffered
from benchmarks.checkpoints import InMemoryError, checkpoints
from benchmarks.files import files
from benchmarks.maps import maps
from benchmarks.peak import peak
from benchmarks.resume import resume
from benchmarks.rounds import Comparison

BENCHMARKS: Mapping[str, Callable[..., list[Comparison]]] = {
    "buffered": buffered,
    "maps": maps,
    "files": files,
    "peak": peak,
    "checkpoints": checkpoints,
    "resume": resume,
}
ON_DISK = ("checkpoints", "resume")
"""Those whose figures mean something on a disk only, or whose files are large."""
DATA = Path(__file__).parent / "data"


def main() -> int:
    """The exit code: 1 where `--check` was given and a target was missed, 2 where one can't be measured here."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; else all")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    parser.add_argument("--full", action="store_true", help="the sizes that the targets are meant for")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that are timed (default: 5)")
    parser.add_argument(
        "--directory",
        type=Path,
        default=DATA,
        help="where those that need a disk put their files (default: %(default)s)",
    )
    options = parser.parse_args()
    unknown = set(options.names) - set(BENCHMARKS)
    if unknown or options.rounds < 1:
        parser.error(f"unknown benchmark {sorted(unknown)}" if unknown else "--rounds must be from 1")
    missed = 0
    for name in options.names or BENCHMARKS:
        benchmark = BENCHMARKS[name]
        if name in ON_DISK:
            options.directory.mkdir(parents=True, exist_ok=True)
            benchmark = partial(benchmark, directory=options.directory)
        try:
            comparisons = benchmark(full=options.full, rounds=options.rounds)
        except InMemoryError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 2
        for comparison in comparisons:
            print(comparison, flush=True)
            missed += not comparison.met
    return 1 if missed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
