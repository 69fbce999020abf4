"""The laws of middlewares. How each is tried: `agora.testing.laws.middlewaretrials`."""

from agora.testing.laws.base import Law

__all__ = [
    "AGREEMENT",
    "BORDERS",
    "CANCELLATION",
    "CANCELLED",
    "CHECKPOINTS",
    "COMPANY",
    "CONCURRENCY",
    "FAILURES",
    "FRESH",
    "INPUT",
    "MIDDLEWARE_LAWS",
    "ORDER",
    "PAIRING",
    "PREFIX",
    "RESTORE",
]

FRESH = Law(
    "fresh", "A new part knows nothing of what another one was given: both make the same of the same records."
)
COMPANY = Law(
    "company", "What becomes of a record doesn't depend on which other records come before it or behind it."
)
PREFIX = Law(
    "prefix", "What becomes of a record depends on the records before it only, not on those behind it."
)
AGREEMENT = Law(
    "agreement",
    "A chain record by record, the engine over rows and the engine over columns make the same of the same records.",
)
BORDERS = Law("borders", "What becomes of a record doesn't depend on where batches end.")
ORDER = Law("order", "Results come in the order of the records that they are of.")
CONCURRENCY = Law(
    "concurrency",
    "What becomes of a record doesn't depend on what is in flight beside it, whichever finishes first.",
)
FAILURES = Law("failures", "A record that fails leaves its neighbours what they are without it.")
INPUT = Law("input", "A record that was given is left as it was.")
CANCELLATION = Law(
    "cancellation",
    "Cancelled at any checkpoint, a part leaves no task behind and no half-made state: the next run is like a first.",
)
CANCELLED = Law(
    "cancelled", "A call that is cancelled ends with Cancelled: it isn't swallowed, nor made another error."
)
CHECKPOINTS = Law(
    "checkpoints",
    "What takes longer than a cached answer is awaited as a trio checkpoint: it holds up neither the loop nor its end.",
)
PAIRING = Law(
    "pairing",
    "Each on_start that succeeded has its on_end, whatever ends the run, and nothing is left open then.",
)
RESTORE = Law(
    "restore",
    "Stopped and resumed between any two records, the rest is what it is without: its state comes back whole.",
)

MIDDLEWARE_LAWS = (
    FRESH, COMPANY, PREFIX, BORDERS, ORDER, AGREEMENT, CONCURRENCY, FAILURES, INPUT, CANCELLED, CHECKPOINTS,
    CANCELLATION, PAIRING, RESTORE,
)  # fmt: skip
"""All of them."""
