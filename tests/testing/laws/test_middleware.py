"""`check_middleware`: what keeps the rules passes, each way of breaking them is found, a counterexample is a test."""

import itertools
import time

import pytest
import trio
from hypothesis import strategies as st
from testing.broken.middlewares import BROKEN, OPENED, DrainedDefault, SharedByAll, SharedCurrent
from testing.laws.finding import SEEDS, found, replayed
from testing.laws.summing import Running

from agora import ConfigError, middleware
from agora.middlewares import Cast, Compute, Deduplicate, Rename, Select, Where
from agora.middlewares.step import step_from
from agora.testing import LawBroken, check_middleware
from agora.testing.laws import MIDDLEWARE_LAWS, MiddlewareCase
from agora.testing.seeding import use_seed

records = st.fixed_dictionaries(
    {
        "id": st.integers(0, 9),
        "amount": st.integers(0, 9),
        "tags": st.lists(st.sampled_from("abc"), max_size=2),
    }
)
flat = st.fixed_dictionaries(
    {"id": st.integers(0, 9), "amount": st.floats(allow_nan=False), "name": st.none() | st.text(max_size=3)}
)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_a_broken_middleware_is_found_and_its_counterexample_finds_it_again(broken, seed):
    forgotten = getattr(broken.factory, "seen", set()).clear  # what a new process knows nothing of
    forgotten()
    try:
        seen = found(broken.law, check_middleware, broken.factory, records, seed=seed, **broken.profile)
        forgotten()
        again = replayed(seen)
    finally:
        for file in OPENED:
            file.close()
    assert seen.steady or seen.law.name in ("fresh", "company")
    assert again.seen == seen.seen or broken.factory in (
        SharedByAll,
        DrainedDefault,
    )  # that go on from what was


def test_each_law_is_broken_by_one_of_them():
    broken = {name for each in BROKEN for name in each.law.split("|")}
    assert broken == {law.name for law in MIDDLEWARE_LAWS}


def double(record):
    return {**record, "amount": record["amount"] * 2}


@middleware(min_concurrency=4)
async def looked_up(record):
    await trio.sleep(record["amount"] / 100)
    return None if record["amount"] == 5 else {**record, "found": True}


def parts_of(record):
    for tag in record["tags"]:
        yield {"id": record["id"], "tag": tag}


async def fetched_parts(record):
    for tag in record["tags"]:
        await trio.sleep(0.01)
        yield {"id": record["id"], "tag": tag}


class Client:
    """Has a client for as long as it runs, a limit of its own, and answers that are kept."""

    min_concurrency = 3

    def __init__(self):
        self.limit = trio.Semaphore(2)
        self.answers = {}
        self.client = None

    async def on_start(self, context):
        await trio.sleep(0.1)
        self.client = {0: "zero"}

    async def on_end(self):
        self.client = None
        with trio.move_on_after(0.01, shield=True):
            await trio.sleep(0.001)

    async def process(self, record):
        key = record["id"]
        if key not in self.answers:
            async with self.limit:
                with trio.move_on_after(1):
                    await trio.sleep(0.01 * (key % 3))
            self.answers[key] = self.client.get(key, "many")
        record["answer"] = self.answers[key]
        return record


class RunningInBatches(Running):
    process = None

    async def process_batch(self, batch):
        await trio.lowlevel.checkpoint()
        return [Running.process(self, record) for record in batch]


class NthOfItsId:
    """Counts by id, in context.state."""

    def on_start(self, context):
        self.counts = context.state

    def process(self, record):
        key = str(record["id"])
        self.counts[key] = self.counts.get(key, 0) + 1
        return {**record, "nth": self.counts[key]}


class Threaded:
    """Asks a client that blocks, in a thread, one at a time."""

    def __init__(self):
        self.limit = trio.CapacityLimiter(1)

    async def process(self, record):
        await trio.to_thread.run_sync(time.sleep, 0.006, limiter=self.limit)
        return record


class Picky:
    """Fails on some records, one by one."""

    def process_batch(self, batch):
        return [ValueError("odd") if record["amount"] % 2 else record for record in batch]


@pytest.mark.parametrize(
    ("factory", "profile"),
    [
        (lambda: double, {"pure": True}),
        (lambda: looked_up, {"pure": True}),
        (lambda: lambda record: record["amount"] > 3, {"kind": "filter", "pure": True}),
        (lambda: parts_of, {"kind": "flat_map", "pure": True}),
        (lambda: fetched_parts, {"kind": "flat_map", "pure": True}),
        (Client, {}),
        (lambda: Running("amount"), {"stateful": True, "pure": True}),
        (lambda: RunningInBatches("amount"), {"stateful": True, "pure": True}),
        (NthOfItsId, {"stateful": True}),
        (Picky, {"pure": True}),
        (Threaded, {"pure": True, "examples": 5}),
    ],
    ids=[
        "function", "decorated", "filter", "generator", "async generator", "client", "snapshot", "batches", "state",
        "picky", "threaded",
    ],
)  # fmt: skip
def test_one_by_the_rules_passes(factory, profile):
    check_middleware(factory, records, **profile)


