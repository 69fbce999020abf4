"""The builder: what a pipeline is, said step by step.

`Pipeline` is immutable, every call gives a new one, so that a common beginning can be shared by several
pipelines. `build` answers a `BoundPipeline`, which owns the runs. Building does no I/O and needs no running
loop.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, Literal, cast, overload

import attrs
import trio
from typing_extensions import TypeVar

from agora.backpressure import Backpressure
from agora.bound import BoundPipeline
from agora.buildchecks import kind_problems, number_problems
from agora.errors import ConfigError
from agora.middlewares.chain import MiddlewareChain
from agora.middlewares.step import POLICIES, Policy, Step, StepKind, is_async_callable, step_from
from agora.runtime.plan import Plan
from agora.runtime.spec import PipelineSpec, SinkSpec
from agora.sinks.adapt import as_sink
from agora.sinks.base import Sink
from agora.sources.base import ColumnarSource, Source
from agora.tracing.base import Tracer
from agora.tracing.noop import NoopTracer

__all__ = ["Pipeline"]

R = TypeVar("R", default=Any)
"""The type of the records that leave the chain."""
S = TypeVar("S")

OnError = Literal["dead_letter", "stop", "skip", "pass"]
SinkLike = Sink | Callable[[Any], object] | trio.abc.SendChannel[Any]


@attrs.frozen(init=False)
class Pipeline(Generic[R]):
    """A source, steps and sinks, in order. `on_error` is the policy for records that the source can't read.

    Every method answers a new pipeline. All of them take `name=` (the stage's name; default: the function's,
    class's or target's, made unique by its position) and `on_error=` (`"dead_letter"`, `"stop"`, `"skip"`, on
    steps also `"pass"`).
    """

    name: str
    _source: Source | ColumnarSource
    _source_policy: Policy | None
    _steps: tuple[Step, ...]
    _sinks: tuple[SinkSpec, ...]

    def __init__(
        self, source: Source | ColumnarSource, *, name: str, on_error: OnError | None = None
    ) -> None:
        given = [way for way in ("stream", "batches") if callable(getattr(source, way, None))]
        if isinstance(source, type) or not given:
            raise ConfigError(f"{source!r} is no source: it must be an object with stream(), or batches()")
        for way in given:
            method = getattr(source, way)
            if inspect.isgeneratorfunction(method) or inspect.iscoroutinefunction(method):
                raise ConfigError(
                    f"{type(source).__name__}.{way} must be an async generator: `async def` with a `yield` in it"
                )
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(
                f"a pipeline needs a name, not {name!r}: checkpoints and letters are kept under it"
            )
        _check_policy(on_error, "source", steps=False)
        self.__attrs_init__(name, source, on_error, (), ())

    # Steps.

    # Overloads, since type checkers don't infer `S` of an async function through a union of callables.
    @overload
    def map(
        self,
        fn: Callable[[R], Awaitable[S | None]],
        *,
        concurrency: int = 1,
        name: str | None = None,
        on_error: OnError | None = None,
    ) -> "Pipeline[S]": ...

    @overload
    def map(
        self,
        fn: Callable[[R], S | None],
        *,
        concurrency: int = 1,
        processes: int | None = None,
        timeout: float | None = None,
        name: str | None = None,
        on_error: OnError | None = None,
    ) -> "Pipeline[S]": ...

    def map(
        self,
        fn: Callable[[R], Any],
        *,
        concurrency: int = 1,
        processes: int | None = None,
        timeout: float | None = None,
        name: str | None = None,
        on_error: OnError | None = None,
    ) -> "Pipeline[S]":
        """Replace each record by what `fn` answers; `None` drops it. `concurrency > 1` makes a buffered
        stage; `processes` and `timeout` as for `pipe`."""
        return self._with_step(fn, StepKind.MAP, name, concurrency, on_error, processes, timeout)

    def filter(
        self,
        fn: Callable[[R], Awaitable[object]] | Callable[[R], object],
        *,
        concurrency: int = 1,
        processes: int | None = None,
        timeout: float | None = None,
        name: str | None = None,
        on_error: OnError | None = None,
    ) -> "Pipeline[R]":
        """Keep the records for which `fn` answers something true."""
        return self._with_step(fn, StepKind.FILTER, name, concurrency, on_error, processes, timeout)

    def flat_map(
        self,
        fn: Callable[[R], Awaitable[Iterable[S]]] | Callable[[R], Iterable[S]],
        *,
        concurrency: int = 1,
        processes: int | None = None,
        timeout: float | None = None,
        name: str | None = None,
        on_error: OnError | None = None,
    ) -> "Pipeline[S]":
        """Replace each record by the records of the iterable that `fn` answers.

        A list goes on as it is; an iterator is drawn lazily: what it gave before it failed has gone on.
        """
        return self._with_step(fn, StepKind.EXPAND, name, concurrency, on_error, processes, timeout)

    def pipe(
        self,
        middleware: object,
        *,
        concurrency: int | None = None,
        processes: int | None = None,
        timeout: float | None = None,
        name: str | None = None,
        on_error: OnError | None = None,
    ) -> "Pipeline[Any]":
        """Add a middleware (see `agora.middlewares.base`), or a function as a map.

        `concurrency` defaults to the middleware's `min_concurrency`, and can't be less.

        `processes`: run the function in so many worker processes, in source order, through trio-parallel (the extra
        `agora-trio[processes]`); for plain functions that are bound by the processor. A record on which its process
        dies fails with `WorkerCrashed`, one on which a call takes longer than `timeout` seconds with `WorkerTimeout`.
        Raises `ConfigError` for what keeps state, is async or can't be pickled.
        """
        least = getattr(middleware, "min_concurrency", 1)
        if concurrency is not None and concurrency < least:
            raise ConfigError(
                f"concurrency={concurrency} is less than the min_concurrency={least} "
                f"of {type(middleware).__name__}"
            )
        return self._with_step(middleware, None, name, concurrency, on_error, processes, timeout)

    # Columnar steps: whole RecordBatches where columns come, row by row where rows do, with the same results.

    def where(
        self, expression: str, *, name: str | None = None, on_error: OnError | None = None
    ) -> "Pipeline[R]":
        """Keep the records of which a condition in SQL is true, such as `"amount > 500"`; see docs/expressions.md."""
        from agora.middlewares.relational import Where  # noqa: PLC0415  - for who uses expressions only

        return self._with_step(Where(expression), None, name, None, on_error)

    def compute(
        self,
        fields: Mapping[str, str] | None = None,
        /,
        *,
        name: str | None = None,
        on_error: OnError | None = None,
        **expressions: str,
    ) -> "Pipeline[Any]":
        """Add fields, or replace them, by expressions in SQL over the record as it came in:
        `.compute(total="price * quantity")`; in a mapping where a field's name is no Python name, or is `name` or
        `on_error`, which are the step's own."""
        from agora.middlewares.relational import Compute  # noqa: PLC0415  - as above

        return self._with_step(Compute({**(fields or {}), **expressions}), None, name, None, on_error)

    def select(
        self, *fields: str, name: str | None = None, on_error: OnError | None = None
    ) -> "Pipeline[Any]":
        """Keep these fields, in this order, and no other."""
        from agora.middlewares.relational import Select  # noqa: PLC0415  - as above

        return self._with_step(Select(fields), None, name, None, on_error)

    def rename(
        self,
        fields: Mapping[str, str] | None = None,
        /,
        *,
        name: str | None = None,
        on_error: OnError | None = None,
        **names: str,
    ) -> "Pipeline[Any]":
        """Give fields other names, the old one first: `.rename(amt="amount")`; in a mapping as for `compute`. They
        keep their places."""
        from agora.middlewares.relational import Rename  # noqa: PLC0415  - as above

        return self._with_step(Rename({**(fields or {}), **names}), None, name, None, on_error)

    def cast(
        self,
        fields: Mapping[str, Any] | None = None,
        /,
        *,
        name: str | None = None,
        on_error: OnError | None = None,
        **types: Any,
    ) -> "Pipeline[Any]":
        """Convert fields: `.cast(amount=float, day="date", price="DECIMAL(10, 2)")`; a value that can't be
        converted fails its record."""
        from agora.middlewares.relational import Cast  # noqa: PLC0415  - as above

        return self._with_step(Cast({**(fields or {}), **types}), None, name, None, on_error)

    # Sinks.

    def to(
        self,
        *sinks: SinkLike,
        where: Callable[[R], object] | str | None = None,
        otherwise: bool = False,
        name: str | None = None,
        on_error: OnError | None = None,
    ) -> "Pipeline[R]":
        """Write to these sinks. A plain or async function is called record by record; a
        `trio.abc.SendChannel` is sent each record.

        `where`: only the records for which it answers something true, or of which it, an expression in SQL, is
        true. `otherwise=True`: what no `where` before it took.
        """
        if not sinks:
            raise ConfigError("to() takes at least one sink")
        if name is not None and len(sinks) > 1:
            raise ConfigError(f"name={name!r} for {len(sinks)} sinks: give each its own to()")
        if where is not None and otherwise:
            raise ConfigError("a sink has a where or is the otherwise, not both")
        if isinstance(where, str):
            from agora.middlewares.relational import Condition  # noqa: PLC0415  - as above

            where = Condition(where)
        if where is not None and not callable(where):
            raise ConfigError(f"where={where!r}: expected a function of a record, or an expression")
        if is_async_callable(where):
            raise ConfigError(
                f"where={where!r} is async: it must be a plain function; ask in a map() and route by its answer"
            )
        if otherwise and not any(spec.where is not None for spec in self._sinks):
            raise ConfigError(
                "otherwise=True takes what no where before it took, and there is none before it"
            )
        _check_policy(on_error, "sink", steps=False)
        specs = list(self._sinks)
        for each in sinks:
            sink = as_sink(each)
            own = name or _sink_name(each, sink)
            taken = {spec.name for spec in specs}
            specs.append(
                SinkSpec(
                    name=_unique(own, taken, len(specs) + 1, given=name is not None),
                    sink=sink,
                    where=where,
                    otherwise=otherwise,
                    on_error=on_error,
                )
            )
        return self._evolved(_sinks=tuple(specs))

    def build(
        self,
        *,
        checkpoint_store: object = None,
        checkpoint_every: int | None = None,
        checkpoint_interval: float | None = None,
        dlq: object = None,
        max_dead_letters: int | float | None = None,
        backpressure: Backpressure | None = None,
        tracer: Tracer | None = None,
        batch_size: int = 512,
        linger: float = 0.1,
        require: Literal["exactly_once"] | None = None,
    ) -> BoundPipeline[R]:
        """Check everything that was said and bind it to its runs.

        `checkpoint_every`: records of a run between two checkpoints; `checkpoint_interval`: seconds. What is
        given holds exactly; where neither is given, every 10,000 records or 5 seconds, whichever comes first.
        `max_dead_letters`: a count, or a share (0 to 1) of what was read once 1,000 were, above which the run
        fails closed. `linger`: seconds that a part-filled batch may wait. `require="exactly_once"`:
        `ConfigError` where that can't be given.

        Raises `ConfigError`, with every problem that was found.
        """
        problems = [
            *number_problems(checkpoint_every, checkpoint_interval, batch_size, linger, max_dead_letters),
            *kind_problems(checkpoint_store, backpressure, tracer),
            *self._policy_problems(has_dlq=dlq is not None),
        ]
        if checkpoint_store is None and (checkpoint_every is not None or checkpoint_interval is not None):
            problems.append("checkpoint_every and checkpoint_interval need a checkpoint_store")
        if max_dead_letters is not None and dlq is None:
            problems.append("max_dead_letters needs a dlq")
        if dlq is not None:
            try:
                dlq = as_sink(cast("SinkLike", dlq))
            except ConfigError as error:
                problems += [f"dlq: {problem}" for problem in error.problems]
        if require not in (None, "exactly_once"):
            problems.append(f"require={require!r}: expected 'exactly_once'")
        if problems:
            raise ConfigError(*problems)
        spec = PipelineSpec(
            name=self.name,
            source=self._source,
            source_policy=self._source_policy,
            chain=MiddlewareChain(self._steps),
            sinks=self._sinks,
            checkpoint_store=checkpoint_store,
            checkpoint_every=checkpoint_every,
            checkpoint_interval=checkpoint_interval,
            dlq=dlq,
            max_dead_letters=max_dead_letters,
            backpressure=backpressure,
            tracer=tracer if tracer is not None else NoopTracer(),
            batch_size=batch_size,
            linger=linger,
            require=require,
        )
        if require == "exactly_once":
            plan = Plan.of(spec)
            if plan.guarantee != "exactly once":
                raise ConfigError(*(f"exactly once can't be given: {reason}" for reason in plan.reasons))
        return BoundPipeline(spec)

    # Inside.

    def _with_step(
        self,
        part: object,
        kind: StepKind | None,
        name: str | None,
        concurrency: int | None,
        on_error: Policy | None,
        processes: int | None = None,
        timeout: float | None = None,
    ) -> "Pipeline[Any]":
        if self._sinks:
            raise ConfigError("after to(), only to() and build() can follow")
        _check_policy(on_error, "step", steps=True)
        step = step_from(
            part,
            kind=kind,
            name=name,
            concurrency=concurrency,
            processes=processes,
            timeout=timeout,
            on_error=on_error,
        )
        taken = {other.name for other in self._steps}
        unique = _unique(step.name, taken, len(self._steps) + 1, given=name is not None)
        return cast("Pipeline[Any]", self._evolved(_steps=(*self._steps, attrs.evolve(step, name=unique))))

    def _evolved(self, **changes: Any) -> "Pipeline[R]":
        new: Pipeline[R] = object.__new__(Pipeline)
        fields = {field.name: getattr(self, field.name) for field in attrs.fields(Pipeline)} | changes
        new.__attrs_init__(*fields.values())
        return new

    def _policy_problems(self, *, has_dlq: bool) -> list[str]:
        if has_dlq:
            return []
        policies: Sequence[tuple[str, Policy | None]] = [
            ("the source", self._source_policy),
            *((f"step {step.name!r}", step.on_error) for step in self._steps),
            *((f"sink {sink.name!r}", sink.on_error) for sink in self._sinks),
        ]
        return [
            f"{who} says on_error='dead_letter', and there is no dlq"
            for who, policy in policies
            if policy == "dead_letter"
        ]


def _check_policy(policy: str | None, who: str, *, steps: bool) -> None:
    allowed = POLICIES if steps else tuple(known for known in POLICIES if known != "pass")
    if policy is not None and policy not in allowed:
        raise ConfigError(f"on_error={policy!r} on a {who}: expected one of {', '.join(allowed)}")


def _unique(name: str, taken: set[str], position: int, *, given: bool) -> str:
    if name not in taken:
        return name
    if given:
        raise ConfigError(f"the name {name!r} is taken by an earlier stage of this pipeline")
    while f"{name}-{position}" in taken:
        position += 1
    return f"{name}-{position}"


def _sink_name(given: object, sink: object) -> str:
    target = getattr(sink, "target", None)
    if target:
        return str(target)
    own = getattr(given, "name", None) or getattr(given, "__name__", None) or type(given).__name__
    return "function" if own == "<lambda>" else str(own)
