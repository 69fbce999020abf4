"""Run the contenders of one or more workloads in turn, and hold agora to its targets."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.comparison import Comparison
from benchmarks.deduplicate import deduplicate
from benchmarks.guard import REFERENCE, fallen, ratios
from benchmarks.report import machine, plot, show, show_targets, write_section
from benchmarks.resume import resume
from benchmarks.session import InMemoryError, Result, Session
from benchmarks.store import keep, kept
from benchmarks.targets import judged
from benchmarks.workloads import WORKLOADS, having, labels, selected

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
OF_ITSELF: Mapping[str, Callable[[bool, Path], Sequence[Comparison]]] = {
    "resume": lambda full, directory: resume(full=full, directory=directory),
    "deduplicate": lambda full, directory: deduplicate(full=full, directory=directory)[0],
}
"""Figures without a rival: agora on more against agora on less."""


def main() -> int:
    """The exit code: 1 where `--check` was given and a target was missed, 2 where it can't be measured here."""
    parser = _parser()
    options = parser.parse_args()
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be from 1")
    try:
        names = [name for name in options.names if name not in OF_ITSELF]
        workloads = [] if not names and (options.report or options.names) else selected(names)
    except KeyError as error:
        parser.error(
            f"unknown workload {error}: one of {', '.join([*(one.name for one in WORKLOADS), *OF_ITSELF])}"
        )
    if options.only:
        try:
            workloads = having(workloads, options.only)
        except KeyError as error:
            parser.error(
                f"unknown contender {error} of these workloads: one of {', '.join(labels(workloads))}"
            )
    session = Session(
        directory=options.directory,
        full=options.full,
        rounds=options.rounds or (5 if options.full or options.guard else 1),
        records=options.records,
        only=options.only or (),
        tell=lambda line: print(line, file=sys.stderr, flush=True),
    )
    console = Console(width=None if sys.stdout.isatty() else 150)
    if options.guard:
        return _guard(session, accept=options.accept)
    console.print(machine(), highlight=False)
    saved = options.directory / "results"
    results: list[Result] = []
    for workload in workloads:
        try:
            results.append(session.measure(workload))
        except InMemoryError as error:
            print(f"{workload.name}: {error}", file=sys.stderr)
            return 2
        keep(saved, results[-1])
        show(console, results[-1])
    if options.report:
        results = kept(saved)
    outcomes = judged({result.workload.name: result for result in results})
    if outcomes:
        show_targets(console, outcomes)
    if options.plot:
        plot(options.plot, results)
    if options.report:
        plot(PAGE.with_suffix(".svg"), results)
        write_section(PAGE, results, outcomes)
    missed = sum(not outcome.met for outcome in outcomes)
    options.directory.mkdir(parents=True, exist_ok=True)
    for name in OF_ITSELF if not options.names and not options.report else options.names:
        for comparison in OF_ITSELF[name](options.full, options.directory) if name in OF_ITSELF else ():
            console.print(str(comparison), highlight=False)
            missed += not comparison.met
    return 1 if options.check and missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="WORKLOAD",
        help=f"such as W1 or W6-100, or {' or '.join(OF_ITSELF)}; else all",
    )
    parser.add_argument("--full", action="store_true", help="the sizes that the targets are meant for")
    parser.add_argument(
        "--check", action="store_true", help="exit with 1 where a target is missed or not measured"
    )
    parser.add_argument("--rounds", type=int, help="rounds that are timed (default: 1, with --full 5)")
    parser.add_argument("--records", type=int, help="size of the input, in place of the workload's own")
    parser.add_argument("--only", action="append", metavar="LABEL", help="a contender; may be given again")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="a picture, .svg or .png")
    parser.add_argument(
        "--report",
        action="store_true",
        help="put all that was measured on this machine into docs/performance.md; without names, measure nothing",
    )
    parser.add_argument("--guard", action="store_true", help=f"compare W1 and W4 with {REFERENCE.name}")
    parser.add_argument("--accept", action="store_true", help="with --guard: write that file")
    parser.add_argument(
        "--directory",
        type=Path,
        default=HERE / "data",
        help="for inputs, outputs and environments; on a disk (default: %(default)s)",
    )
    return parser


def _guard(session: Session, *, accept: bool) -> int:
    measured = ratios(session)
    if accept:
        REFERENCE.write_text(json.dumps(measured, indent=2) + "\n")
    for name, ratio in measured.items():
        print(f"{name}: {ratio}")
    lost = fallen(measured)
    for name in lost:
        print(f"{name} fell by more than 15 %", file=sys.stderr)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
