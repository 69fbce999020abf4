"""The barrier by itself: its steps in their order, what each leaves where the next one fails, and when it is needed."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from support import ListSink

from agora import Checkpoint
from agora.errors import AgoraError
from agora.runtime.barrier import Barrier, LastCheckpoint, blocking_prepares, commit, finish, prepare
from agora.runtime.batch import Cut
from agora.runtime.closing import Closing
from agora.runtime.delivery import SinkPort
from agora.runtime.pace import Pace
from agora.runtime.spans import Spans
from agora.runtime.states import StepStates
from agora.sinks import JsonLinesSink
from agora.threaded import threaded
from agora.tracing import NoopTracer


@attrs.define(eq=False)
class Sink:
    """Notes its calls, with those of others, in `told`."""

    told: list[str]
    name: str
    fails: str = ""

    def _call(self, what: str) -> None:
        self.told.append(f"{self.name} {what}")
        if self.fails == what:
            raise OSError(what)

    async def finish(self) -> None:
        self._call("finish")

    async def prepare(self) -> str:
        self._call("prepare")
        return f"token {self.name}"

    async def commit(self, token: Any) -> None:
        self._call(f"commit {token}")


@attrs.define(eq=False)
class Flushed:
    """Without a transaction."""

    told: list[str]

    async def flush(self) -> None:
        self.told.append("flushed")


@attrs.define(eq=False)
class Store:
    """A user's own."""

    told: list[str]
    saved: list[Checkpoint] = attrs.field(factory=list)
    amended: list[Checkpoint] = attrs.field(factory=list)
    slow: float = 0.0

    also: list[Any] = attrs.field(factory=list)
    """Changes of the same transaction."""

    async def save(self, pipeline: str, checkpoint: Checkpoint, *, also: Any = ()) -> None:
        await trio.sleep(self.slow)
        self.also += also
        self.told.append(f"save {pipeline} {checkpoint.ordinal}")
        self.saved.append(checkpoint)

    async def amend(self, pipeline: str, checkpoint: Checkpoint, *, also: Any = ()) -> None:
        await trio.sleep(self.slow)
        self.also += also
        self.told.append(f"amend {pipeline} {checkpoint.ordinal}")
        self.amended.append(checkpoint)


class Letters:
    """Of the barrier's transaction."""

    def __init__(self) -> None:
        self.waiting = ["letter"]

    def changes(self) -> list[Any]:
        return list(self.waiting)

    def saved(self) -> None:
        self.waiting.clear()


def port(name: str, sink: Any) -> SinkPort:
    return SinkPort(name=name, sink=sink, policy="stop", pace=Pace())


def checkpoint(ordinal: int = 5, **more: Any) -> Checkpoint:
    told: dict[str, Any] = {"position": "old", "source": "s", "run_id": "r0", "saved_at": datetime.now(UTC)}
    return Checkpoint(ordinal=ordinal, **told | more)


class Made:
    """A barrier with sinks `a`, `b` and one that is only flushed."""

    def __init__(self, *, fails: str = "", last: Checkpoint | None = None, **more: Any) -> None:
        self.told: list[str] = []
        self.store = Store(self.told)
        self.ports = [
            port("a", Sink(self.told, "a")),
            port("f", Flushed(self.told)),
            port("b", Sink(self.told, "b", fails)),
        ]
        told: dict[str, Any] = {
            "store": self.store,
            "closing": Closing(),
            "letters": None,
            "committed": lambda at: self.told.append(f"committed {at}"),
        }
        self.barrier = Barrier(
            pipeline="p",
            run_id="r1",
            fence=3,
            identity="s",
            ports=self.ports,
            states=StepStates(pipeline="p", saves=True),
            spans=Spans(NoopTracer()),
            last=LastCheckpoint(last),
            **told | more,
        )

    @property
    def open(self) -> list[str]:
        return [each.name for each in self.ports if each.prepared]


def cut(ordinal: int = 9, **more: Any) -> Cut:
    return Cut(ordinal=ordinal, position="here", **more)


STEPS = [
    *("a prepare", "flushed", "b prepare", "save p 9"),
    *("a commit token a", "b commit token b", "committed here"),
]


async def test_all_prepare_before_the_save_and_all_commit_behind_it_and_then_the_source_is_told() -> None:
    made = Made()
    saved = trio.Event()
    await made.barrier.at(cut(skip=2, saved=saved, states={"step": {"snapshot": 1}}), anything_new=True)
    assert made.told == STEPS
    assert saved.is_set()
    (checkpoint,) = made.store.saved
    assert (checkpoint.position, checkpoint.skip, checkpoint.ordinal) == ("here", 2, 9)
    assert (checkpoint.source, checkpoint.fence, checkpoint.run_id, checkpoint.completed) == (
        "s",
        3,
        "r1",
        False,
    )
    assert checkpoint.sinks == {"a": "token a", "f": None, "b": "token b"}
    assert checkpoint.states == {"step": {"snapshot": 1}}
    assert checkpoint.saved_at.tzinfo is UTC
    assert made.barrier.last.saved is checkpoint
    assert (made.barrier.saves, made.open) == (1, [])


