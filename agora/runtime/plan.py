"""The plan of a pipeline: which stages it has, how they run, and what delivery they give. `explain()` answers
it."""

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from typing import Literal

import attrs

from agora.middlewares.remote import Remote
from agora.middlewares.step import Step, StepKind
from agora.records import Json
from agora.runtime.spec import PipelineSpec, SinkSpec

__all__ = ["Guarantee", "Plan", "PlannedStage", "grouped", "only_columns"]

Guarantee = Literal["exactly once", "at least once"]


def grouped(steps: Sequence[Step]) -> list[tuple[Step, ...]]:
    """Steps by the segment that they run in: neighbouring row steps together, and neighbouring columnar ones that
    have neither state nor hooks; any other alone."""

    def together(numbered: tuple[int, Step]) -> object:
        number, step = numbered
        if not step.buffered and step.kind is not StepKind.BATCH:
            return "rows"
        return "columns" if only_columns(step) else number

    return [tuple(step for _, step in run) for _, run in groupby(enumerate(steps), key=together)]


def only_columns(step: Step) -> bool:
    """Whether the step is a function of columns, and nothing else."""
    hooks = ("on_start", "on_end", "finish")
    return (
        step.columns is not None
        and not step.buffered
        and not step.stateful
        and not any(callable(getattr(step.part, hook, None)) for hook in hooks)
    )


@attrs.frozen(kw_only=True)
class PlannedStage:
    """One stage of a plan."""

    name: str
    mode: str
    """How it runs: `"rows"`, `"columns"`, `"buffered"`, `"batch"`, `"reads"`, `"writes"`."""
    detail: str
    on_error: str
    guarantee: Guarantee | None = None
    reason: str | None = None
    """Why a sink has its guarantee."""


@attrs.frozen(kw_only=True)
class Plan:
    """What a run would do. `str(plan)` is text for people, `to_json()` for programs, `to_mermaid()` a
    diagram."""

    pipeline: str
    mode: Literal["linear", "buffered"]
    stages: Sequence[PlannedStage]
    guarantee: Guarantee
    reasons: Sequence[str]
    """Why it isn't exactly once; empty where it is."""
    checkpoints: str
    in_flight: str
    dead_letters: str

    @classmethod
    def of(cls, spec: PipelineSpec) -> "Plan":
        """The plan of a built pipeline. No I/O."""
        stages = [_source_stage(spec), *_step_stages(spec)]
        reasons = _run_reasons(spec)
        for sink in spec.sinks:
            guarantee, reason = _sink_guarantee(spec, sink)
            stages.append(_sink_stage(spec, sink, guarantee, reason))
            if guarantee != "exactly once" and not _run_reasons(spec):
                reasons.append(f"sink {sink.name!r} {reason}")
        return cls(
            pipeline=spec.name,
            mode="buffered" if any(step.buffered for step in spec.chain.steps) else "linear",
            stages=stages,
            guarantee="at least once" if reasons else "exactly once",
            reasons=reasons,
            checkpoints=_checkpoints(spec),
            in_flight=_in_flight(spec),
            dead_letters=_dead_letters(spec),
        )

    def to_json(self) -> Mapping[str, Json]:
        """The plan as JSON-able data."""
        return attrs.asdict(self)

    def to_mermaid(self) -> str:
        """The plan as a Mermaid flowchart."""
        lines = ["flowchart LR"]
        sinks = [stage for stage in self.stages if stage.mode == "writes"]
        path = [stage for stage in self.stages if stage.mode != "writes"]
        ids = {id(stage): f"s{number}" for number, stage in enumerate(self.stages)}
        for stage in self.stages:
            label = f"{stage.name}<br/>{stage.detail}".replace('"', "&quot;")
            lines.append(f'    {ids[id(stage)]}["{label}"]')
        lines += [f"    {ids[id(one)]} --> {ids[id(two)]}" for one, two in pairwise(path)]
        lines += [f"    {ids[id(path[-1])]} --> {ids[id(sink)]}" for sink in sinks]
        return "\n".join(lines)

    def __str__(self) -> str:
        width = max(len(stage.name) for stage in self.stages)
        lines = [f"pipeline {self.pipeline} ({self.mode})"]
        for stage in self.stages:
            lines.append(f"  {stage.name:<{width}}  {stage.mode}: {stage.detail}; on error: {stage.on_error}")
            if stage.guarantee:
                lines.append(f"  {'':<{width}}  {stage.guarantee}: {stage.reason}")
        lines += [
            f"  in flight: {self.in_flight}",
            f"  checkpoints: {self.checkpoints}",
            f"  dead letters: {self.dead_letters}",
            f"  delivery: {self.guarantee}",
        ]
        lines += [f"    because {reason}" for reason in self.reasons]
        return "\n".join(lines)


