"""When things happen: where batches end, what waits for how long, where a run is cut off.

What they yield are the fields of the cases of `agora.testing.laws`, by the same names and in the same words.
"""

from hypothesis import strategies as st

__all__ = ["batch_sizes", "borders", "concurrencies", "limits", "suspensions", "waits"]


def borders(records: int) -> st.SearchStrategy[list[int]]:
    """Yields positions, in order, before which a batch of this many records ends; with none, all come in one batch.
    Shrinks towards none."""
    return st.sets(st.integers(1, records - 1)).map(sorted) if records > 1 else st.just([])


def batch_sizes() -> st.SearchStrategy[int]:
    """Yields how many records a batch has at most. Shrinks towards 512, the default."""
    return st.sampled_from([512, 3, 2, 1])


def limits() -> st.SearchStrategy[int | None]:
    """Yields how many records are in flight at most, for `Backpressure.fixed`. Shrinks towards `None`: the default."""
    return st.sampled_from([None, 8, 1])


def concurrencies(most: int = 4) -> st.SearchStrategy[int]:
    """Yields how many records a buffered stage works on at once. Shrinks towards 2."""
    return st.integers(2, most)


def waits(calls: int = 18, *, longest: int = 5) -> st.SearchStrategy[list[int]]:
    """Yields a schedule: how many milliseconds (of virtual time) the n-th thing that goes on has to wait first. Shrinks
    towards none, which is the order in which they were begun."""
    return st.lists(st.integers(0, longest), max_size=calls)


def suspensions(most: int = 12) -> st.SearchStrategy[int]:
    """Yields at which suspension, counted from 1, a run is cancelled. Shrinks towards the first."""
    return st.integers(1, most)
