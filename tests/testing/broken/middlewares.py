"""Middlewares that are broken on purpose, each in one way. `BROKEN` says which law each of them breaks."""

import itertools
import tempfile
import time
from collections import Counter

import attrs
import pyarrow.compute as pc
import trio

from agora.middlewares import ColumnsResult


@attrs.frozen
class Broken:
    """A part, the law that it breaks, and the profile under which it is checked."""

    factory: object
    law: str
    profile: dict = attrs.field(factory=dict)

    def __str__(self):
        return self.factory.__name__


OPENED = []
"""Files that stay open, for the tests to close."""


def opened():
    OPENED.append(tempfile.TemporaryFile())  # noqa: SIM115  - it is to stay open
    return OPENED[-1]


# fresh


class SharedByAll:
    """What was seen belongs to the class."""

    seen = set()  # noqa: RUF012  - the bug

    def process(self, record):
        if record["id"] in self.seen:
            return None
        self.seen.add(record["id"])
        return record

    def snapshot(self):
        return sorted(self.seen)

    def restore(self, state):
        self.seen = set(state)


# company


class Numbered:
    """Numbers records, and says nothing of having state."""

    def __init__(self):
        self.count = itertools.count()

    def process(self, record):
        return {**record, "number": next(self.count)}


class CoarseCache:
    """Keeps answers by less than what they depend on."""

    def __init__(self):
        self.known = {}

    def process(self, record):
        return {"total": self.known.setdefault(record["id"], record["amount"])}


class DrainedDefault:
    """A mutable default that grows."""

    def process(self, record, tags=[]):  # noqa: B006  - the bug
        tags.append(record["id"])
        return {**record, "tags": list(tags)}


# prefix


class LookingAhead:
    """Marks what comes last, as far as it can see."""

    def __init__(self):
        self.count = 0

    def process_batch(self, records):
        return [{**record, "last": place == len(records) - 1} for place, record in enumerate(records)]

    def snapshot(self):
        return self.count

    def restore(self, state):
        self.count = state


# borders


class RankedInBatch:
    def process_batch(self, records):
        return [{**record, "rank": place} for place, record in enumerate(records)]


class UniqueInBatch:
    """Drops what comes again, within a batch."""

    def process_batch(self, records):
        seen = set()
        return [None if record["id"] in seen or seen.add(record["id"]) else record for record in records]


class OneDictForAll:
    """Gives the same object for each record, which the next one overwrites."""

    def __init__(self):
        self.out = {}

    def process(self, record):
        self.out["amount"] = record["amount"]
        return self.out


class ShareOfBatch:
    """Columns, of which each depends on all."""

    def process_columns(self, batch):
        total = pc.sum(batch["amount"])
        return batch.append_column("share", pc.divide(batch["amount"].cast("float64"), pc.add(total, 1)))


class MissingResult:
    """Leaves out what it drops, in place of saying None."""

    def process_batch(self, records):
        return [record for record in records if record["amount"] > 3]


# order


class SortedBatch:
    def process_batch(self, records):
        return sorted(records, key=lambda record: record["amount"])


# agreement


class TwoTruths:
    """Rows and columns draw the border in another place."""

    def process_batch(self, records):
        return [record if record["amount"] >= 5 else None for record in records]

    def process_columns(self, batch):
        kept = pc.greater(batch["amount"], 5)
        return ColumnsResult(batch.filter(kept), kept)


class KeepsTooMuch:
    """Columns keep what rows drop."""

    def process_batch(self, records):
        return [record if record["amount"] < 7 else None for record in records]

    def process_columns(self, batch):
        return batch


# concurrency


class SharedCurrent:
    """Keeps the record that it is at in itself, while another one may come."""

    async def process(self, record):
        self.current = record
        await trio.sleep(0.01)
        return {**self.current, "looked_up": True}


class SharedBuffer:
    """Takes out what it put in, or what another one did."""

    def __init__(self):
        self.waiting = []

    async def process(self, record):
        self.waiting.append(record)
        await trio.sleep(0)
        return self.waiting.pop()


class LastAnswer:
    """Asks a connection that answers the last question."""

    def __init__(self):
        self.question = None

    async def expand(self, record):
        self.question = record["id"]
        await trio.sleep(0.01)
        return [{**record, "answer": self.question}]