@pytest.mark.parametrize(
    ("factory", "profile"),
    [
        (lambda: Where("amount > 0.5 AND name IS NOT NULL"), {}),
        (lambda: Compute({"double": "amount * 2", "label": "name || '!'"}), {}),
        (lambda: Select(["id", "name"]), {}),
        (lambda: Rename({"amount": "price"}), {}),
        (lambda: Cast({"id": "str"}), {}),
        (lambda: Deduplicate("id"), {"stateful": True}),
        (lambda: Deduplicate(["id", "name"], ttl=1e6), {"stateful": True}),
    ],
    ids=["where", "compute", "select", "rename", "cast", "deduplicate", "deduplicate for a time"],
)
def test_what_is_built_in_passes(factory, profile):
    check_middleware(factory, flat, pure=True, **profile)


def test_a_step_in_processes_passes():
    check_middleware(lambda: step_from(double, processes=2), records, pure=True, examples=10)


def counterexample(seed=1):
    return found("concurrency", check_middleware, SharedCurrent, records, seed=seed)


def test_a_counterexample_is_a_test_that_fails_for_as_long_as_the_law_is_broken(monkeypatch):
    found = counterexample()
    assert found.law.statement in str(found)
    assert found.code in str(found)
    assert "seed=1 " in str(found)
    replayed(found)

    async def process(self, record):
        await trio.sleep(0.01)
        return {**record, "looked_up": True}

    monkeypatch.setattr(SharedCurrent, "process", process)
    module = {}
    exec(found.code, module)
    module["test_concurrency"]()


def test_a_counterexample_is_small():
    found = counterexample()
    assert found.code.count('"id"') == 2  # two records that differ, two at once, and no wait
    assert "waits" not in found.code
    assert "concurrency=2" in found.code


def test_the_same_seed_finds_the_same():
    assert str(counterexample(7)) == str(counterexample(7))


def test_the_seed_is_said_by_whoever_runs_the_tests():
    with use_seed(7), pytest.raises(LawBroken) as found:
        check_middleware(SharedCurrent, records)
    assert found.value.seed == 7
    assert str(found.value) == str(counterexample(7))


def test_a_single_case_of_a_single_law():
    case = MiddlewareCase(records=[{"id": 0, "amount": 0, "tags": []}])
    check_middleware(SharedCurrent, law="order", case=case)
    with pytest.raises(ValueError, match="law='disorder': expected one of checkpoints, fresh"):
        check_middleware(SharedCurrent, law="disorder", case=case)
    with pytest.raises(TypeError, match="case="):
        check_middleware(SharedCurrent, law="order")
    with pytest.raises(TypeError, match=r"give records=, a Hypothesis strategy.*int}\)$"):
        check_middleware(SharedCurrent)
    with pytest.raises(TypeError, match=r"instead of \[{'id': 1}\]"):
        check_middleware(SharedCurrent, [{"id": 1}])


def test_that_all_records_failed_is_warned_of():
    class Misnamed:
        def process(self, record):
            return {**record, "twice": record["amnt"] * 2}

    with pytest.warns(UserWarning, match=r"every record that was drawn failed, .* with KeyError: 'amnt'"):
        check_middleware(Misnamed, records, examples=3)


def test_a_factory_that_is_the_part_is_told_what_to_give():
    def step(record):
        return record

    with pytest.raises(TypeError) as raised:
        check_middleware(step, records)
    assert "give a class, or lambda: part" in raised.value.__notes__[0]


def test_what_isn_t_a_middleware_is_said_at_once():
    with pytest.raises(ConfigError, match="no middleware"):
        check_middleware(object, records)


def test_what_fails_on_starting_comes_out():
    class NoServer(Running):
        def on_start(self, context):
            raise OSError("no server")

    with pytest.raises(OSError, match="no server"):
        check_middleware(lambda: NoServer("amount"), records, stateful=True)


def test_a_part_that_isn_t_deterministic_is_told_as_such():
    numbers = itertools.count()

    def unsteady(record):
        return {**record, "number": next(numbers)}

    with pytest.raises(LawBroken, match=r"number"):
        check_middleware(lambda: unsteady, records, seed=1)