async def test_what_waits_in_a_sink_is_written_before_the_last_barrier_unless_a_run_goes_on() -> None:
    made = Made()
    await made.barrier.at(cut(completed=True), anything_new=True)
    assert made.told == ["a finish", "b finish", *STEPS]
    assert made.store.saved[0].completed
    going_on = Made(goes_on=True)
    await going_on.barrier.at(cut(completed=True), anything_new=True)
    assert going_on.told == STEPS


@pytest.mark.parametrize("amends", [False, True])
async def test_what_else_is_unsaved_goes_in_the_same_transaction_and_once(amends: bool) -> None:
    letters = Letters()
    made = Made(letters=letters)
    made.barrier.states.unsaved.append("row")  # type: ignore[arg-type]  # any object does
    for _ in range(2):
        await made.barrier.at(cut(completed=amends), anything_new=not amends)
    assert (made.store.also, letters.waiting) == (["row", "letter"], [])
    assert made.told.count("amend p 9" if amends else "save p 9") == 2
    assert [len(made.store.saved), len(made.store.amended)] == ([0, 2] if amends else [2, 0])


class Blocking:
    """A store whose save can be done in one thread call with the sinks' prepares."""

    def __init__(self) -> None:
        self.saved: list[tuple[str, Checkpoint, list[Any]]] = []

    @threaded
    def save(self, pipeline: str, checkpoint: Checkpoint, *, also: Any = ()) -> None:
        self.saved.append((pipeline, checkpoint, list(also)))


class BlockingSink(ListSink):
    fails = False

    @threaded
    def prepare(self) -> str:
        if self.fails:
            raise OSError("prepare")
        return "token t"

    async def commit(self, token: Any) -> None:
        self.calls.append(token)


async def test_in_one_thread_call_the_same_is_prepared_saved_and_committed() -> None:
    store, sink = Blocking(), BlockingSink()
    made = Made(letters=Letters(), store=store)
    made.ports.append(port("t", sink))
    made.barrier.states.unsaved.append("row")  # type: ignore[arg-type]  # as above
    await made.barrier.at(cut(), anything_new=True)
    ((pipeline, checkpoint, also),) = store.saved
    assert (pipeline, checkpoint.ordinal, also) == ("p", 9, ["row", "letter"])
    assert checkpoint.sinks == {"a": "token a", "f": None, "b": "token b", "t": "token t"}
    assert (sink.calls, made.open, made.barrier.last.saved) == (["token t"], [], checkpoint)
    sink.fails = True
    with pytest.raises(OSError, match="prepare"):
        await made.barrier.at(cut(), anything_new=True)
    assert (len(store.saved), made.open) == (1, ["a", "b", "t"])


async def test_a_run_that_is_over_begins_nothing_in_a_thread() -> None:
    store = Blocking()
    made = Made(store=store)
    made.ports[:] = [port("t", BlockingSink())]
    with trio.CancelScope() as scope:
        scope.cancel()
        await made.barrier.at(cut(), anything_new=True)
    assert (scope.cancelled_caught, store.saved, made.open) == (True, [], [])


async def test_where_only_the_end_is_new_the_checkpoint_is_amended_and_that_is_no_save() -> None:
    made = Made()
    await made.barrier.at(cut(completed=True), anything_new=False)
    assert (made.store.saved, len(made.store.amended)) == ([], 1)
    assert made.barrier.saves == 0


@pytest.mark.parametrize(
    ("fails", "told", "left"),
    [
        ("prepare", STEPS[:3], ["a", "b"]),
        ("commit token b", STEPS[:6], ["b"]),
    ],
)
async def test_a_sink_is_open_from_before_its_prepare_until_its_commit_is_through(
    fails: str, told: list[str], left: list[str]
) -> None:
    made = Made(fails=fails)
    with pytest.raises(OSError, match=fails):
        await made.barrier.at(cut(), anything_new=True)
    assert (made.told, made.open) == (told, left)


async def test_a_replay_keeps_the_place_in_the_source_of_the_checkpoint_before_it() -> None:
    kept = checkpoint(completed=True, skip=1, saved_at=datetime(2020, 1, 1, tzinfo=UTC))
    made = Made(kept=kept)
    await made.barrier.at(cut(), anything_new=True)
    await made.barrier.at(cut(final=True), anything_new=True)
    between, last = made.store.saved
    assert [(each.position, each.skip, each.ordinal) for each in (between, last)] == [("old", 1, 5)] * 2
    assert (between.completed, last.completed) == (False, True)
    assert (last.sinks["a"], last.fence, last.run_id) == ("token a", 3, "r1")
    assert last.saved_at >= between.saved_at > kept.saved_at


