"""One step's mapping against a plain dict, and what is saved of it: what has changed, no more, and never less."""

import copy
from typing import Any

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agora.errors import ConfigError, StateError
from agora.runtime import stepstate
from agora.runtime.stepstate import StepState
from agora.state import Delete, MemoryBackend, Put, steplog
from agora.state.sealed import unseal
from agora.state.steplog import Place, StepLog, read_rows, removals
from agora.state.transaction import opened

keys = st.sampled_from(["a", "b", "c", "ä", "", "$", "\udcff", *"0123456789"])
fixed = (
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
)
values = st.recursive(
    fixed, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner)
)


def changed_in_place(value: Any, by: Any) -> None:
    if isinstance(value, list):
        value.append(by)
    elif isinstance(value, dict):
        value["by"] = by


class Mappings(RuleBasedStateMachine):
    """A step's state is used, cut, saved by some cuts and read again, as a run and the runs behind it do."""

    @initialize(
        flush=st.sampled_from([1, 3, 4_096]),
        slack=st.sampled_from([0, 4, 1_024]),
        row=st.sampled_from([1, 2, 512]),
    )
    def begin(self, flush: int, slack: int, row: int) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(stepstate, "_FLUSH", flush)
        self.patch.setattr(steplog, "_SLACK", slack)
        self.patch.setattr(steplog, "_ROW_KEYS", row)
        self.backend = MemoryBackend()
        self.run(self.backend.open)
        self.state = StepState("s", StepLog("p", "s"))
        self.model: dict[str, Any] = {}
        self.saved: dict[str, Any] = {}
        self.place: Place | None = None
        self.unsaved: list[Any] = []
        self.held: dict[str, Any] = {}
        self.before: dict[str, Any] | None = None

    def run(self, call: Any, *arguments: Any) -> Any:
        return trio.run(call, *arguments)

    @rule(key=keys, value=values)
    def set(self, key: str, value: Any) -> None:
        self.held.pop(key, None)
        self.state[key] = copy.deepcopy(value)
        self.model[key] = copy.deepcopy(value)

    @rule(key=keys)
    def delete(self, key: str) -> None:
        self.held.pop(key, None)
        if key in self.model:
            del self.state[key], self.model[key]
        else:
            with pytest.raises(KeyError):
                del self.state[key]

    @rule(key=keys)
    def read(self, key: str) -> None:
        assert self.state.get(key) == self.model.get(key)
        assert (key in self.state) == (key in self.model)

    @rule(key=keys, by=fixed, hold=st.booleans())
    def change_in_place(self, key: str, by: Any, hold: bool) -> None:
        if key in self.model:
            value: Any = self.state[key]
            changed_in_place(value, by)
            changed_in_place(self.model[key], by)
            if hold and self.before is None:
                self.held[key] = value

    @rule(key=keys, by=fixed)
    def change_what_was_kept_hold_of(self, key: str, by: Any) -> None:
        if key in self.held and self.before is None:
            changed_in_place(self.held[key], by)
            changed_in_place(self.model[key], by)

    @precondition(lambda self: self.before is None)
    @rule()
    def begin_batch(self) -> None:
        self.state.begin()
        self.before = copy.deepcopy(self.model)

    @precondition(lambda self: self.before is not None)
    @rule(fails=st.booleans())
    def end_batch(self, fails: bool) -> None:
        if fails:
            assert self.before is not None
            self.state.undo()
            self.held = {}  # what was given back are copies
            self.model = self.before
        self.before = None

    @precondition(lambda self: self.before is None)
    @rule(saved=st.booleans())
    def cut(self, saved: bool) -> None:
        place, changes = self.state.cut()
        self.unsaved += changes
        if saved:
            self.run(self.backend.apply, self.unsaved)
            self.unsaved.clear()
            self.place, self.saved = place, copy.deepcopy(self.model)

    @precondition(lambda self: self.before is None)
    @rule()
    def run_again(self) -> None:
        self.unsaved.clear()
        self.held.clear()
        self.state = StepState("s", StepLog("p", "s"))
        if self.place is not None:
            assert self.state.log is not None
            self.state.log.first = self.place.first

            async def load() -> None:
                assert self.place is not None
                async for put, gone in read_rows(self.backend, "p", "s", self.place):
                    self.state.load(put, gone)

            self.run(load)
            assert len(self.state) == self.place.keys
        self.model = copy.deepcopy(self.saved)

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        if hasattr(self, "state"):
            assert len(self.state) == len(self.model)
            assert set(self.state) == set(self.model)

    def teardown(self) -> None:
        if hasattr(self, "state"):
            self.patch.undo()
            assert dict(self.state.items()) == self.model


