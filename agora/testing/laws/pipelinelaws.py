"""The laws of whole pipelines. How each is tried: `agora.testing.laws.pipelinetrials`."""

from agora.testing.laws.base import Law

__all__ = [
    "CANCELLATION",
    "COUNTING",
    "CRASH",
    "ENDING",
    "FOLD",
    "ORDER",
    "PIPELINE_LAWS",
    "REPETITION",
    "SETTINGS",
    "STOP",
]

FOLD = Law(
    "fold",
    "What comes out, and what fails, is what the steps make of the source's records one by one, in order.",
)
ORDER = Law("order", "Results come in the order of the records that they are of.")
COUNTING = Law(
    "counting",
    "read = written + dropped + dead-lettered + skipped, where no step multiplies; written is what can be read back,"
    " and dead-lettered the letters that are there.",
)
REPETITION = Law("repetition", "The same records in another place, through new parts, give the same.")
SETTINGS = Law(
    "settings",
    "The results don't depend on batch_size, backpressure, linger, or where the source lets time pass.",
)
STOP = Law("stop", "Stopped at any point and run again, it has delivered what one run delivers.")
CANCELLATION = Law(
    "cancellation", "Cancelled at any checkpoint and run again, it has delivered what one run delivers."
)
CRASH = Law("crash", "Killed at any point and run again, it has delivered what one run delivers.")
ENDING = Law("ending", "When a run is over, however it ended, nothing of it is running or open.")

PIPELINE_LAWS = (REPETITION, FOLD, ORDER, COUNTING, SETTINGS, STOP, CANCELLATION, CRASH, ENDING)
"""All of them. "What one run delivers": its records and letters, exactly once where `explain()` says so; where it says
at least once, a part of them may be delivered again, in order and without a gap."""
