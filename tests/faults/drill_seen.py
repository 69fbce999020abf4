"""A pipeline that drops duplicates, for tests that kill real processes: `agora run drill_seen:pipeline` in a folder
with `orders.csv`. `DRILL_PAUSE` (seconds) makes it wait at each fiftieth record."""

import os

import trio

from agora import Pipeline
from agora.middlewares import Deduplicate
from agora.sinks import JsonLinesSink
from agora.sources import CsvSource
from agora.state import CheckpointStore, SQLiteBackend, StateDLQSink

PAUSE = float(os.environ.get("DRILL_PAUSE", "0"))


async def wait_a_little(order: dict) -> dict:
    if order["id"] % 97 == 96:
        raise ValueError(f"order {order['id']} is refused")
    if PAUSE and order["line"] % 50 == 49:
        await trio.sleep(PAUSE)
    return order


state = SQLiteBackend("state.db")
pipeline = (
    Pipeline(CsvSource("orders.csv", types={"id": int, "line": int}), name="drill")
    .pipe(Deduplicate("id", ttl=86_400))
    .map(wait_a_little)
    .to(JsonLinesSink("out.jsonl"))
    .build(
        checkpoint_store=CheckpointStore(state),
        checkpoint_every=30,
        dlq=StateDLQSink(state),
        batch_size=16,
    )
)
