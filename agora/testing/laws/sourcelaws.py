"""The laws of sources. How each is tried: `agora.testing.laws.sourcetrials`."""

from agora.testing.laws.base import Law

__all__ = [
    "AGREEMENT",
    "ASKING",
    "CANCELLED",
    "CLOSING",
    "COMMITTED",
    "FRESH",
    "IDENTITY",
    "POSITIONS",
    "REPEATABLE",
    "RESUME",
    "SOURCE_LAWS",
]

REPEATABLE = Law("repeatable", "Two sources that the factory makes give the same records.")
AGREEMENT = Law(
    "agreement",
    "stream, blocks and batches give the same records, whatever is asked for at a time; no block is empty.",
)
POSITIONS = Law(
    "positions",
    "A position is JSON, and stays what it is when more is read; so is what a block says of itself.",
)
IDENTITY = Law("identity", "identity() is JSON, equal for two sources of the same, and unchanged by reading.")
FRESH = Law("fresh", "prepare_resume(None) is a fresh start, of a source that was read before, too.")
ASKING = Law(
    "asking",
    "checkpoint() between a yield and the next resume is the position after that record, asked at however many of them "
    "and however often, and asking changes nothing.",
)
RESUME = Law(
    "resume",
    "Resumed at any of its positions, a source gives exactly the records that are left, in every form.",
)
CLOSING = Law(
    "closing",
    "Closed early, behind any record, a source leaves nothing open and raises nothing.",
)
CANCELLED = Law(
    "cancelled",
    "Reading that is cancelled, at any checkpoint, ends with Cancelled, which isn't swallowed, nor made another error; "
    "and leaves nothing open.",
)
COMMITTED = Law(
    "committed",
    "Whatever fails or crashes, and when, what isn't durable comes again, and nothing else: a source gives nothing up "
    "before committed() was told its position.",
)

SOURCE_LAWS = (
    REPEATABLE, AGREEMENT, POSITIONS, IDENTITY, FRESH, ASKING, RESUME, CLOSING, CANCELLED, COMMITTED,
)  # fmt: skip
"""All of them. Those of positions are for sources that support checkpoints."""
