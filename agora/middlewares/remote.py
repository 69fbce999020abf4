"""What a step must be for its function to run in worker processes, checked when it is built.

Between the processes of one run functions and records travel by pickle, and nothing that is pickled is ever stored.
The step's own `call` stays the function itself: it is the reference semantics, and what a virtual clock runs.
"""

import importlib.util
import math
import sys
from collections.abc import Callable
from typing import Any

import attrs

from agora.errors import ConfigError

__all__ = ["Remote", "in_worker", "pickled", "remote_from"]


@attrs.frozen(eq=False, repr=False)
class Remote:
    """Where a step's function runs."""

    function: Callable[..., Any]
    """What is sent to the workers."""
    processes: int
    timeout: float | None = None
    """Seconds that one call of the function may take."""


def remote_from(
    name: str,
    function: Callable[..., Any],
    processes: Any,
    timeout: Any,
    *,
    owner: object,
    is_async: bool,
    concurrency: int | None,
) -> Remote | None:
    """Check `processes` and `timeout` of a step; `None` where the step isn't to run in processes.

    Raises `ConfigError` for numbers out of range, for what keeps state or is async, for what can't be pickled, and
    where trio-parallel isn't installed.
    """
    step = f"step {name!r}"
    if processes is None:
        if timeout is not None:
            raise ConfigError(
                f"{step}: timeout={timeout!r} needs processes: only a process can be ended from outside"
            )
        return None
    if not isinstance(processes, int) or isinstance(processes, bool) or processes < 1:
        raise ConfigError(f"{step}: processes must be a whole number from 1, not {processes!r}")
    if concurrency not in (None, 1):
        raise ConfigError(f"{step}: concurrency={concurrency} beside processes={processes}: give one of them")
    if timeout is not None and not (_is_number(timeout) and 0 < timeout < math.inf):
        raise ConfigError(f"{step}: timeout must be a number of seconds above 0, not {timeout!r}")
    if is_async:
        raise ConfigError(
            f"{step} is async: worker processes run plain functions; use concurrency for what waits"
        )
    if callable(getattr(owner, "snapshot", None)):
        raise ConfigError(
            f"{step} has state (snapshot), which worker processes can't share: leave out processes"
        )
    if callable(getattr(owner, "finish", None)):
        raise ConfigError(
            f"{step} has finish(), which gives what was held back, and it would be held back in worker processes: "
            "leave out processes"
        )
    if importlib.util.find_spec("trio_parallel") is None:
        raise ConfigError(f"{step}: processes needs trio-parallel: pip install 'agora-trio[processes]'")
    pickled(name, function)
    return Remote(function, processes, None if timeout is None else float(timeout))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def pickled(name: str, function: Callable[..., Any]) -> bytes:
    """The function as it is sent to the workers. `ConfigError` where it can't be."""
    if getattr(function, "__module__", None) == "__main__" and not hasattr(
        sys.modules["__main__"], "__file__"
    ):
        raise ConfigError(
            f"step {name!r}: worker processes can't import {function!r}, which was typed in; put it in a module"
        )
    try:
        import pickle  # noqa: PLC0415 - for who has worker processes

        return pickle.dumps(function, pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # whatever a __reduce__ raises
        raise ConfigError(
            f"step {name!r} can't be sent to worker processes, which take functions of a module and objects that can "
            f"be pickled, and no lambdas or functions inside functions: {error}"
        ) from error


def in_worker() -> bool:
    """Whether this is a worker process that is still importing the program's main module."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and bool(getattr(process.current_process(), "_inheriting", False))