TestMappings = Mappings.TestCase
TestMappings.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def saving(keys: int = 0) -> StepState:
    state = StepState("s", StepLog("p", "s"))
    state.update({str(number): number for number in range(keys)})
    state.cut()
    return state


def written(state: StepState) -> dict[str, Any]:
    """What the next cut sets."""
    _, changes = state.cut()
    found: dict[str, Any] = {}
    for change in changes:
        if isinstance(change, Put):
            found |= unseal(b"1", change.value)["put"]
    return found


def test_a_cut_saves_what_was_touched_and_nothing_else() -> None:
    state = saving(10_000)
    assert written(state) == {}
    assert [state[str(number)] for number in range(100)] == list(range(100))
    assert written(state) == {}  # reading what can't change is no change
    state["5"] = 50
    state["list"] = [1]
    assert written(state) == {"5": 50, "list": [1]}
    assert state["list"] == [1]
    assert written(state) == {"list": [1]}  # it was handed out, and may be another
    assert written(state) == {}


def test_what_somebody_keeps_hold_of_is_followed_and_saved_only_when_it_changes() -> None:
    state = saving()
    held: Any = state.setdefault("counts", {"a": 0})
    assert written(state) == {"counts": {"a": 0}}
    for number in range(1, 4):
        held["a"] = number
        assert written(state) == {"counts": {"a": number}}
        assert written(state) == {}
    del held
    assert written(state) == {}
    assert not state._held


def rows_of(changes: list[Any], rows: dict[str, bytes]) -> dict[str, bytes]:
    for change in changes:
        if isinstance(change, Delete):
            del rows[change.key]
        else:
            rows[change.key] = change.value
    return rows


def test_a_cut_costs_what_has_changed_however_large_the_state_is() -> None:
    sizes = []
    for keys in (1_000, 100_000):
        state = saving(keys)
        most = 0
        for turn in range(200):
            for number in range(10):
                state[str((turn * 10 + number) * 37 % keys)] = -turn
            _, changes = state.cut()
            most = max(most, sum(len(change.value) for change in changes if isinstance(change, Put)))
        sizes.append(most)
    assert sizes[1] < 1.5 * sizes[0]
    assert sizes[1] < 20_000


@pytest.mark.parametrize("keys", [1, 300, 5_000])
@pytest.mark.parametrize("value", [lambda turn: turn, lambda turn: turn % 2, lambda turn: [1]])
def test_the_log_stays_below_three_times_what_is_live(keys: int, value: Any) -> None:
    state = StepState("s", StepLog("p", "s"))
    rows: dict[str, bytes] = {}
    for number in range(keys):
        state[str(number)] = number
    cold = keys // 2
    for turn in range(3_000):
        for number in range(5):
            state[str(cold + (turn * 5 + number) % max(keys - cold, 1))] = value(turn)
        rows_of(state.cut()[1], rows)
    entries = sum(size for size, _ in state.log._rows)  # type: ignore[union-attr]  # it has one
    assert entries == state.log._entries  # type: ignore[union-attr]  # it has one
    assert entries <= 3 * len(state) + 1_100
    assert sum(map(len, rows.values())) < 100 * entries


def test_an_emptied_state_leaves_no_more_than_a_little() -> None:
    state, rows = StepState("s", StepLog("p", "s")), {}
    state.update({str(number): number for number in range(20_000)})
    rows_of(state.cut()[1], rows)
    state.clear()
    rows_of(state.cut()[1], rows)
    for turn in range(3_000):
        state["n"] = turn
        rows_of(state.cut()[1], rows)
    assert sum(size for size, _ in state.log._rows) <= 1_100  # type: ignore[union-attr]  # it has one


@pytest.mark.parametrize(
    "value", [(1,), {1}, b"x", object(), [object()], {"a": (1,)}, {1: 2}, [{"a": {2: 1}}], complex(1)]
)
def test_what_is_not_json_is_refused_where_it_is_set(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"step 's': context\.state\['k'\] isn't JSON-able"):
        saving()["k"] = value


@pytest.mark.parametrize("key", [1, None, ("a",), b"a"])
def test_a_key_is_text(key: Any) -> None:
    with pytest.raises(ConfigError, match=r"step 's': a key of context\.state must be text"):
        saving()[key] = 1


