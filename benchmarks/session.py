"""One session: the data are made, outputs compared, contenders run in turn."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import attrs

from benchmarks.compare import difference
from benchmarks.data import made
from benchmarks.disk import IN_MEMORY, file_system, fsync_latency
from benchmarks.environments import ROOT, interpreter
from benchmarks.measure import Command, Cost, Failed, NotAvailable, interleaved, pinned_cores, run
from benchmarks.workloads import OWN_ENVIRONMENT, Entry, Workload

__all__ = ["InMemoryError", "Result", "Session"]


class InMemoryError(Exception):
    """The directory is on a file system in memory."""


@attrs.frozen(kw_only=True)
class Result:
    """What came of one workload."""

    workload: Workload
    records: int
    costs: Mapping[str, Sequence[Cost]]
    """By entry, one a round."""
    refused: Mapping[str, str]
    """By entry: why it wasn't timed."""
    disk: str = ""


@attrs.frozen(kw_only=True)
class Session:
    """Where it works, how large the inputs are, how many rounds, and who may take part."""

    directory: Path
    full: bool = False
    rounds: int = 5
    records: int | None = None
    only: Sequence[str] = ()
    """Labels of entries; all, where there is none."""
    tell: Callable[[str], None] = attrs.field(default=lambda _: None)

    def measure(self, workload: Workload) -> Result:
        """Raises `InMemoryError` where the workload needs a disk."""
        records = workload.full if self.full else workload.small
        if self.records and not workload.fixed:
            records = self.records
        kind = file_system(self.directory) if workload.on_disk else ""
        if kind in IN_MEMORY:
            raise InMemoryError(
                f"{self.directory} is on {kind}, where an fsync costs nothing: give --directory on a disk"
            )
        source = made(workload.make, self.directory / f"{workload.data}-{records}.{workload.suffix}", records)
        scratch = self.directory / "out"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        before = fsync_latency(scratch) if workload.on_disk else ""
        runs: dict[str, Callable[[], Cost]] = {}
        refused: dict[str, str] = {}
        reference: Path | None = None
        for entry in workload.entries:
            if self.only and entry.label not in self.only:
                continue
            target = scratch / f"{entry.label.replace(' ', '-').replace(',', '')}.{workload.output}"
            self.tell(f"{workload.name}: {entry.label}")
            once = partial(self._once, entry, source, target)
            try:
                if len(workload.entries) > 1:  # warms up, and is compared
                    once()
                if entry.compared and reference is not None and (found := difference(reference, target)):
                    refused[entry.label] = f"differs: {found}"
                    continue
            except NotAvailable as reason:
                refused[entry.label] = f"not available: {reason}"
            except (Failed, OSError, subprocess.CalledProcessError) as error:
                refused[entry.label] = f"failed: {error}"
            else:
                runs[entry.label] = once
                reference = target if reference is None and entry.compared else reference
        self.tell(f"{workload.name}: {len(runs)} in turn, {self.rounds} rounds")
        costs = interleaved(runs, self.rounds)
        disk = f"fsync on {kind}: before {before}, after {fsync_latency(scratch)}" if workload.on_disk else ""
        shutil.rmtree(scratch, ignore_errors=True)
        return Result(workload=workload, records=records, costs=costs, refused=refused, disk=disk)

    def _once(self, entry: Entry, source: Path, target: Path) -> Cost:
        for old in target.parent.glob(f"{target.stem}.*"):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        command = Command(
            arguments=self._arguments(entry, source, target),
            log=target.with_suffix(".log.txt"),
            directory=ROOT,
        )
        return run(command, pinned_cores())

    def _arguments(self, entry: Entry, source: Path, target: Path) -> list[str]:
        if entry.arguments:
            return [sys.executable, *(argument.format(source=source) for argument in entry.arguments)]
        python = [sys.executable]
        if entry.module in OWN_ENVIRONMENT:
            packages = OWN_ENVIRONMENT[entry.module]
            python = [str(interpreter(entry.module, packages, self.directory / "environments")), "-P"]
        return [
            *python,
            "-m",
            "benchmarks.contenders",
            entry.module,
            entry.task,
            str(source),
            str(target),
            *(f"{name}={json.dumps(value)}" for name, value in entry.options.items()),
        ]
