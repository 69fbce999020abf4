"""A pipeline for tests that kill, freeze and race real processes: `agora run drill:pipeline` in a folder of theirs.

What it reads is `orders.csv` beside it. `DRILL_PAUSE` (seconds) makes a step wait at each hundredth record, so that
there is a time to strike; `DRILL_GATE` (a file) makes it wait there until that file is made; `DRILL_LEASE` shortens the
lease's times, so that a takeover needn't take half a minute.
"""

import os

import trio

from agora import Pipeline
from agora.sinks import JsonLinesSink
from agora.sources import CsvSource
from agora.state import CheckpointStore, SQLiteBackend, StateDLQSink
from agora.state import lease as lease_module

if "DRILL_LEASE" in os.environ:
    unit = float(os.environ["DRILL_LEASE"])
    times = lease_module.LeaseTimes(renew=unit, fresh=1.5 * unit, watch=3 * unit, look=0.1 * unit)
    lease_module.acquire.__kwdefaults__["times"] = times

PAUSE = float(os.environ.get("DRILL_PAUSE", "0"))
GATE = os.environ.get("DRILL_GATE")


def with_vat(order: dict) -> dict:
    if order["id"] % 97 == 96:
        raise ValueError(f"order {order['id']} is refused")
    return {**order, "gross": order["amount"] * 119}


async def wait_a_little(order: dict) -> dict:
    if order["id"] % 100 == 99:
        await trio.sleep(PAUSE)
        while GATE is not None and not os.path.exists(GATE):
            await trio.sleep(0.01)
    return order


state = SQLiteBackend("state.db")
pipeline = (
    Pipeline(CsvSource("orders.csv", types={"id": int, "amount": int}), name="drill")
    .map(with_vat)
    .map(wait_a_little, concurrency=int(os.environ.get("DRILL_CONCURRENCY", "1")))
    .to(JsonLinesSink("out.jsonl"))
    .build(
        checkpoint_store=CheckpointStore(state),
        checkpoint_every=50,
        dlq=StateDLQSink(state),
        batch_size=16,
    )
)
