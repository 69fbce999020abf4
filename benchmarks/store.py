"""What was measured is kept, a file a workload, so that a report may be made of several sessions on one machine."""

import json
from pathlib import Path

import attrs

from benchmarks.measure import Cost
from benchmarks.session import Result
from benchmarks.workloads import WORKLOADS

__all__ = ["keep", "kept"]


def keep(directory: Path, result: Result) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    fields = {
        "records": result.records,
        "costs": {label: [attrs.asdict(cost) for cost in costs] for label, costs in result.costs.items()},
        "refused": dict(result.refused),
        "disk": result.disk,
    }
    (directory / f"{result.workload.name}.json").write_text(json.dumps(fields, indent=1))


def kept(directory: Path) -> list[Result]:
    """In the order of the workloads."""
    results = []
    for workload in WORKLOADS:
        path = directory / f"{workload.name}.json"
        if path.exists():
            fields = json.loads(path.read_text())
            costs = {
                label: [Cost(**cost) for cost in all_costs]
                for label, all_costs in fields.pop("costs").items()
            }
            results.append(Result(workload=workload, costs=costs, **fields))
    return results
