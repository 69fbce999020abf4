"""The laws of sinks. How each is tried: `agora.testing.laws.sinktrials` and `sinkstruck`."""

from agora.testing.laws.base import Law

__all__ = [
    "ATOMIC",
    "BORDERS",
    "CLOSING",
    "COLUMNS",
    "COMMIT",
    "DELIVERED",
    "DURABLE",
    "IDEMPOTENT",
    "NOTHING",
    "ONCE",
    "PUBLISH",
    "RECOVER",
    "REFUSED",
    "RESTART",
    "SINK_LAWS",
    "TOKENS",
]

DELIVERED = Law(
    "delivered", "What was written and not refused is what is read back, in order, once the run has ended."
)
REFUSED = Law(
    "refused", "The records that are refused are those that it can't take, and their neighbours are accepted."
)
BORDERS = Law("borders", "What is refused, and what the target holds, doesn't depend on where batches end.")
ATOMIC = Law("atomic", "With atomic_write, a write that raises has written nothing.")
COLUMNS = Law("columns", "write_columns does what write does with the rows.")
NOTHING = Law(
    "nothing", "open, prepare, commit and close, and nothing written between, leave the target as it was: nothing is "
    "created."
)  # fmt: skip
TOKENS = Law("tokens", "A token is JSON, and stays what it is.")
COMMIT = Law("commit", "commit may be called any number of times with the same token, recover too.")
ONCE = Law(
    "once",
    "Whatever fails, crashes or is cancelled before or after any call: the runs behind it complete it, and the target "
    "holds each record exactly once (at least once, where there is no prepare).",
)
RECOVER = Law(
    "recover",
    "After a failure or a crash, recover leaves exactly what the last checkpoint covers: the commit is completed, what "
    "came after it undone.",
)
DURABLE = Law(
    "durable",
    "A loss of power at any moment, which takes what wasn't synced, takes nothing that was committed: the runs behind "
    "it complete it, and the target holds each record exactly once (at least once, where there is no prepare).",
)
RESTART = Law("restart", "restart gives the target as it was before the first run.")
PUBLISH = Law(
    "publish",
    "Without checkpoints the target appears whole or not at all, whatever fails or crashes, and when.",
)
IDEMPOTENT = Law(
    "idempotent", "Where it says that it is idempotent, the same records written again leave the same target."
)
CLOSING = Law("closing", "However a run ends, a sink leaves nothing open.")

SINK_LAWS = (
    DELIVERED, REFUSED, BORDERS, ATOMIC, COLUMNS, NOTHING, TOKENS, COMMIT, RECOVER, ONCE, DURABLE, RESTART, PUBLISH,
    IDEMPOTENT, CLOSING,
)  # fmt: skip
"""All of them. Which ones apply follows from what the sink has."""
