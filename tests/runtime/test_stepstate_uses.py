"""One look or change at a time of a step's mapping: what it gives, that it counts as used, and what a cut then says."""

from collections.abc import Callable
from typing import Any

import pytest
from support import run_virtual

from agora.runtime.stepstate import StateMisuseError, StepState, UnusableState
from agora.state import MemoryBackend, Put, steplog
from agora.state.sealed import unseal
from agora.state.steplog import Place, StepLog, read_rows

USES: dict[str, Callable[[StepState], Any]] = {
    "[]": lambda state: state["a"],
    "get": lambda state: state.get("a"),
    "get what isn't there": lambda state: state.get("x"),
    "in": lambda state: "a" in state,
    "len": len,
    "iter": lambda state: next(iter(state)),
    "items": lambda state: next(iter(state.items())),
    "set": lambda state: state.__setitem__("b", 1),
    "delete": lambda state: state.__delitem__("a"),
    "clear": lambda state: state.clear(),
}


def loaded(**put: Any) -> StepState:
    """As a run that resumes finds it."""
    state = StepState("s", StepLog("p", "s"))
    state.load(put or {"a": 1}, [])
    return state


def cut(state: StepState) -> tuple[dict[str, Any], list[str]]:
    """What is saved and what is deleted."""
    put: dict[str, Any] = {}
    gone: list[str] = []
    for change in state.cut()[1]:
        if isinstance(change, Put):
            row: Any = unseal(b"1", change.value)
            put |= row["put"]
            gone += row["gone"]
    return put, gone


@pytest.mark.parametrize("use", USES)
def test_every_look_counts_as_use(use: str) -> None:
    state = loaded()
    assert not state.used
    USES[use](state)
    assert state.used


def test_what_is_not_there_is_told_as_of_any_mapping() -> None:
    state = loaded(a=None)
    assert (state.get("x"), state.get("x", 3), state.get("a", 3), state["a"]) == (None, 3, None, None)
    for ask in (state.__getitem__, state.__delitem__):
        with pytest.raises(KeyError, match="x"):
            ask("x")


@pytest.mark.parametrize("value", [None, 1, "text", [1]])
def test_a_new_key_is_saved_whatever_its_value(value: Any) -> None:
    state = loaded()
    state["new"] = value
    assert cut(state) == ({"new": value}, [])
    assert state["new"] == value


def test_what_is_set_to_what_it_is_already_is_no_change() -> None:
    state = loaded(a=1, b=None)
    state["a"] = state["a"]
    state["b"] = None
    assert cut(state) == ({}, [])
    state["a"] = 2
    assert cut(state) == ({"a": 2}, [])


@pytest.mark.parametrize(
    "look",
    [lambda s: s["a"], lambda s: s.get("a"), lambda s: dict(s.items())["a"]],
    ids=["[]", "get", "items"],
)
def test_what_may_change_in_place_is_looked_at_at_the_next_cut_once_it_was_handed_out(look: Any) -> None:
    state = loaded(a=[1], b=1)
    assert cut(state) == ({}, [])
    look(state).append(2)
    assert cut(state) == ({"a": [1, 2]}, [])


def test_what_is_held_on_to_and_then_replaced_or_deleted_is_not_looked_at_anymore() -> None:
    state = loaded(a=[1], b=[1])
    held = [state["a"], state["b"]]
    assert cut(state) == ({"a": [1], "b": [1]}, [])
    state["a"] = 5
    del state["b"]
    for each in held:
        each.append(2)
    assert cut(state) == ({"a": 5}, ["b"])
    state["c"] = 1
    del state["c"]
    assert cut(state) == ({}, ["c"])


def test_beside_what_is_held_on_to_other_keys_come_and_go() -> None:
    state = loaded(a=[1], b=1)
    held = state["a"]
    cut(state)
    state["c"] = 1
    del state["c"]
    del state["b"]
    held.append(2)
    assert cut(state) == ({"a": [1, 2]}, ["c", "b"])