# failures


class DoneTwice:
    """Changes the records before the one that fails, and is asked again for those."""

    def process_batch(self, records):
        for record in records:
            record["amount"] = record["amount"] + record["id"] + 1
        return records


class Poisoned:
    """A failure leaves a mark on what comes next."""

    def __init__(self):
        self.failing = False

    def process(self, record):
        marked, self.failing = self.failing, True
        result = {"id": record["id"], "amount": record["amount"], "retry": marked}
        self.failing = False
        return result


# input


class ChangesItsInput:
    def process(self, record):
        record["amount"] += 1
        return record


class EmptiesItsInput:
    def process_batch(self, records):
        for record in records:
            record["tags"].clear()
        return [{"id": record["id"]} for record in records]


# cancelled


class SwallowsCancelled:
    async def process(self, record):
        try:
            await trio.sleep(0.01)
        except trio.Cancelled:
            return record
        return record


class MakesItAnError:
    async def process(self, record):
        try:
            await trio.sleep(0.01)
        except BaseException:
            raise ValueError("the lookup failed") from None
        return record


class TriesForEver:
    async def process(self, record):
        while True:
            try:
                await trio.sleep(0.01)
            except trio.Cancelled:
                continue
            return record


# checkpoints


class Blocks:
    async def process(self, record):
        await trio.sleep(0)
        time.sleep(0.01)
        return record


class Shielded:
    async def process(self, record):
        with trio.CancelScope(shield=True):
            await trio.sleep(5)
        return record


class WaitsForEver:
    """Shielded, it waits for what may never come."""

    async def process(self, record):
        done = trio.Event()
        with trio.move_on_after(0.01), trio.CancelScope(shield=True):
            await trio.sleep(0.02)
            done.set()
        await done.wait()
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
        return record


# cancellation


class StaysBusy:
    """What it takes it gives back, unless it is cancelled: once is enough."""

    def __init__(self):
        self.connections = trio.Semaphore(1)

    async def process(self, record):
        await self.connections.acquire()
        await trio.sleep(0.01)
        self.connections.release()
        return record


class HalfAnswered:
    """One question at a time for each id; the others wait for an answer that a cancellation keeps away."""

    def __init__(self):
        self.asked = {}

    async def process(self, record):
        if record["id"] in self.asked:
            await self.asked[record["id"]].wait()
            return record
        answered = self.asked[record["id"]] = trio.Event()
        await trio.sleep(0.01)
        answered.set()
        return record


class LeavesATask:
    """Cleans up behind a cancellation, some time."""

    async def process(self, record):
        try:
            await trio.sleep(0.01)
        except trio.Cancelled:
            trio.lowlevel.spawn_system_task(trio.sleep, 3600)
            raise
        return record


class HalfStarted:
    """Cancelled while it starts, it keeps open what it had opened."""

    async def on_start(self, context):
        self.file = opened()
        await trio.sleep(0.1)

    def process(self, record):
        return record

    def on_end(self):
        self.file.close()


# pairing


class EndsWhatWasNot:
    """Takes it for granted that there was a record."""

    def process(self, record):
        self.last = record["id"]
        return record

    def on_end(self):
        self.last + 0


class StartsOnce:
    def __init__(self):
        self.started = False

    def on_start(self, context):
        if self.started:
            raise RuntimeError("it was started already")
        self.started = True

    def process(self, record):
        return record


class LeavesAFile:
    def on_start(self, context):
        self.file = opened()

    def process(self, record):
        return record

    def on_end(self):
        pass


# restore


class ForgetsAll:
    """Numbers records, and doesn't keep the number."""

    def __init__(self):
        self.count = 0

    def process(self, record):
        self.count += 1
        return {**record, "number": self.count}


class KeysBecomeText:
    """Counts by number; what JSON makes of such keys is text."""

    def __init__(self):
        self.counts = Counter()

    def process(self, record):
        self.counts[record["id"]] += 1
        return {**record, "nth": self.counts[record["id"]]}

    def snapshot(self):
        return {str(key): count for key, count in self.counts.items()}

    def restore(self, state):
        self.counts = Counter(state)


