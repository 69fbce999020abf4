"""Cases of the laws of state backends: what is done, step by step, as values that can be written down as code.

The steps are the rules of a state machine. They are data rather than methods of Hypothesis' `RuleBasedStateMachine`,
so that a case can be shrunk, told, pasted and run again like that of every other check.
"""

from collections.abc import Sequence
from typing import TypeAlias

import attrs
from hypothesis import strategies as st

from agora.state.base import Change, Delete, Expect, Put

__all__ = [
    "Apply",
    "Close",
    "Get",
    "Open",
    "Reopen",
    "Save",
    "Scan",
    "StateCase",
    "StateStep",
    "Take",
    "Transact",
    "Wait",
]


@attrs.frozen
class Get:
    """Ask for one value."""

    namespace: str
    key: str


@attrs.frozen
class Scan:
    """Ask for all keys with a prefix."""

    namespace: str
    prefix: str = ""


@attrs.frozen
class Apply:
    """Make these changes by one `apply`."""

    changes: Sequence[Change]
    through: int = 0
    """Which of the objects on the storage."""


@attrs.frozen
class Transact:
    """Make these changes in a `transaction()`."""

    changes: Sequence[Change]
    waits: int = 0
    """Time that passes in the block, behind the changes."""
    fails: bool = False
    """Whether the block is left by an error."""


@attrs.frozen
class Wait:
    """Let this many units of time pass: seconds of the virtual clock, halves of a second of the real one."""

    units: int


@attrs.frozen
class Reopen:
    """Go on with a new object on the same storage; the one before is closed, or left as a dead process leaves it."""

    closing: bool = True


@attrs.frozen
class Open:
    """Open once more."""


@attrs.frozen
class Close:
    """Close once, where it is open."""


@attrs.frozen
class Take:
    """A runner takes the next fencing number."""

    runner: int


@attrs.frozen
class Save:
    """A runner saves under the number that it has, through one of the objects on the storage."""

    runner: int
    through: int = 0


StateStep: TypeAlias = (
    Put | Delete | Get | Scan | Apply | Transact | Wait | Reopen | Open | Close | Take | Save
)


@attrs.frozen(kw_only=True)
class StateCase:
    """All there is to know of an example."""

    steps: Sequence[StateStep] = ()
    """One after the other."""
    tasks: Sequence[Sequence[StateStep]] = ()
    """Behind `steps`, each in a task of its own, all at the same time."""
    waits: Sequence[int] = ()
    """The schedule: how many units the n-th thing that goes on in a task has to wait before it does."""
    order: int = 0
    """Seed of the order in which trio runs tasks that can go on at the same time."""
    cancel_at: int | None = None
    """The suspension of the last step, counted from 1, at which it is cancelled; `None`: at each in turn."""


# --- what they are drawn from ---

_NAMESPACES = ("n", "n", "n", "N")
_KEYS = ("", "a", "ab", "A", "a_", "a%", "axb", "*", "a'", "é", "\uffff", "\U0001f600")
_FEW = ("a", "b", "a_")

namespaces = st.sampled_from(_NAMESPACES)
keys = st.sampled_from(_KEYS)
few = st.sampled_from(_FEW)
one_of_two = st.sampled_from(("a", "b"))
mostly_one = st.sampled_from(("a", "a", "b"))
two_values = st.sampled_from([b"1", b"2"])
values = st.sampled_from([b"", b"1", b"2", b"\x00\xff'"])
ttls = st.none() | st.integers(1, 4)
unstorable = st.just("\ud800")


def puts(
    key: st.SearchStrategy[str], ttl: st.SearchStrategy[int | None] | None = None
) -> st.SearchStrategy[Put]:
    """`ttl` is in units of `Wait`."""
    return st.builds(Put, st.just("n"), key, values, st.none() if ttl is None else ttl)


deletes = st.builds(Delete, st.just("n"), few)
expects = st.builds(Expect, st.just("n"), few, st.none() | values)

anywhere: st.SearchStrategy[StateStep] = st.one_of(
    st.builds(Put, namespaces, keys, values),
    st.builds(Delete, namespaces, keys),
    st.builds(Get, namespaces, keys),
)


def _changes(
    *kinds: st.SearchStrategy[Put] | st.SearchStrategy[Delete] | st.SearchStrategy[Expect],
) -> st.SearchStrategy[list[Change]]:
    return st.lists(st.one_of(*kinds), min_size=1, max_size=4)


