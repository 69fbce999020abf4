"""Who takes part: a module each, with a function for each task that it can do, `task(source, target, **options)`.

`python -m benchmarks.contenders MODULE TASK SOURCE TARGET [OPTION=VALUE …]` does one task in a process of its own;
which workload starts which stands in `benchmarks/workloads.py`. A module imports what it needs at the top: imports
are part of what a process costs.
"""
