"""A step: one middleware or function at its place in a chain, with everything about it looked up once.

Users' parts are duck-typed; the engine and `MiddlewareChain` work on this one description of them instead,
so that "which method does it have, is it async, what is its policy" is answered when a pipeline is built and
not per record.
"""

import enum
import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

import attrs

from agora.errors import ConfigError
from agora.middlewares import base
from agora.middlewares.columnar import row_form
from agora.middlewares.function import FunctionMiddleware
from agora.middlewares.remote import Remote, remote_from
from agora.records import Json

__all__ = ["POLICIES", "Policy", "Step", "StepKind", "is_async_callable", "step_from"]

Policy: TypeAlias = Literal["dead_letter", "stop", "skip", "pass"]
"""What becomes of a record that fails."""

POLICIES: tuple[str, ...] = get_args(Policy)


class StepKind(enum.Enum):
    """How a step's function is to be read."""

    MAP = "map"
    FILTER = "filter"
    EXPAND = "flat_map"
    BATCH = "batch"


@attrs.frozen(kw_only=True)
class Step:
    """One step of a chain."""

    name: str
    kind: StepKind
    call: Callable[..., Any]
    is_async: bool
    concurrency: int = 1
    on_error: Policy | None = None
    """`None`: the pipeline's default, which depends on whether there is a dead-letter queue."""
    part: object = None
    """The middleware whose hooks (`on_start`, `finish`, …) belong to this step; `None` for a function."""
    columns: Callable[[Any], Any] | None = None
    """What takes a RecordBatch in place of rows; see `agora.middlewares.columnar`. `call` is then its row form."""
    remote: Remote | None = None
    """Where the engine is to run `call` in worker processes."""
    snapshot: Callable[[], Json] | None = None
    restore: Callable[[Json], None] | None = None
    initial: list[Json] = attrs.field(factory=list, eq=False, repr=False)
    """The snapshot before the first run in this process, once that was taken; shared by all that was built
    with this step."""

    @property
    def stage(self) -> str:
        """The stage's name in summaries, letters and spans."""
        return f"middleware:{self.name}"

    @property
    def buffered(self) -> bool:
        return self.concurrency > 1 or self.remote is not None

    @property
    def stateful(self) -> bool:
        return self.snapshot is not None

    @property
    def multiplies(self) -> bool:
        return self.kind is StepKind.EXPAND


def is_async_callable(fn: object) -> bool:
    """Whether calling `fn` gives a coroutine for sure: an `async def`, one wrapped in `partial` or
    `@middleware`, an async `__call__`."""
    while isinstance(fn, functools.partial | FunctionMiddleware):
        fn = fn.func if isinstance(fn, functools.partial) else fn.process
    if inspect.iscoroutinefunction(fn):
        return True
    call = getattr(fn, "__call__", None)  # noqa: B004  - the method itself is asked for
    return inspect.iscoroutinefunction(call)


_METHODS = {"process": StepKind.MAP, "expand": StepKind.EXPAND, "process_batch": StepKind.BATCH}

_STUBS = (
    base.Middleware.process,
    base.ExpandingMiddleware.expand,
    base.BatchMiddleware.process_batch,
    base.StatefulMiddleware.snapshot,
    base.StatefulMiddleware.restore,
)
"""What a class inherits by naming a contract as its base, without having defined it."""


def step_from(
    part: object,
    *,
    kind: StepKind | None = None,
    name: str | None = None,
    concurrency: int | None = None,
    processes: int | None = None,
    timeout: float | None = None,
    on_error: Policy | None = None,
) -> Step:
    """Describe a function (with its `kind`) or a middleware object (its kind follows from its methods).

    Raises `ConfigError` for what is neither, for an unknown policy, and for a stateful step that shall be
    buffered or run in processes.
    """
    if inspect.isclass(part):
        raise ConfigError(f"{part.__name__} is a class; a step takes an object: {part.__name__}()")
    methods = [method for method in _METHODS if callable(_own(part, method))]
    columns = _own(part, "process_columns") if kind is None else None
    if kind is None and not methods and columns is None and callable(part):
        kind = StepKind.MAP
    least: Any = 1
    if kind is not None:
        call: Callable[..., Any] = _callable(part)
        owner = None
    elif columns is not None and methods in ([], ["process_batch"]):
        kind, owner = StepKind.BATCH, part
        call = getattr(part, "process_batch", None) or row_form(type(part).__name__, columns)
        if is_async_callable(columns):
            raise ConfigError(f"{type(part).__name__}.process_columns is async: it must be a plain function")
    elif len(methods) == 1:
        kind = _METHODS[methods[0]]
        call = getattr(part, methods[0])
        least = getattr(part, "min_concurrency", 1)
        # A function has no hooks, and may be in several runs at once.
        owner = None if isinstance(part, FunctionMiddleware) else part
    else:
        found = " and ".join(methods) if methods else "none of them"
        raise ConfigError(
            f"{part!r} is no middleware: it must define exactly one of process, expand, process_batch and "
            f"process_columns, and has {found}"
        )
    if on_error is not None and on_error not in POLICIES:
        raise ConfigError(f"on_error={on_error!r}: expected one of {', '.join(POLICIES)}")
    own_name = name or _name_of(part, kind)
    remote = remote_from(
        own_name,
        part if isinstance(part, FunctionMiddleware) else columns or call,
        processes,
        timeout,
        owner=owner,
        is_async=is_async_callable(call),
        concurrency=concurrency,
    )
    asked = concurrency if concurrency is not None else least
    wanted = asked if remote is None else remote.processes
    if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 1:
        raise ConfigError(f"step {own_name!r}: concurrency must be a whole number from 1, not {wanted!r}")
    step = Step(
        name=own_name,
        kind=kind,
        call=call,
        is_async=is_async_callable(call),
        concurrency=wanted,
        on_error=on_error,
        part=owner,
        columns=columns,
        remote=remote,
        snapshot=_own(owner, "snapshot"),
        restore=_own(owner, "restore"),
    )
    if step.stateful and step.buffered:
        raise ConfigError(
            f"step {own_name!r} has state (snapshot), so it can't run with concurrency={wanted}: "
            "its state would depend on timing"
        )
    if step.columns is not None and step.buffered and step.remote is None:
        raise ConfigError(
            f"step {own_name!r} takes columns, a batch at a time: it can't run with concurrency={wanted}"
        )
    if step.stateful and step.restore is None:
        raise ConfigError(f"step {own_name!r} has snapshot() but no restore(state)")
    return step


def _own(part: object, method: str) -> Any:
    """The part's method; `None` where it has none, or only the stub of a contract."""
    found = getattr(part, method, None)
    return None if getattr(found, "__func__", None) in _STUBS else found


def _callable(part: object) -> Callable[..., Any]:
    if not callable(part):
        raise ConfigError(f"{part!r} is no function")
    return part


def _name_of(part: object, kind: StepKind) -> str:
    while isinstance(part, functools.partial):
        part = part.func
    own = getattr(part, "name", None) or getattr(part, "__name__", None) or type(part).__name__
    return kind.value if own == "<lambda>" else str(own)
