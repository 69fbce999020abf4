"""The laws of state backends. How each is tried: `agora.testing.laws.statebackendtrials`."""

from agora.testing.laws.base import Law

__all__ = [
    "ATOMICITY",
    "CANCELLATION",
    "CHECKPOINTS",
    "CONCURRENCY",
    "DURABILITY",
    "EXPECTATIONS",
    "EXPIRY",
    "FENCING",
    "IDENTITY",
    "OPENING",
    "SCAN",
    "STATE_BACKEND_LAWS",
    "TRANSACTION",
    "VALUES",
]

VALUES = Law(
    "values",
    "A key holds what was put there last, byte for byte, in its own namespace; deleted, it is absent.",
)
SCAN = Law(
    "scan",
    "scan gives the keys of its namespace that begin with the prefix, character for character, each once, in the"
    " order of their characters' code points, with their values.",
)
EXPIRY = Law(
    "expiry",
    "A value with a ttl is there for that long from the moment it was applied, and then is absent for get, scan and"
    " Expect; a later put without one is there for ever.",
)
EXPECTATIONS = Law(
    "expectations",
    "Changes are made if every Expect among them held beforehand; else it is ExpectationFailed, and its expectation"
    " is the first that didn't.",
)
ATOMICITY = Law(
    "atomicity", "All changes are made, the later ones last; or, where anything of them is refused, none."
)
TRANSACTION = Law(
    "transaction",
    "What is said in a transaction() is seen by nobody before its block is left, then happens whole; left by an"
    " error, none of it happens.",
)
FENCING = Law(
    "fencing",
    "A runner's save is made if its number is the highest that was taken, and else refused, whatever happened"
    " between and through whichever object it comes.",
)
DURABILITY = Law(
    "durability",
    "Another object on the same storage has all that returned before, whether the object before was closed or its"
    " process died.",
)
CONCURRENCY = Law(
    "concurrency",
    "What tasks do at the same time, through one object or several on the same storage, gives what it gives one after"
    " the other in some order.",
)
CANCELLATION = Law(
    "cancellation",
    "Cancelled at any checkpoint, a change happened whole or not at all, an open counted nothing, a close closed; it"
    " ends with Cancelled, and what is called next works.",
)
OPENING = Law("opening", "A backend is open until each open had its close, and works until then.")
IDENTITY = Law(
    "identity", "identity() is equal for two open objects on the same storage, and for those on two it isn't."
)
CHECKPOINTS = Law("checkpoints", "Every async method is a trio checkpoint.")

STATE_BACKEND_LAWS = (
    OPENING, VALUES, SCAN, EXPIRY, EXPECTATIONS, ATOMICITY, TRANSACTION, FENCING, DURABILITY, IDENTITY, CONCURRENCY,
    CANCELLATION, CHECKPOINTS,
)  # fmt: skip
"""All of them."""
