"""What a run keeps of its steps' states: who may have one, what a cut takes, and what is given back."""

from typing import Any

import pytest
from process_steps import double
from support import CountingStore, run_virtual

from agora.middlewares.step import Step, StepKind, step_from
from agora.runtime.batch import Cut
from agora.runtime.states import StepStates
from agora.runtime.stepstate import StateMisuseError, StepState, UnusableState
from agora.state import CheckpointStore, MemoryBackend
from agora.state.steplog import StepLog


class Snapshotting:
    """Its state is a list, which it gives as it is."""

    def __init__(self) -> None:
        self.seen: list[Any] = [0]

    def process(self, record: Any) -> Any:
        return record

    def snapshot(self) -> Any:
        return self.seen

    def restore(self, state: Any) -> None:
        self.seen = state


def plain(name: str, **more: Any) -> Step:
    return step_from(lambda record: record, kind=StepKind.MAP, name=name, **more)


def states(store: Any = None, saves: bool = True) -> StepStates:
    return StepStates(pipeline="p", saves=saves, store=store if store is not None else CountingStore())


def cut() -> Cut:
    return Cut(ordinal=1, position=None)


class Own:
    """A store of the user's own that knows nothing but the contract."""

    async def save(self, pipeline: str, checkpoint: Any) -> None: ...


class OwnWithState(Own):
    state = MemoryBackend()


class OwnThatSaves(OwnWithState):
    async def save(self, pipeline: str, checkpoint: Any, *, also: Any = ()) -> None: ...


class OwnThatTakesAll(OwnWithState):
    async def save(self, pipeline: str, checkpoint: Any, **more: Any) -> None: ...


@pytest.mark.parametrize(
    ("store", "usable"),
    [
        (Own(), False),
        (OwnWithState(), False),
        (OwnThatSaves(), True),
        (OwnThatTakesAll(), True),
        (CheckpointStore(MemoryBackend()), True),
    ],
)
def test_a_store_that_cannot_save_a_state_gives_none(store: Any, usable: bool) -> None:
    mapping = states(store).mapping(plain("a"))
    if usable:
        mapping["x"] = 1
        return
    with pytest.raises(
        StateMisuseError, match=rf"step 'a' can't use.*\({type(store).__name__}\) couldn't save it"
    ):
        mapping["x"] = 1
    unsaved = states(store, saves=False).mapping(plain("a"))
    unsaved["x"] = 1  # nothing is to be saved
    assert unsaved == {"x": 1}


def test_a_buffered_step_can_have_none() -> None:
    mapping = states().mapping(plain("a", concurrency=3))
    assert isinstance(mapping, UnusableState)
    with pytest.raises(
        StateMisuseError, match=r"step 'a' runs with concurrency=3, so it can't use context\.state"
    ):
        mapping["x"] = 1


def test_a_step_in_processes_can_have_none() -> None:
    mapping = states().mapping(step_from(double, name="a", processes=2))
    with pytest.raises(StateMisuseError, match=r"step 'a' runs with processes=\d+, so"):
        mapping["x"] = 1


def test_a_step_s_mapping_is_one_object_and_its_own() -> None:
    kept = states()
    assert kept.mapping(plain("a")) is kept.mapping(plain("a"))
    assert kept.mapping(plain("a")) is not kept.mapping(plain("b"))
    saved, unsaved = kept.mapping(plain("a")), states(saves=False).mapping(plain("a"))
    assert isinstance(saved, StepState)
    assert isinstance(unsaved, StepState)
    assert (isinstance(saved.log, StepLog), unsaved.log) == (True, None)


def test_a_step_is_stateful_by_its_snapshot_or_once_it_has_used_its_mapping() -> None:
    kept, step, other = states(), plain("a"), step_from(Snapshotting(), name="b")
    assert not kept.stateful(step)
    assert not kept.using(step)()
    assert kept.stateful(other)
    mapping, using = kept.mapping(step), kept.using(step)
    assert not kept.stateful(step)
    assert not using()
    assert "x" not in mapping
    assert kept.stateful(step)
    assert using()


def test_what_a_batch_did_is_taken_back_from_mapping_and_snapshot() -> None:
    kept, part = states(), Snapshotting()
    step = step_from(part, name="a")
    mapping = kept.mapping(step)
    mapping["x"] = 1
    begun = kept.begin(step)
    part.seen.append(1)
    mapping["x"] = 2
    kept.undo(step, begun)
    assert (part.seen, mapping["x"]) == ([0], 1)
    without = plain("b")
    kept.undo(without, kept.begin(without))  # has neither