class MergesItsState:
    """Adds what is restored to what there is."""

    def __init__(self):
        self.seen = set()

    def process(self, record):
        if record["id"] in self.seen:
            return None
        self.seen.add(record["id"])
        return record

    def snapshot(self):
        return sorted(self.seen)

    def restore(self, state):
        self.seen |= set(state)


class HoldsAnObject:
    """Has what can't be saved in its snapshot."""

    def __init__(self):
        self.count, self.lock = 0, object()

    def process(self, record):
        self.count += 1
        return {**record, "number": self.count}

    def snapshot(self):
        return vars(self).copy()

    def restore(self, state):
        self.count = state["count"]


class Share:
    """A result without `__eq__` and `__repr__`."""

    def __init__(self, value):
        self.value = value


class SharesOfABatch:
    def process_batch(self, records):
        whole = sum(record["id"] for record in records) or 1
        return [Share(record["id"] / whole) for record in records]


class LeavesAGenerator:
    """Takes what it wants of an async generator, and leaves its end to the garbage collector."""

    async def _parts(self, record):
        try:
            yield record
            yield None
        finally:
            await trio.sleep(0.01)

    async def process(self, record):
        parts = self._parts(record)
        return await anext(parts)


class RestoresOneGroup:
    """Counts by group, and takes back the first one only."""

    def __init__(self):
        self.counts = {}

    def process(self, record):
        group = str(record["id"] % 2)
        self.counts[group] = self.counts.get(group, 0) + 1
        return {**record, "number": self.counts[group]}

    def snapshot(self):
        return self.counts

    def restore(self, state):
        self.counts = dict(list(state.items())[:1])


class KeepsACopy:
    """Reads context.state once, and never writes what it counts."""

    def on_start(self, context):
        self.count = context.state.get("count", 0)

    def process(self, record):
        self.count += 1
        return {**record, "number": self.count}


STATEFUL = {"stateful": True}
PURE = {"pure": True}

BROKEN = [
    Broken(SharedByAll, "fresh", STATEFUL),
    Broken(Numbered, "company"),
    Broken(CoarseCache, "company|failures"),
    Broken(DrainedDefault, "fresh"),
    Broken(LookingAhead, "prefix", STATEFUL),
    Broken(RankedInBatch, "borders"),
    Broken(UniqueInBatch, "borders"),
    Broken(SharesOfABatch, "borders|concurrency"),
    Broken(OneDictForAll, "borders"),
    Broken(ShareOfBatch, "borders"),
    Broken(MissingResult, "borders"),
    Broken(SortedBatch, "order"),
    Broken(TwoTruths, "agreement"),
    Broken(KeepsTooMuch, "agreement"),
    Broken(SharedCurrent, "concurrency"),
    Broken(SharedBuffer, "concurrency"),
    Broken(LastAnswer, "concurrency"),
    Broken(DoneTwice, "failures"),
    Broken(Poisoned, "failures"),
    Broken(ChangesItsInput, "input", PURE),
    Broken(EmptiesItsInput, "input", PURE),
    Broken(SwallowsCancelled, "cancelled"),
    Broken(MakesItAnError, "cancelled"),
    Broken(TriesForEver, "cancelled"),
    Broken(Blocks, "checkpoints"),
    Broken(Shielded, "checkpoints"),
    Broken(WaitsForEver, "checkpoints"),
    Broken(StaysBusy, "cancellation"),
    Broken(HalfAnswered, "cancellation"),
    Broken(LeavesATask, "cancellation"),
    Broken(HalfStarted, "cancellation"),
    Broken(EndsWhatWasNot, "pairing"),
    Broken(StartsOnce, "pairing"),
    Broken(LeavesAFile, "pairing"),
    Broken(LeavesAGenerator, "pairing|cancellation"),
    Broken(ForgetsAll, "restore", STATEFUL),
    Broken(KeysBecomeText, "restore", STATEFUL),
    Broken(MergesItsState, "restore", STATEFUL),
    Broken(RestoresOneGroup, "restore", STATEFUL),
    Broken(HoldsAnObject, "restore", STATEFUL),
    Broken(KeepsACopy, "restore", STATEFUL),
]
