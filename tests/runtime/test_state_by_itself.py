"""The mapping of a step's state by itself, and the stand-in for one that can't be."""

from collections.abc import Callable, MutableMapping
from enum import IntEnum
from typing import Any

import pytest

from agora.runtime.stepstate import StateMisuseError, StepState, UnusableState
from agora.state.sealed import unseal
from agora.state.steplog import StepLog


class Level(IntEnum):
    LOW = 1


def logged() -> StepState:
    return StepState("s", StepLog("p", "s"))


def saved(state: StepState) -> dict[str, Any]:
    """What the rows of a cut say, one after the other; `None` for a key that is gone."""
    found: dict[str, Any] = {}
    for change in state.cut()[1]:
        row = unseal(b"1", change.value)  # type: ignore[union-attr]  # nothing is so old that it is deleted
        found |= row["put"]
        found |= dict.fromkeys(row["gone"])
    return found


USES: list[Callable[[MutableMapping[str, Any]], object]] = [
    lambda state: state["k"],
    lambda state: state.get("k"),
    lambda state: state.update(k=1),
    lambda state: state.pop("k"),
    lambda state: state.__delitem__("k"),
    lambda state: "k" in state,
    list,
    len,
    bool,
    dict,
]


@pytest.mark.parametrize("use", USES)
def test_a_state_that_can_not_be_had_says_why_whatever_is_asked_of_it(use: Any) -> None:
    with pytest.raises(StateMisuseError, match="not in a buffered step"):
        use(UnusableState("not in a buffered step"))


def test_without_a_log_there_is_nothing_to_save() -> None:
    state = StepState("s")
    state.update(a=1, b=[2])
    assert state.cut() == (None, [])
    assert dict(state) == {"a": 1, "b": [2]}


def test_what_is_deleted_while_somebody_holds_it_is_gone_for_good() -> None:
    state = logged()
    held = state.setdefault("k", [1])
    assert saved(state) == {"k": [1]}
    del state["k"]
    held.append(2)
    assert saved(state) == {"k": None}
    assert saved(state) == {}


def test_a_list_that_gives_way_to_a_number_is_saved_as_that() -> None:
    state = logged()
    state["k"] = [1]
    state["k"] = 5
    state["gone"] = [1]
    del state["gone"]
    assert saved(state) == {"k": 5, "gone": None}


def test_a_row_takes_away_what_an_earlier_one_put() -> None:
    state = logged()
    state.load({"a": 1, "b": 2}, [])
    state.load({"c": 3}, ["a", "never there"])
    assert dict(state) == {"b": 2, "c": 3}


def test_a_batch_that_made_and_deleted_a_key_leaves_none_when_it_is_undone() -> None:
    state = logged()
    state["old"] = 1
    state.begin()
    state["new"] = 1
    state["brief"] = 1
    del state["brief"]
    del state["old"]
    state.undo()
    assert dict(state) == {"old": 1}


def test_what_is_a_number_or_text_by_its_class_is_json_too() -> None:
    state = logged()
    state["level"] = Level.LOW
    state["levels"] = [Level.LOW]
    assert saved(state) == {"level": 1, "levels": [1]}