@pytest.mark.parametrize("amends", [False, True])
async def test_a_save_that_outlasts_the_closing_deadline_ends_the_run_and_says_that_it_may_be_saved(
    autojump_clock: trio.testing.MockClock, amends: bool
) -> None:
    closing = Closing(seconds=7.0)
    closing._deadline = trio.current_time() + 7.0
    made = Made(closing=closing)
    made.store.slow = 8.0
    with pytest.raises(
        AgoraError, match=r"at record 9 didn't end within the closing deadline of 7 s.*unknown"
    ):
        await made.barrier.at(cut(completed=amends), anything_new=not amends)
    assert made.open == ["a", "b"]
    assert (made.barrier.last.saved, "committed here" in made.told) == (None, False)


async def test_before_the_first_record_behind_a_completed_checkpoint_it_is_saved_that_it_is_not_the_end() -> (
    None
):
    made = Made(last=checkpoint(completed=True, sinks={"a": "moved away"}, states={"step": 1}))
    await made.barrier.before_writing()
    (again,) = made.store.amended
    assert (again.completed, again.fence, again.ordinal, again.states) == (False, 3, 5, {"step": 1})
    assert again.sinks == {"a": "token a", "f": None, "b": "token b"}
    assert made.open == []  # nothing is written yet
    await made.barrier.before_writing()
    assert len(made.store.amended) == 1  # once
    await made.barrier.at(cut(completed=True), anything_new=True)
    await made.barrier.before_writing()  # it is completed anew
    assert [each.ordinal for each in made.store.amended] == [5, 9]


@pytest.mark.parametrize("last", [None, checkpoint()])
async def test_behind_any_other_checkpoint_nothing_is_saved_before_writing(last: Checkpoint | None) -> None:
    made = Made(last=last)
    await made.barrier.before_writing()
    assert made.told == []


async def test_opening_a_completed_checkpoint_again_has_the_closing_deadline_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    closing = Closing()
    closing._deadline = trio.current_time() + 7.0
    made = Made(closing=closing, last=checkpoint(completed=True))
    made.store.slow = 8.0
    with pytest.raises(AgoraError, match="couldn't be opened again within the closing deadline"):
        await made.barrier.before_writing()


async def nothing() -> None: ...


NEW, DONE = checkpoint(), checkpoint(completed=True)


@pytest.mark.parametrize(
    ("needed", "last", "kept", "goes_on", "of_cut"),
    [
        (False, NEW, None, False, {}),
        (True, NEW, None, False, {"completed": True}),
        (False, DONE, None, False, {"completed": True}),
        (True, DONE, DONE, False, {"completed": True}),  # a replay saves its end anew
        (True, None, None, False, {"completed": True}),
        (True, None, None, False, {"interlude": nothing}),  # the replay needs a place to keep
        (False, NEW, None, False, {"interlude": nothing}),
        (False, None, None, False, {}),
        (True, NEW, NEW, False, {"completed": True}),
        (False, NEW, NEW, True, {"completed": True}),  # the run that goes on saves its own end
        (False, DONE, DONE, True, {"completed": True}),
        (True, NEW, DONE, True, {"completed": True}),  # what the replay began it has to complete again
        (False, NEW, DONE, True, {}),
    ],
)
async def test_a_barrier_is_needed_where_there_is_something_to_save(
    needed: bool, last: Any, kept: Any, goes_on: bool, of_cut: dict[str, Any]
) -> None:
    barrier = Made(last=last, kept=kept, goes_on=goes_on).barrier
    assert barrier.needed(cut(**of_cut), anything_new=False) is needed
    assert barrier.needed(cut(**of_cut), anything_new=True) is True
    assert barrier.needed(cut(**of_cut, saved=trio.Event()), anything_new=False) is True


def test_only_sinks_whose_prepare_blocks_can_prepare_in_a_thread(tmp_path: Path) -> None:
    sinks = {"j": JsonLinesSink(tmp_path / "j.jsonl"), "l": ListSink(), "s": Sink([], "s")}
    assert list(blocking_prepares([port(name, sink) for name, sink in sinks.items()])) == ["j"]


async def test_sinks_without_a_transaction_are_left_alone_or_flushed() -> None:
    told: list[str] = []
    ports = [port("l", ListSink()), port("f", Flushed(told))]
    tokens = await prepare(ports)
    assert tokens == {"l": None, "f": None}
    await commit(ports, tokens)
    await finish(ports)
    assert (told, [each.prepared for each in ports]) == (["flushed"], [False, False])
