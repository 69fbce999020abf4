"""What goes on beside a barrier: the source and the steps, as far as the in-flight limit lets them."""

from typing import Any

import attrs
import pytest
import trio
from support import Records

from agora import Pipeline
from agora.records import Json
from agora.sinks import MemorySink
from agora.state import CheckpointStore, MemoryBackend

LIMIT = 40  # of four batches of ten: the default


@attrs.define
class Slow(MemorySink):
    """Prepares as on a slow disk; notes how far the source is, and how much was written, before and behind that."""

    source: Records = attrs.field(kw_only=True)
    noted: list[tuple[int, int, int]] = attrs.field(factory=list)

    async def prepare(self) -> Json:
        before = len(self.source.given)
        await trio.sleep(1)
        self.noted.append((len(self.records), before, len(self.source.given)))
        return await super().prepare()


@pytest.mark.parametrize("steps", [0, 3])
async def test_what_the_limit_lets_in_is_read_beside_a_barrier_and_not_before_it(
    autojump_clock: Any, steps: int
) -> None:
    source = Records(200)
    sink = Slow(source=source)
    pipeline = Pipeline(source, name="p")
    for _ in range(steps):
        pipeline = pipeline.map(lambda record: record, concurrency=1)
    bound = pipeline.to(sink).build(
        checkpoint_store=CheckpointStore(MemoryBackend()), checkpoint_every=20, batch_size=10
    )
    await bound.run()
    inside = [noted for noted in sink.noted if 20 <= noted[0] <= 140]
    assert [written for written, _, _ in inside] == [20, 40, 60, 80, 100, 120, 140]
    assert all(
        before <= written + 20 for written, before, _ in inside
    )  # two batches that were read beside the last
    assert all(behind >= written + LIMIT for written, _, behind in inside)
