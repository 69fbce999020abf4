"""Random pipelines, each drawn from a seed, with what must come of them by the engine-independent model of
tests/runtime."""

import json
import random
from typing import Any

from model import Expected, SinkModel, StepModel, expected, make

from agora import Backpressure, BoundPipeline, Pipeline
from agora.errors import RecordsRejected
from agora.sinks import JsonLinesSink
from agora.sources import JsonLinesSource
from agora.state import CheckpointStore, StateDLQSink
from agora.testing.simulation import Simulation, World, simulate

from .catalogue import small

COUNT = 25
FILES = {"in.jsonl": [make(number) for number in range(COUNT)]}

_KINDS = (
    "map",
    "filter",
    "list",
    "lazy",
    "batch",
    "count",
    "countbatch",
)  # "hold" forgets what it holds in a crash


class _Refusing:
    """A file of JSON lines that refuses what the model's sink does."""

    def __init__(self, model: SinkModel) -> None:
        self.model = model
        self.sink = JsonLinesSink(f"{model.name}.jsonl")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sink, name)

    async def write(self, records: Any) -> None:
        bad = {n: ValueError(f"refused {each!r}") for n, each in enumerate(records) if self.model.bad(each)}
        await self.sink.write([each for n, each in enumerate(records) if n not in bad])
        if bad:
            raise RecordsRejected(bad)


class ModelPipeline:
    """Steps, sinks and options by a seed."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self.seed = seed
        self.steps = [_step(chance, number) for number in range(chance.randint(0, 4))]
        self.sinks: list[SinkModel] = []
        for number in range(chance.randint(1, 3)):
            routed = any(sink.where is not None for sink in self.sinks)
            self.sinks.append(_sink(chance, number, routed=routed))
        self.options: dict[str, Any] = {
            "checkpoint_every": chance.choice((1, 2, 5, 13, 100)),
            "batch_size": chance.choice((1, 2, 5, 512)),
            "backpressure": chance.choice(
                (None, Backpressure.fixed(1), Backpressure.fixed(7), Backpressure.adaptive())
            ),
        }

    def build(self, world: World) -> BoundPipeline[Any]:
        pipeline: Any = Pipeline(JsonLinesSource("in.jsonl"), name="p")
        for step in self.steps:
            pipeline = step.add_to(pipeline)
        for model in self.sinks:
            where = {} if model.where is None else {"where": model.wants}
            pipeline = pipeline.to(
                _Refusing(model), name=model.name, on_error=model.policy, otherwise=model.otherwise, **where
            )
        state = world.state
        return pipeline.build(
            checkpoint_store=CheckpointStore(state), dlq=StateDLQSink(state), **self.options
        )

    def simulate(self) -> Simulation:
        with small():
            return simulate(self.build, seed=self.seed, files=FILES, check=self.check)

    def check(self, simulation: Simulation) -> None:
        wanted: Expected = expected(COUNT, self.steps, self.sinks, dlq=True)
        for name, records in wanted.sinks.items():
            content = simulation.found.files.get(f"{name}.jsonl", b"")
            assert isinstance(content, bytes)
            found = [json.loads(line) for line in content.splitlines()]
            assert found == records, f"{name} holds {found} instead of {records}"
        letters = sorted((letter[0], letter[1], letter[3]) for letter in simulation.found.letters)
        due = sorted((letter[0], letter[1], letter[2]) for letter in wanted.letters)
        assert letters == due, f"letters {letters} instead of {due}"


def _step(chance: random.Random, number: int) -> StepModel:
    kind = chance.choice(_KINDS)
    modes = {"count": ("sync", "async"), "countbatch": ("sync",)}.get(kind, ("sync", "async", "buffered"))
    return StepModel(
        kind=kind,
        mode=chance.choice(modes),
        policy=chance.choice((None, "skip", "pass", "dead_letter")),
        salt=chance.randrange(10_000),
        fails=chance.choice((0, 3, 15, 60)),
        drops=chance.choice((0, 20, 100)) if number else chance.choice((0, 20)),
        in_place=chance.random() < 0.5,
        concurrency=chance.choice((2, 3, 8)),
        name=f"s{number}",
    )


def _sink(chance: random.Random, number: int, *, routed: bool) -> SinkModel:
    route = chance.choice(("all", "where", "otherwise") if routed else ("all", "where"))
    return SinkModel(
        name=f"k{number}",
        how="rejected",
        policy=chance.choice((None, "skip", "dead_letter")),
        salt=chance.randrange(10_000),
        fails=chance.choice((0, 0, 10, 40)),
        where=chance.choice((0, 50)) if route == "where" else None,
        otherwise=route == "otherwise",
    )
