"""The dead-letter queue: every letter once, in stream order, found by its id alone."""

import random
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agora.deadletter import DLQRecord, Entry, letter_id
from agora.errors import StateError
from agora.records import Opaque
from agora.state import SQLiteBackend, StateDLQSink, opened

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def letter(ordinal=0, *, nth=0, pipeline="p", run_id="r", stage="middleware:m", **fields) -> DLQRecord:
    shape = {
        "id": letter_id(pipeline=pipeline, run_id=run_id, ordinal=ordinal, stage=stage, nth=nth),
        "pipeline": pipeline,
        "run_id": run_id,
        "stage": stage,
        "error_type": "builtins.ValueError",
        "error_message": "no",
        "original": {"n": ordinal},
        "checkpoint": {"ordinal": ordinal, "position": None},
        "failed_at": NOON + timedelta(seconds=ordinal),
    }
    return DLQRecord(**{**shape, **fields})


async def read(queue, pipeline="p", **filters):
    async with aclosing(queue.read(pipeline, **filters)) as letters:
        return [found async for found in letters]


async def test_letters_come_back_whole_in_stream_order_whatever_the_order_they_came_in(backend):
    queue = StateDLQSink(backend)
    letters = [letter(n) for n in (0, 1, 2, 9, 10, 11, 99, 100, 12345678901)]
    letters.insert(3, letter(2, nth=1))
    letters.insert(4, letter(2, nth=10))
    mixed = random.Random(1).sample(letters, len(letters))
    await queue.write(mixed[:5])
    await queue.write(mixed[5:])
    assert await read(queue) == letters
    assert await queue.count("p") == len(letters)
    assert not backend.is_open


async def test_letters_with_ids_of_other_makers_are_kept_in_stream_order_among_them(backend):
    queue = StateDLQSink(backend)
    letters = [letter(n, id=f"id-{9 - n}") if n % 2 else letter(n) for n in range(9)]
    await queue.write(letters[::-1])
    await queue.write([letter(3, id="elsewhere", pipeline="q")])
    assert await read(queue) == letters
    assert [found.id for found in await read(queue, "q")] == ["elsewhere"]
    await queue.delete(["id-8", letters[0].id])
    assert await read(queue) == letters[2:]


async def test_the_same_id_twice_is_one_letter_the_later_one(backend):
    queue = StateDLQSink(backend)
    again = attrs.evolve(letter(1), attempts=2)
    await queue.write([letter(1), letter(2), again])
    assert await read(queue) == [again, letter(2)]
    assert await queue.count("p") == 2


async def test_pipelines_do_not_see_each_others_letters(backend):
    queue = StateDLQSink(backend)
    names = ["p", "p:1", "p:", "", "pp", "p:1:aaaaaaaaaaaa", "pä\n"]
    await queue.write([letter(1, pipeline=name) for name in names])
    for name in names:
        assert await read(queue, name) == [letter(1, pipeline=name)]
        assert await queue.count(name) == 1
    await queue.delete([letter(1, pipeline="p:1").id])
    assert await queue.count("p:1") == 0
    assert await queue.count("p") == 1


async def test_deleted_letters_are_gone_and_deleting_again_is_no_error(backend):
    queue = StateDLQSink(backend)
    await queue.write([letter(n) for n in range(4)])
    for _ in range(2):
        await queue.delete([letter(1).id, letter(3).id, "never"])
    assert await read(queue) == [letter(0), letter(2)]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"stage": "source"}, [1]),
        ({"error_type": "KeyError"}, [2]),
        ({"error_type": "builtins.KeyError"}, [2]),
        ({"error_type": "Error"}, []),
        ({"since": NOON + timedelta(seconds=3)}, [3, 4]),
        ({"until": NOON + timedelta(seconds=3)}, [0, 1, 2]),
        ({"since": NOON + timedelta(seconds=1), "until": NOON + timedelta(seconds=2)}, [1]),
        ({"limit": 2}, [0, 1]),
        ({"limit": 0}, []),
        ({"limit": 1, "error_type": "KeyError"}, [2]),
        ({"ids": [letter(4).id, letter(0).id, "never"]}, [0, 4]),
        ({"ids": [letter(4).id, letter(0).id], "limit": 1}, [0]),
        ({"ids": []}, []),
        ({"ids": [letter(1, pipeline="q").id]}, []),
    ],
)
async def test_reading_gives_what_matches_every_filter(backend, filters, expected):
    queue = StateDLQSink(backend)
    letters = [letter(n) for n in range(5)]
    letters[1] = attrs.evolve(letter(1, stage="source"))
    letters[2] = attrs.evolve(letters[2], error_type="builtins.KeyError")
    await queue.write([*letters, letter(1, pipeline="q")])
    assert [found.checkpoint["ordinal"] for found in await read(queue, **filters)] == expected


