"""One sink at its place, by itself: which records it refused, and which of all that it is asked about."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from support import ListSink

from agora.columns import Columns
from agora.errors import RecordsRejected
from agora.runtime.delivery import SinkPort, chosen_rows, route
from agora.runtime.pace import Pace


def port(sink: Any, policy: Any = "dead_letter", **more: Any) -> SinkPort:
    return SinkPort(name="s", sink=sink, policy=policy, pace=Pace(), **more)


def b(row: Any) -> bool:
    return bool(row == "b")


class Raising:
    def __init__(self, error: Exception) -> None:
        self.error = error

    async def write_record(self, record: Any) -> None:
        raise self.error


class RaisingTogether:
    atomic_write = True

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def write(self, records: Sequence[Any]) -> None:
        raise self.error


HOWS = ["rejected", "atomic", "record"]


@pytest.mark.parametrize("how", HOWS)
async def test_refused_records_are_named_by_position_and_counted(how: str) -> None:
    sink = ListSink(how=how, bad=lambda row: row in "bde")
    at = port(sink)
    refused = await at.deliver(list("abcdefg"))
    assert {position: str(error) for position, error in refused.items()} == {
        1: "refused 'b'",
        3: "refused 'd'",
        4: "refused 'e'",
    }
    assert sink.records == list("acfg")
    assert await at.deliver(["x"]) == {}
    assert (at.count.failed, at.count.left) == (3, 5)


@pytest.mark.parametrize("how", ["atomic", "record"])
async def test_under_stop_nothing_behind_the_first_refused_is_begun(how: str) -> None:
    sink = ListSink(how=how, bad=lambda row: row in "cf")
    assert list(await port(sink, "stop").deliver(list("abcdefg"))) == [2]
    assert sink.records == ["a", "b"]


async def test_under_stop_a_rejection_comes_out_as_it_is_at_its_first_record() -> None:
    sink = ListSink(bad=lambda row: row in "cb")
    assert await port(sink, "stop").deliver(list("abcd")) == {1: sink.refused[-1]}
    ((position, error),) = (
        await port(Raising(RecordsRejected({0: KeyError()})), "stop").deliver(["a"])
    ).items()
    assert (position, type(error)) == (0, RecordsRejected)


async def test_of_a_rejection_of_a_single_record_what_is_wrong_with_it_comes_out() -> None:
    class Rejecting:
        async def write_record(self, record: Any) -> None:
            raise RecordsRejected({0: KeyError(record)} if record == "a" else {})

    refused = await port(Rejecting()).deliver(["a", "b"])
    assert [type(error) for error in refused.values()] == [KeyError, RecordsRejected]


@pytest.mark.parametrize("names", [[3], [-1], [0, 7], []])
async def test_a_rejection_that_cannot_be_is_no_answer(names: list[int]) -> None:
    class Lying:
        async def write(self, records: Sequence[Any]) -> None:
            raise RecordsRejected({name: ValueError() for name in names})

    strange = [name for name in names if name != 0]
    with pytest.raises(RecordsRejected) as raised:
        await port(Lying()).deliver(["a", "b", "c"])
    (note,) = raised.value.__notes__
    assert f"Lying.write named the records {strange} of a batch of 3" in note


async def test_an_error_that_does_not_say_what_was_accepted_says_how_a_sink_could() -> None:
    class Silent:
        async def write(self, records: Sequence[Any]) -> None:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no") as raised:
        await port(Silent()).deliver(["a", "b"])
    assert "Silent.write raised this for a batch of 2 records" in raised.value.__notes__[0]
    assert list(await port(Silent()).deliver(["a"])) == [0]


async def test_what_concerns_no_record_comes_out() -> None:
    for sink in (Raising(OSError("gone")), RaisingTogether(OSError("gone"))):
        with pytest.raises(OSError, match="gone"):
            await port(sink).deliver(["a", "b", "c"])


async def test_where_no_sink_chooses_each_takes_all() -> None:
    ports = [port(ListSink()), port(ListSink())]
    assert await route(ports, ["a", "b"], Pace()) == ([None, None], [{}, {}])


async def test_each_sink_takes_what_it_wants_and_otherwise_what_none_before_it_took() -> None:
    def fails(row: Any) -> bool:
        if row == "d":
            raise KeyError(row)
        return bool(row == "c")

    ports = [
        port(ListSink(), where=b),
        port(ListSink(), otherwise=True),
        port(ListSink()),
        port(ListSink(), where=fails),
        port(ListSink(), otherwise=True),
    ]
    routes, errors = await route(ports, list("abcde"), Pace())
    assert routes == [[1], [0, 2, 3, 4], None, [2], [0, 4]]
    assert [list(each) for each in errors] == [[], [], [], [3], []]


class Choosing:
    """A `where` that answers for all rows at once."""

    def __call__(self, row: Any) -> bool:
        raise AssertionError

    def choose(self, rows: Sequence[Any]) -> tuple[list[int], dict[int, Exception]]:
        return [0], {2: KeyError()}


async def test_a_where_that_answers_for_all_at_once_is_asked_so() -> None:
    ports = [port(ListSink(), where=Choosing()), port(ListSink(), otherwise=True)]
    routes, errors = await route(ports, list("abc"), Pace())
    assert routes == [[0], [1]]
    assert [list(each) for each in errors] == [[2], []]


def columns_of(*numbers: int) -> Columns:
    return Columns(pa.RecordBatch.from_pydict({"n": list(numbers)}))


class ColumnSink:
    """Takes batches without the number that is refused."""

    atomic_write = True

    def __init__(self, refused: int = -1) -> None:
        self.refused = refused
        self.got: list[list[int]] = []

    async def write(self, records: Sequence[Any]) -> None:
        raise AssertionError("columns are written as columns")

    async def write_columns(self, record_batch: pa.RecordBatch) -> None:
        numbers = record_batch.column("n").to_pylist()
        if self.refused in numbers:
            raise ValueError(self.refused)
        self.got.append(numbers)


async def test_a_sink_that_takes_columns_is_written_them_and_the_culprit_is_found_in_them() -> None:
    sink = ColumnSink(refused=3)
    refused = await port(sink).deliver(columns_of(0, 1, 2, 3, 4))
    assert list(refused) == [3]
    assert [number for part in sink.got for number in part] == [0, 1, 2, 4]


def test_chosen_rows_are_those_at_the_positions_in_the_form_that_they_have() -> None:
    assert chosen_rows(list("abcd"), [1, 3]) == ["b", "d"]
    chosen = chosen_rows(columns_of(5, 6, 7), [0, 2])
    assert isinstance(chosen, Columns)
    assert chosen.data.column("n").to_pylist() == [5, 7]