def test_what_old_rows_hold_is_saved_anew_when_they_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steplog, "_SLACK", 0)

    async def main() -> dict[str, Any]:
        state, backend = StepState("s", StepLog("p", "s")), MemoryBackend()
        await backend.open()
        for number in range(20):
            state[f"old {number}"] = number
        state["list"] = [1]
        held = state["list"]
        for number in range(60):
            state["new"] = number
            held.append(number)
            place, changes = state.cut()
            await backend.apply(changes)
        assert place is not None
        assert place.first > 0
        found: dict[str, Any] = {}
        async for put, _ in read_rows(backend, "p", "s", place):
            found |= put
        return found

    assert run_virtual(main) == {f"old {n}": n for n in range(20)} | {"new": 59, "list": [1, *range(60)]}


def test_what_a_row_tells_is_taken_over_in_order_and_equal_numbers_are_one_object() -> None:
    state = StepState("s", StepLog("p", "s"))
    state.load({"a": 10**6, "b": 10**6, "c": True, "d": 1, "e": 1.0, "f": None, "g": "x"}, [])
    state.load({"a": 10**6 + 1}, ["g", "unknown"])
    assert dict(state.items()) == {"a": 10**6 + 1, "b": 10**6, "c": True, "d": 1, "e": 1.0, "f": None}
    assert [type(state[key]) for key in "cdef"] == [bool, int, float, type(None)]
    times = StepState("s", StepLog("p", "s"))
    times.load({"a": int("1700000000"), "b": int("1700000000")}, [])
    assert times["a"] is times["b"]
    assert cut(times) == ({}, [])


def test_the_place_says_how_many_keys_which_rows_hold() -> None:
    state = StepState("s", StepLog("p", "s"))
    assert state.cut() == (None, [])
    state["a"], state["b"] = 1, 2
    place, _ = state.cut()
    assert place == Place(2, 0, 1)
    state.clear()
    emptied, _ = state.cut()
    assert emptied is not None
    assert emptied.keys == 0
    assert StepState("s").cut() == (None, [])


def test_a_batch_that_is_undone_leaves_all_as_it_was() -> None:
    state = loaded(a=[1], b=1, c="x")
    state.begin()
    state.setdefault("a", None).append(2)  # type: ignore[union-attr]  # a list, by what was set
    state["b"] = 2
    state["b"] = 3
    del state["c"]
    state["new"] = 1
    state.undo()
    assert dict(state.items()) == {"a": [1], "b": 1, "c": "x"}
    state["b"] = 7
    state.undo()  # nothing was begun
    assert state["b"] == 7


def test_a_second_begin_forgets_the_first() -> None:
    state = loaded(a=1)
    state.begin()
    state["a"] = 2
    state.begin()
    state["a"] = 3
    state.undo()
    assert state["a"] == 2


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_a_value_may_be_nested_so_deep_and_no_deeper() -> None:
    state = loaded()
    state["deep"] = nested(91)
    with pytest.raises(StateMisuseError, match=r"state\['deeper'\].*nested deeper than 90 levels"):
        state["deeper"] = nested(92)
    state["dict"] = {"a": nested(90)}
    with pytest.raises(StateMisuseError, match="nested deeper"):
        state["dict"] = {"a": nested(91)}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({1: 2}, "1 is a key in it, which must be text"),
        ([{"a": {2: 1}}], "2 is a key in it"),
        ([{1, 2}], r"\{1, 2\} is of type set"),
        (b"x", "b'x' is of type bytes"),
        ({"a": [object]}, "is of type type"),
    ],
)
def test_what_is_not_json_is_said_to_be_what_it_is(value: Any, why: str) -> None:
    with pytest.raises(StateMisuseError, match=f"step 's': .*isn't JSON-able.*{why}"):
        loaded()["x"] = value


def test_a_key_that_is_no_text_is_named() -> None:
    with pytest.raises(StateMisuseError, match=r"step 's': a key of context\.state must be text, not 5"):
        loaded()[5] = 1  # type: ignore[index]  # what is refused


@pytest.mark.parametrize("use", [use for use in USES if use != "clear"])
def test_a_state_that_cannot_be_had_says_why_at_every_use(use: str) -> None:
    with pytest.raises(StateMisuseError, match="because"):
        USES[use](UnusableState("because"))  # type: ignore[arg-type]  # in its place
