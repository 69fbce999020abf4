"""What goes wrong, and where: plans for the one mechanism of faults, for the laws and for the simulation.

No plans of a kind of their own: what is drawn is what `agora.testing.faults`, `agora.testing.simulation` and the cases
of `agora.testing.laws` are given.
"""

from collections.abc import Callable, Collection

from hypothesis import strategies as st

from agora.testing.faults.calls import Failure, FailurePlan
from agora.testing.faults.failpoints import Failpoints, Fault
from agora.testing.faults.nodes import Loss
from agora.testing.simulation.plan import Ending, LifePlan

__all__ = ["failpoints", "failure_plans", "life_plans", "losses", "spoiled"]

_SILENCES = (20.0, 60.0, 3_600.0)


def failpoints(most: int = 30, *, faults: Collection[Fault] = tuple(Fault)) -> st.SearchStrategy[Failpoints]:
    """Yields a new `Failpoints`, which fails one of the first `most` operations on the disk in one of these ways: an
    error, a full disk, half a write, a crash. Shrinks towards the first operation and the first of `faults`."""
    return st.builds(Failpoints, at=st.integers(1, most), fault=st.sampled_from(list(faults)))


def failure_plans(
    methods: Collection[str],
    *,
    most: int = 10,
    errors: Collection[Callable[[str], Exception]] = (OSError, ValueError),
) -> st.SearchStrategy[FailurePlan]:
    """Yields which calls of a part's methods of these names fail: up to two among the first `most` of each, before the
    call is made or behind it, with one of these errors. Shrinks towards no failure, and each towards the first call of
    the first method, before it is made, with the first of `errors`."""
    failure = st.builds(
        Failure,
        method=st.sampled_from(list(methods)),
        number=st.integers(1, most),
        error=st.sampled_from(list(errors)).map(lambda error: error("injected")),
        after=st.booleans(),
    )
    found = st.lists(failure, max_size=2, unique_by=lambda each: (each.method, each.number))
    return st.builds(FailurePlan, found.map(tuple))


def losses() -> st.SearchStrategy[Loss]:
    """Yields what a loss of power leaves of that which wasn't made durable. Shrinks towards all of it."""
    return st.just(Loss.none()) | st.just(Loss.total()) | st.builds(Loss.random, st.integers(0, 2**32 - 1))


def life_plans(
    most: int = 200, *, endings: Collection[Ending] = tuple(Ending)
) -> st.SearchStrategy[LifePlan]:
    """Yields what befalls a run of a simulation: one of these endings, at one of its first `most` steps or operations.
    Shrinks towards the first of `endings`, at the first step."""
    return st.sampled_from(list(endings)).flatmap(lambda ending: _plans(ending, most))


def spoiled(records: int, *, most: int = 2) -> st.SearchStrategy[dict[int, int]]:
    """Yields which of this many records fail: by their position, the number of the field that can't be read. At most
    `most`, at least one. Shrinks towards the first field of the first record."""
    return st.dictionaries(
        st.integers(0, records - 1), st.integers(0, 3), min_size=1, max_size=min(most, records)
    )


def _plans(ending: Ending, most: int) -> st.SearchStrategy[LifePlan]:
    crashes = ending in (Ending.CRASH, Ending.POWER_LOSS)
    return (st.booleans() if crashes else st.just(False)).flatmap(
        lambda on_disk: st.builds(
            LifePlan,
            seed=st.integers(0, 2**48 - 1),
            ending=st.just(ending),
            at=st.just(0) if ending is Ending.COMPLETED else st.integers(1, most),
            on_disk=st.just(on_disk),
            fault=st.sampled_from([fault for fault in Fault if fault.crashes == on_disk]),
            loss=losses() if ending is Ending.POWER_LOSS else st.just(Loss.none()),
            latency=st.sampled_from([0.0, 0.001, 0.05]),
            overdue=st.sampled_from([0.0, 0.02]),
            in_one_thread=st.booleans(),
            silence=st.sampled_from(_SILENCES),
        )
    )