def _source_stage(spec: PipelineSpec) -> PlannedStage:
    kind = type(spec.source).__name__
    resumes = "resumes" if getattr(spec.source, "supports_checkpoint", False) else "does not resume"
    more = getattr(spec.source, "explain", None)
    detail = f"{kind}, {resumes}" + (f"; {more()}" if callable(more) else "")
    policy = spec.source_policy or spec.default_policy
    return PlannedStage(name="source", mode="reads", detail=detail, on_error=policy)


def _step_stages(spec: PipelineSpec) -> list[PlannedStage]:
    stages = []
    for number, group in enumerate(grouped(spec.chain.steps), start=1):
        for step in group:
            how = "async " if step.is_async else ""
            if step.remote is not None:
                mode, detail = "buffered", _in_processes(step, step.remote)
            elif step.buffered:
                mode, detail = (
                    "buffered",
                    f"{how}{step.kind.value}, {step.concurrency} at once, in source order",
                )
            elif step.columns is not None:
                mode, detail = "columns", "whole RecordBatches, or rows where rows come"
            elif step.kind is StepKind.BATCH:
                mode, detail = "batch", f"{how}batches of up to {spec.batch_size}"
            else:
                mode, detail = "rows", f"{how}{step.kind.value}, one record at a time"
            if step.stateful:
                detail += ", with state"
            detail += f", segment {number}"
            policy = step.on_error or spec.default_policy
            stages.append(PlannedStage(name=step.stage, mode=mode, detail=detail, on_error=policy))
    return stages


def _in_processes(step: Step, remote: Remote) -> str:
    what = "columns" if step.columns is not None else step.kind.value
    where = f"in {remote.processes} process{'es' if remote.processes > 1 else ''}"
    timed = "" if remote.timeout is None else f", at most {remote.timeout:g} s a call"
    return f"{what}, {where}{timed}, in source order"


def _sink_stage(spec: PipelineSpec, sink: SinkSpec, guarantee: Guarantee, reason: str) -> PlannedStage:
    detail = type(sink.sink).__name__
    if sink.where is not None:
        detail += ", where its condition holds"
    if sink.otherwise:
        detail += ", what nothing before took"
    return PlannedStage(
        name=f"sink:{sink.name}",
        mode="writes",
        detail=detail,
        on_error=sink.on_error or spec.default_policy,
        guarantee=guarantee,
        reason=reason,
    )


def _run_reasons(spec: PipelineSpec) -> list[str]:
    if spec.checkpoint_store is None:
        return ["there is no checkpoint store: a new run starts from the beginning"]
    if not spec.checkpointing:
        return [f"the source ({type(spec.source).__name__}) doesn't support checkpoints"]
    if spec.dlq is None or spec.letters_in_transaction or hasattr(spec.dlq, "prepare"):
        return []
    return ["dead letters are kept apart from the checkpoint's state, so one may come twice"]


def _sink_guarantee(spec: PipelineSpec, sink: SinkSpec) -> tuple[Guarantee, str]:
    if not spec.checkpointing:
        return "at least once", "no checkpoints"
    if all(callable(getattr(sink.sink, method, None)) for method in ("prepare", "commit", "recover")):
        explain = getattr(sink.sink, "explain", None)
        return "exactly once", explain() if callable(explain) else "it has prepare, commit and recover"
    return (
        "at least once",
        "has no prepare, commit and recover, so what it wrote after the last checkpoint comes again",
    )


def _checkpoints(spec: PipelineSpec) -> str:
    if spec.checkpoint_store is None:
        return "none"
    if not spec.checkpointing:
        return "none: the source doesn't support them, the store is not touched"
    when = []
    if spec.cut_every is not None:
        when.append(f"every {spec.cut_every:,} records")
    if spec.cut_interval is not None:
        when.append(f"every {spec.cut_interval:g} s")
    return " or ".join(when) + ", and at the end"


def _in_flight(spec: PipelineSpec) -> str:
    limits = spec.limits
    if limits.kind == "fixed":
        return f"at most {limits.max_in_flight:,} records"
    return (
        f"{limits.min_in_flight:,} to {limits.max_in_flight:,} records, "
        f"for {limits.target_latency * 1000:g} ms a write"
    )


def _dead_letters(spec: PipelineSpec) -> str:
    if spec.dlq is None:
        return "no queue: a failure stops the run"
    if spec.letters_in_transaction:
        how = "saved with the checkpoint"
    elif spec.checkpointing and hasattr(spec.dlq, "prepare"):
        how = "committed with the checkpoint, like any sink"
    else:
        how = "written as they come"
    return f"{type(spec.dlq).__name__}, {how}"