changes = _changes(puts(few), deletes, expects)
expiring: st.SearchStrategy[StateStep] = st.one_of(
    st.builds(Put, st.just("n"), mostly_one, two_values, st.integers(1, 3)),
    st.builds(Put, st.just("n"), mostly_one, two_values),
    st.builds(Wait, st.integers(1, 3)),
    st.builds(
        lambda expected: Apply([expected]),
        st.builds(Expect, st.just("n"), mostly_one, st.none() | two_values),
    ),
    st.builds(Get, st.just("n"), mostly_one) | st.just(Scan("n")),
    st.builds(lambda put, waits: Transact([put], waits), puts(few, st.integers(1, 4)), st.integers(0, 3)),
)
expecting: st.SearchStrategy[StateStep] = st.one_of(
    puts(few),
    # What is expected first: whether all of it is looked at beforehand is a law of its own.
    st.builds(
        lambda expected, made: Apply([*expected, *made]),
        st.lists(expects, min_size=1, max_size=3),
        st.lists(puts(few) | deletes, max_size=2),
    ),
)
applying: st.SearchStrategy[StateStep] = st.one_of(
    puts(few),
    st.builds(Apply, changes),
    st.builds(Apply, _changes(puts(few), deletes, puts(few | unstorable))),
)
transacting: st.SearchStrategy[StateStep] = st.one_of(
    puts(few), st.builds(Transact, changes, st.integers(0, 1), st.booleans())
)
fencing: st.SearchStrategy[StateStep] = st.one_of(
    st.builds(Take, st.integers(0, 1)),
    st.builds(Save, st.integers(0, 1), st.integers(0, 1)),
    st.sampled_from(
        [Wait(600), Wait(600), Get("n", "saved"), Put("n", "a", b"1"), Transact([Delete("n", "saved")])]
    ),
)
reopening: st.SearchStrategy[StateStep] = st.one_of(
    st.builds(Put, namespaces, keys, values),
    st.builds(Apply, changes),
    st.builds(Put, namespaces, keys, values, st.just(2)),
    st.builds(Wait, st.just(1)),
    st.builds(Reopen, st.booleans()),
)
counting: st.SearchStrategy[StateStep] = st.sampled_from([Open(), Close(), Put("n", "a", b"1")])
swaps = st.builds(
    lambda expected, put: [expected, put],
    st.builds(Expect, st.just("n"), one_of_two, st.none() | two_values),
    st.builds(Put, st.just("n"), one_of_two, two_values),
)
together: st.SearchStrategy[StateStep] = st.one_of(
    st.builds(Apply, swaps, st.integers(0, 1)),
    st.builds(Put, st.just("n"), one_of_two, two_values),
    st.builds(Get, st.just("n"), one_of_two),
    st.builds(Apply, changes, st.integers(0, 1)),
    st.builds(Transact, swaps),
)


@st.composite
def contested(draw: st.DrawFn) -> StateCase:
    """Cases in which a runner saves under its number, at some time after another one has taken the next."""
    runner = draw(st.integers(0, 1))
    between = st.lists(fencing, max_size=2)
    return StateCase(
        steps=[
            Take(runner),
            *draw(between),
            Take(1 - runner),
            *draw(between),
            *draw(st.lists(st.just(Wait(600)), max_size=1)),
            *draw(between),
            Save(runner, draw(st.integers(0, 1))),
            Get("n", "saved"),
        ]
    )


several = st.lists(puts(few) | deletes, min_size=2, max_size=4)
cancellable: st.SearchStrategy[StateStep] = st.one_of(
    st.builds(Apply, several),
    st.builds(Transact, several),
    puts(few) | deletes,
    st.just(Open()),
    st.just(Close()),
)


def cases(
    steps: st.SearchStrategy[StateStep], least: int = 1, most: int = 10
) -> st.SearchStrategy[StateCase]:
    """Cases of steps one after the other. `least`: as many as it takes to break a law; where fewer can, it is 1."""
    return st.builds(StateCase, steps=st.lists(steps, min_size=least, max_size=most))


_SCANNED = (("a", "ab", "a_", "a%", "axb"), ("\uffff", "\U0001f600", "é"), ("", "a", "A", "*", "ab"))
"""Keys among which one is easily taken for another, or for one before it."""


@st.composite
def scanned(draw: st.DrawFn) -> StateCase:
    """Cases of `Scan` behind changes."""
    found = draw(st.sampled_from(_SCANNED))
    key = st.sampled_from(found)
    filled = [Put("n", each, draw(values)) for each in draw(st.lists(key, min_size=2, unique=True))]
    changed = draw(
        st.lists(st.builds(Put, namespaces, key, values) | st.builds(Delete, namespaces, key), max_size=2)
    )
    scans = draw(st.lists(st.builds(Scan, st.just("n"), key), max_size=2))
    return StateCase(steps=[*filled, *changed, Scan("n"), *scans])


expired = st.builds(
    lambda put, between, wait, behind, expected: StateCase(
        steps=[put, *between, wait, *behind, Apply([expected]), Get("n", "a")]
    ),
    st.builds(Put, st.just("n"), st.just("a"), two_values, st.integers(1, 3)),
    st.lists(st.builds(Put, st.just("n"), mostly_one, two_values) | expiring, max_size=2),
    st.builds(Wait, st.integers(1, 3)),
    st.lists(expiring, max_size=4),
    st.builds(Expect, st.just("n"), st.just("a"), st.none() | two_values),
)
concurrent = st.builds(
    StateCase,
    steps=st.lists(puts(few), max_size=2),
    tasks=st.lists(st.lists(together, min_size=1, max_size=2), min_size=2, max_size=3),
    waits=st.lists(st.integers(0, 2), max_size=8),
    order=st.integers(0, 50),
)
interrupted = st.builds(StateCase, steps=st.lists(cancellable, min_size=1, max_size=3))
interrupted_count = st.builds(
    lambda before, last: StateCase(steps=[*before, last]),
    st.lists(counting, max_size=2),
    st.sampled_from([Close(), Open()]),
)
nothing = st.just(StateCase())