async def test_letters_ride_in_a_transaction_of_their_backend(backend):
    queue = StateDLQSink(backend)
    async with opened(backend):
        await backend.apply([*queue.changes([letter(1), letter(2)]), *queue.removals([letter(1).id])])
        assert await read(queue) == [letter(2)]


@attrs.frozen
class Order:
    number: int
    price: Decimal


async def test_values_of_every_kind_come_back_and_classes_only_where_asked_for(backend):
    queue = StateDLQSink(backend)
    kept = letter(
        1,
        original=Order(1, Decimal("1.5")),
        processed={"at": NOON, 1: b"x"},
        entry=Entry(step="m", record=(Order(2, Decimal(2)), {"step": 1})),
        checkpoint={"ordinal": 1, "position": {"offset": 5}},
        attempts=3,
    )
    await queue.write([kept])
    assert await read(queue, classes=[Order]) == [kept]
    (plain,) = await read(queue)
    assert plain.original == {"number": 1, "price": Decimal("1.5")}


async def test_what_can_not_be_stored_is_kept_as_its_repr_and_not_replayable(backend):
    queue = StateDLQSink(backend)
    await queue.write([letter(1, original={"path": Path("a")})])
    (found,) = await read(queue)
    assert found.original == {"path": Opaque(repr(Path("a")))}
    assert not found.replayable


async def test_a_reader_that_stops_early_leaves_nothing_open(backend):
    queue = StateDLQSink(backend)
    await queue.write([letter(n) for n in range(600)])
    async with aclosing(queue.read("p")) as letters:
        async for _ in letters:
            break
    assert not backend.is_open


async def test_letters_can_be_deleted_while_they_are_read(backend):
    queue = StateDLQSink(backend)
    await queue.write([letter(n) for n in range(600)])
    seen = 0
    async with aclosing(queue.read("p")) as letters:
        async for found in letters:
            await queue.delete([found.id])
            seen += 1
    assert seen == 600
    assert await queue.count("p") == 0


async def test_a_damaged_letter_is_an_error_naming_the_file(tmp_path):
    backend = SQLiteBackend(tmp_path / "state.db")
    queue = StateDLQSink(backend)
    await queue.write([letter(1)])
    async with opened(backend):
        (put,) = queue.changes([letter(1)])
        for damaged in (put.value[:-5], b'{"id":"1"}', b"[]"):
            await backend.put(put.namespace, put.key, damaged)
            with pytest.raises(StateError, match=r"state\.db"):
                await read(queue)


async def test_writing_nothing_does_nothing(backend):
    await StateDLQSink(backend).write([])


async def test_as_a_sink_it_opens_and_closes_its_backend(backend):
    queue = StateDLQSink(backend)
    await queue.open(None)
    assert backend.is_open
    await queue.close()
    assert not backend.is_open


@given(st.text(), st.text(), st.integers(0, 10**15), st.text(), st.integers(0, 99))
def test_the_same_failure_has_the_same_id_and_another_has_another(pipeline, run_id, ordinal, stage, nth):
    failure = {"pipeline": pipeline, "run_id": run_id, "ordinal": ordinal, "stage": stage, "nth": nth}
    made = letter_id(**failure)
    assert letter_id(**failure) == made
    for other in (
        {**failure, "pipeline": pipeline + "x"},
        {**failure, "run_id": run_id + "x"},
        {**failure, "ordinal": ordinal + 1},
        {**failure, "stage": stage + "x"},
        {**failure, "nth": nth + 1},
    ):
        assert letter_id(**other) != made
