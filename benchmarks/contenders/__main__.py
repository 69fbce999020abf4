"""Does one task of one contender, and tells how long the work took. Standard library only, as `harness`."""

import json
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.contenders.harness import NOT_AVAILABLE, WORK, clocked


class Hidden:
    """numpy and pandas can't be imported: no contender needs them, they are here for the plots and the flights.

    pyarrow and others import them where they are installed, which takes longer than some of the tasks.
    """

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> None:
        if name in ("numpy", "pandas"):
            raise ModuleNotFoundError(f"{name} is hidden from contenders", name=name)


def main() -> int:
    module, name, source, target, *rest = sys.argv[1:]
    options = {key: json.loads(value) for key, _, value in (option.partition("=") for option in rest)}
    sys.meta_path.insert(0, Hidden())
    try:
        contender = import_module(f"benchmarks.contenders.{module}")
    except ModuleNotFoundError as reason:
        print(reason)
        return NOT_AVAILABLE
    began = time.perf_counter()
    getattr(contender, name)(Path(source), Path(target), **options)
    took = time.perf_counter() - began
    inside = clocked()
    print(f"{WORK}{took if inside is None else inside}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