def test_a_cut_takes_snapshot_and_mapping_as_they_are_there() -> None:
    kept, part = states(), Snapshotting()
    step, mapped, bare = step_from(part, name="a"), plain("m"), plain("b")
    at = cut()
    kept.mapping(mapped)["x"] = 1
    kept.mapping(bare)
    for each in (step, mapped, bare, plain("none")):
        kept.cut(each, at)
    part.seen.append(1)
    assert at.states == {
        "a": {"snapshot": [0], "state": None},
        "m": {"snapshot": None, "state": {"keys": 1, "first": 0, "next": 1}},
    }
    assert len(at.changes) == 1


def test_changes_of_cuts_that_reached_the_writer_wait_for_the_next_save() -> None:
    kept, first, second = states(), cut(), cut()
    first.changes += ["a", "b"]  # type: ignore[list-item]  # any objects do
    second.changes += ["c"]  # type: ignore[list-item]  # as above
    kept.reached(first)
    kept.reached(second)
    kept.reached(first)
    assert kept.unsaved == ["a", "b", "c"]


async def saved_of(store: CheckpointStore, step: Step, **put: Any) -> dict[str, Any]:
    """What a checkpoint says, the rows being there."""
    kept, at = states(store), cut()
    kept.mapping(step).update(put)
    kept.cut(step, at)
    await store.state.apply(at.changes)
    return at.states


def test_a_mapping_is_filled_with_what_was_saved_and_goes_on_behind_it() -> None:
    async def main() -> None:
        store, step = CountingStore(), plain("a")
        await store.state.open()
        saved = await saved_of(store, step, x=1, y=[2])
        kept, at = states(store), cut()
        await kept.load(step, saved)
        assert kept.stateful(step)
        mapping = kept.mapping(step)
        assert dict(mapping) == {"x": 1, "y": [2]}
        mapping["z"] = 3
        kept.cut(step, at)
        assert at.states["a"]["state"] == {"keys": 3, "first": 0, "next": 2}  # type: ignore[index,call-overload]  # of JSON
        fresh = states(store)
        await fresh.load(plain("other"), saved)
        assert not fresh.stateful(plain("other"))
        await fresh.load(plain("a", concurrency=2), saved)  # can't have one anymore: it isn't read

    run_virtual(main)


@pytest.mark.parametrize("count", [0, 1])
def test_a_mapping_that_was_emptied_is_not_in_use(count: int) -> None:
    async def main() -> bool:
        store, step = CountingStore(), plain("a")
        await store.state.open()
        kept, at = states(store), cut()
        mapping = kept.mapping(step)
        mapping["x"] = mapping["y"] = 1
        before = cut()
        kept.cut(step, before)
        await store.state.apply(before.changes)
        mapping.clear()
        mapping.update({str(number): number for number in range(count)})
        kept.cut(step, at)
        await store.state.apply(at.changes)
        later = states(store)
        await later.load(step, at.states)
        return later.stateful(step)

    assert run_virtual(main) is (count > 0)


def test_rows_of_steps_that_are_gone_go_with_the_next_checkpoint() -> None:
    async def main() -> None:
        store, gone, here = CountingStore(), plain("gone"), plain("here")
        await store.state.open()
        saved = await saved_of(store, gone, x=1) | await saved_of(store, here, x=1) | {"s": {"snapshot": 1}}
        kept = states(store)
        await kept.load(here, saved)
        kept.forget_others(saved)
        assert [type(change).__name__ for change in kept.unsaved] == ["Delete"]
        for unable in (states(Own()), states(store, saves=False)):
            unable.forget_others(saved)
            assert unable.unsaved == []

    run_virtual(main)


def restored(
    part: Snapshotting, saved: dict[str, Any], *, afresh: bool = True, step: Step | None = None
) -> Step:
    step = step or step_from(part, name="a")
    states().restore(step, saved, afresh=afresh)
    return step


def test_a_snapshot_that_was_saved_is_given_back() -> None:
    part = Snapshotting()
    restored(part, {"a": {"snapshot": [7]}, "b": {"snapshot": [8]}})
    assert part.seen == [7]


def test_of_a_step_of_which_nothing_is_saved_a_later_run_starts_with_what_it_was_before_its_first() -> None:
    part = Snapshotting()
    step = restored(part, {})
    assert part.seen == [0]
    part.seen.append(1)
    restored(part, {}, afresh=False, step=step)  # a replay goes on with what there is
    assert part.seen == [0, 1]
    restored(part, {}, step=step)
    assert part.seen == [0]
    part.seen.append(2)
    restored(part, {"a": "no state of a step"}, step=step)
    assert part.seen == [0]


def test_a_step_without_a_snapshot_is_left_alone() -> None:
    states().restore(plain("a"), {"a": {"snapshot": 1}}, afresh=True)
