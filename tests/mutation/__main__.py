"""Mutants of agora/runtime, tried by its tests; fails on a survivor that survivors.toml doesn't explain.

    python -m tests.mutation                  every module, the most important ones first
    python -m tests.mutation tally barrier    these modules
    python -m tests.mutation --kept tally     goes on with the mutants and results of the last run
    python -m tests.mutation --again survived "too long"    tries those of the last run again that ended so and that
                                              survivors.toml doesn't explain

From the project's root; the mutants are in `mutants/`, a copy. Needs the packages of the group `mutation`.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from .ledger import KINDS, LEDGER, read, unexplained
from .making import COPY, Mutant, copy_tests, make, mutants

FIRST = tuple(
    """
barrier batch credits intake tally writer delivery letters segment walker loops buffered reading stepstate states
opening run stream replay interlude closing failing addressing envelopes columnar parts pace processes worker
""".split()  # noqa: SIM905  # as a list it would take thirty lines
)
"""What the rest of the modules comes behind."""

TESTS = (
    *("tests/runtime", "tests/test_pipeline.py", "tests/test_backpressure.py"),
    *("tests/test_columns.py", "tests/test_guarantees.py"),
)
RESULTS = COPY / "results.jsonl"


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _asked(arguments)
    if not asked.kept and not asked.again:
        shutil.rmtree(COPY, ignore_errors=True)
    if COPY.exists():
        copy_tests()
    else:
        make()
    caught, tried = mutants()
    wanted = {one.name: one for one in tried if not asked.modules or one.module in asked.modules}
    if not asked.summary:
        _try(_left(wanted.values(), asked.again), asked)
    return _report([one for one in caught if not asked.modules or one.module in asked.modules], wanted)


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.partition("\n")[0])
    parser.add_argument("modules", nargs="*", help="of agora.runtime; default: all")
    parser.add_argument("--seconds", type=float, default=6.0, help="of tests that a mutant has to survive")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--kept", action="store_true", help="go on with the last run's mutants and results")
    parser.add_argument("--again", nargs="+", default=[], help="try those again that ended so")
    parser.add_argument(
        "--summary", action="store_true", help="only tell the results there are (with --kept)"
    )
    parser.add_argument(
        "--also", nargs="*", default=[], help="parts of names of tests on the real clock to try, too"
    )
    return parser.parse_args(arguments)


def _results() -> dict[str, dict[str, str]]:
    if not RESULTS.exists():
        return {}
    return {said["name"]: said for said in map(json.loads, RESULTS.read_text().splitlines())}


def _left(wanted: Iterable[Mutant], again: Sequence[str]) -> list[str]:
    ends = {name: said["end"] for name, said in _results().items()}
    settled = {mutant for entry in read() for mutant in entry.mutants}
    left = [
        one
        for one in wanted
        if (ends.get(one.name) in again and one.named not in settled if again else one.name not in ends)
    ]
    left.sort(key=lambda one: FIRST.index(one.module) if one.module in FIRST else len(FIRST))
    return [one.name for one in left]


def _try(names: list[str], asked: argparse.Namespace) -> None:
    """In `asked.jobs` processes of pytest, which take turns with the names."""
    running = [
        _start(COPY / f"task{os.getpid()}-{job}.json", names[job :: asked.jobs], asked)
        for job in range(min(asked.jobs, len(names)))
    ]
    ends = [process.wait() for process in running]
    if any(ends):
        sys.exit("the tests could not be run")


def _start(task: Path, names: list[str], asked: argparse.Namespace) -> subprocess.Popen[bytes]:
    said = {"names": names, "seconds": asked.seconds, "results": RESULTS.name, "also": asked.also}
    task.write_text(json.dumps(said))
    options = ("-q", "-s", "-p", "tests.mutation.running", "-p", "no:randomly", "-p", "no:cacheprovider")
    here = {
        "PYTHONPATH": os.fspath(COPY.resolve()),
        "AGORA_MUTATION": task.name,
        "MUTANT_UNDER_TEST": "",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, *TESTS], cwd=COPY, env=os.environ | here
    )


def _report(caught: list[Mutant], tried: dict[str, Mutant]) -> int:
    ends = {name: said["end"] for name, said in _results().items() if name in tried}
    named = {name: one.named for name, one in tried.items()}
    survived = [named[name] for name, end in ends.items() if end == "survived"]
    entries = read()
    kinds = {mutant: entry.kind for entry in entries for mutant in entry.mutants}
    explained = Counter(kinds.get(one) or kinds.get(f"{one.partition(': ')[0]}: *") for one in survived)
    print(
        f"{len(caught) + len(tried)} mutants: {len(caught)} refused by the type checker, {len(ends)} tried:"
    )
    print(", ".join(f"{count} {end}" for end, count in Counter(ends.values()).most_common()))
    print(
        f"Of the survivors {LEDGER.name} explains:",
        {kind: explained[kind] for kind in KINDS if explained[kind]},
    )
    for one in sorted({named[name] for name in ends} & kinds.keys() - set(survived)):
        print(f"Explained, but killed: {one}")
    without = unexplained(survived, entries)
    for one in without:
        print(f"Not explained: {one}")
    if len(ends) < len(tried):
        print(f"Not tried: {len(tried) - len(ends)}")
    return int(bool(without) or len(ends) < len(tried))


if __name__ == "__main__":
    sys.exit(main())
