"""Letters by themselves: what is said of a failure, which id it gets, and when it is saved."""

from collections.abc import Sequence
from typing import Any

import pytest
from support import ListSink

from agora.deadletter import DLQRecord, letter_id
from agora.runtime.batch import Batch, Failure, StreamOrigin
from agora.runtime.letters import LetterBox, qualified_name, said


def batch_of(first: int, count: int) -> Batch:
    rows = [f"record {first + offset}" for offset in range(count)]
    origin = StreamOrigin(rows, None, [f"at {first + offset}" for offset in range(count)])
    return Batch(first=first, count=count, rows=rows, index=range(count), origin=origin)


def failed(offset: int, stage: str = "step", error: Exception | None = None, **more: Any) -> Failure:
    return Failure(offset=offset, stage=stage, error=error or KeyError("x"), policy="dead_letter", **more)


def box(**more: Any) -> LetterBox:
    told: dict[str, Any] = {"run_id": "r1", "resumes": True, "dlq": ListSink(), "in_transaction": False}
    return LetterBox(pipeline="p", **told | more)


def test_a_letter_says_of_which_record_it_is_and_where_it_stood() -> None:
    letter = box().letter(batch_of(10, 3), failed(2))
    assert (letter.pipeline, letter.run_id, letter.stage) == ("p", "r1", "step")
    assert (letter.original, letter.error_type, letter.error_message) == ("record 12", "KeyError", "'x'")
    assert letter.checkpoint == {"ordinal": 12, "position": "at 12"}


def test_what_could_not_be_read_is_the_original_of_a_source_s_letter() -> None:
    letter = box().letter(batch_of(10, 3), failed(1, "source", original="broken", entry=None))
    assert (letter.original, letter.entry) == ("broken", None)
    assert letter.checkpoint == {"ordinal": 11, "position": "at 11"}


def test_a_letter_of_finish_belongs_to_the_last_record_and_is_another() -> None:
    letters = box()
    batch = batch_of(10, 3)
    last, behind = letters.letter(batch, failed(2)), letters.letter(batch, failed(3))
    assert (behind.original, behind.checkpoint) == (None, {"ordinal": 12, "position": None})
    assert behind.id != last.id
    assert behind.stage == last.stage
    nothing_read = letters.letter(batch_of(0, 0), failed(0))
    assert nothing_read.id not in (last.id, behind.id)


def ids(letters: LetterBox, *failures: Failure, batch: Batch | None = None) -> list[str]:
    return [letters.letter(batch or batch_of(10, 3), failure).id for failure in failures]


def test_the_id_is_of_ordinal_stage_and_how_many_of_the_record_failed_there_before() -> None:
    several = [failed(0), failed(0), failed(0, "other"), failed(1)]
    first = ids(box(), *several)
    assert len(set(first)) == 4
    assert ids(box(run_id="r2"), *several) == first  # the same again after a resume
    assert ids(box(run_id="r2", resumes=False), *several) != first
    assert ids(box(restarted_by="r2"), *several) != first


def test_ids_are_those_that_earlier_versions_gave() -> None:
    told = {"pipeline": "p", "run_id": "", "ordinal": 10, "stage": "step"}
    assert ids(box(), *[failed(0)] * 3) == [letter_id(**told, nth=nth) for nth in range(3)]  # type: ignore[arg-type]  # some of its arguments


def test_further_records_are_numbered_anew_and_slices_of_the_same_are_not() -> None:
    letters = box()
    one, two = ids(letters, failed(0), failed(0))
    letters.passed(3)
    assert ids(letters, failed(0)) == [one]
    assert ids(letters, failed(0)) == [two]


async def test_a_queue_that_takes_single_letters_is_given_them_one_by_one() -> None:
    one_by_one, together = ListSink(how="record"), ListSink()
    for sink in (one_by_one, together):
        letters = box(dlq=sink)
        await letters.put(made := [letters.letter(batch_of(0, 2), failed(offset)) for offset in range(2)])
        assert sink.records == made
        assert letters.changes() == []
    assert (one_by_one.calls, together.calls) == ([1, 1], [2])


class OnState:
    """A queue on the checkpoint's own state."""

    def changes(self, letters: Sequence[DLQRecord]) -> list[Any]:
        return [letter.id for letter in letters]


async def test_letters_of_the_barrier_s_transaction_wait_for_it_and_are_saved_once() -> None:
    letters = box(dlq=OnState(), in_transaction=True)
    assert letters.changes() == []
    made = [letters.letter(batch_of(0, 3), failed(offset)) for offset in range(3)]
    await letters.put(made[:2])
    await letters.put(made[2:])
    assert letters.changes() == [letter.id for letter in made] == letters.changes()
    letters.saved()
    assert letters.changes() == []


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError

    def __repr__(self) -> str:
        raise RuntimeError


class Shy(Mute):
    def __repr__(self) -> str:
        return "Shy()"


@pytest.mark.parametrize(("error", "says"), [(ValueError("x"), "x"), (Shy(), "Shy()"), (Mute(), "Mute")])
def test_an_error_says_what_it_can(error: Exception, says: str) -> None:
    assert said(error) == says


def test_a_class_is_named_with_its_module_unless_it_is_built_in() -> None:
    assert qualified_name(KeyError) == "KeyError"
    assert qualified_name(Mute).endswith(".Mute")
    assert qualified_name(Mute) == f"{Mute.__module__}.Mute"