def test_what_was_made_no_json_in_place_is_refused_at_the_cut() -> None:
    state, value = saving(), []
    state["k"] = value  # type: ignore[assignment]  # of Any
    value.append(object())
    with pytest.raises(ConfigError, match=r"context\.state\['k'\] isn't JSON-able"):
        state.cut()


def test_a_value_that_holds_itself_is_refused() -> None:
    value: Any = []
    value.append(value)
    with pytest.raises(ConfigError, match="nested deeper"):
        saving()["k"] = value


async def test_rows_are_one_steps_of_one_pipeline() -> None:
    backend = MemoryBackend()
    names = [
        ("p", "s"),
        ("p", "s:0000000000000000"),
        ("p", "s:"),
        ("p:s", "s"),
        ("p", ""),
        ("", "s"),
        ("pp", "s"),
    ]
    async with opened(backend):
        places = {}
        for pipeline, step in names:
            state = StepState(step, StepLog(pipeline, step))
            state["is"] = f"{pipeline}/{step}"
            places[pipeline, step], changes = state.cut()
            await backend.apply(changes)
        for pipeline, step in names:
            place = places[pipeline, step]
            assert place is not None
            found = [row async for row in read_rows(backend, pipeline, step, place)]
            assert found == [({"is": f"{pipeline}/{step}"}, [])]
        await backend.apply(removals("p", "s", places["p", "s"]))  # type: ignore[arg-type]  # none is None
        left = [row async for row in read_rows(backend, "p", "s:", places["p", "s:"])]  # type: ignore[arg-type]  # it was cut
        assert left == [({"is": "p/s:"}, [])]


@pytest.mark.parametrize("harm", ["first", "middle", "last", "bytes", "format"])
async def test_rows_that_are_missing_or_damaged_are_found(harm: str) -> None:
    backend = MemoryBackend()
    async with opened(backend):
        state = StepState("s", StepLog("p", "s"))
        for number in range(3):
            state[str(number)] = number
            place, changes = state.cut()
            await backend.apply(changes)
        assert place is not None
        found = [key async for key, _ in backend.scan("states:p")]
        at = {"first": 0, "last": 2}.get(harm, 1)
        if harm in ("bytes", "format"):
            data = await backend.get("states:p", found[at])
            assert data is not None
            await backend.put(
                "states:p", found[at], data[:-3] + b"7}}" if harm == "bytes" else b"9" + data[1:]
            )
        else:
            await backend.delete("states:p", found[at])
        with pytest.raises(StateError, match=rf"state of step 's' of pipeline 'p' in memory.*row {at}"):
            async for _ in read_rows(backend, "p", "s", place):
                pass


def reread(state: StepState, rows: dict[str, bytes]) -> dict[str, Any]:
    """What a next run would have of the rows, once what was changed is cut and saved."""
    rows_of(state.cut()[1], rows)
    found: dict[str, Any] = {}
    for _, data in sorted(rows.items()):
        row = unseal(b"1", data)
        found |= row["put"]
        for key in row["gone"]:
            found.pop(key, None)
    return found


def test_what_is_undone_is_saved_as_it_was_also_where_rows_were_made_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stepstate, "_FLUSH", 1)
    state, rows = StepState("s", StepLog("p", "s")), {}
    state.update({"a": 1, "b": 2})
    rows_of(state.cut()[1], rows)
    state.begin()
    state["a"] = 10
    state["new"] = 1
    del state["b"]
    state["c"] = 1
    state.undo()
    assert reread(state, rows) == {"a": 1, "b": 2} == dict(state)


def test_a_value_that_was_held_and_comes_back_equal_is_saved_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepstate, "_FLUSH", 1)
    state, rows = StepState("s", StepLog("p", "s")), {}
    held: Any = state.setdefault("k", [1])
    rows_of(state.cut()[1], rows)
    state["k"] = 5
    state["other"] = 1  # makes a row of 5
    state["k"] = held
    assert reread(state, rows) == {"k": [1], "other": 1}


def test_a_held_value_that_is_written_in_the_middle_of_a_change_is_saved_as_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stepstate, "_FLUSH", 1)
    monkeypatch.setattr(steplog, "_SLACK", 0)
    monkeypatch.setattr(steplog, "_ROW_KEYS", 1)
    state, rows = StepState("s", StepLog("p", "s")), {}
    held: Any = state.setdefault("k", [1])
    rows_of(state.cut()[1], rows)
    held.append(2)
    for number in range(20):  # old rows are replaced, that of k among them
        state["n"] = number
    held.pop()
    assert reread(state, rows) == {"k": [1], "n": 19}
