"""State backends, and what is kept on them: checkpoints, leases, dead letters."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agora.state.base import Change, Delete, Expect, ExpectationFailed, Put, StateBackend, Transaction
    from agora.state.checkpoints import CheckpointStore
    from agora.state.letters import StateDLQSink
    from agora.state.memory import MemoryBackend
    from agora.state.sqlite import SQLiteBackend
    from agora.state.transaction import opened

__all__ = [
    "Change",
    "CheckpointStore",
    "Delete",
    "Expect",
    "ExpectationFailed",
    "MemoryBackend",
    "Put",
    "SQLiteBackend",
    "StateBackend",
    "StateDLQSink",
    "Transaction",
    "opened",
]

_HOMES = {
    "CheckpointStore": "checkpoints",
    "MemoryBackend": "memory",
    "SQLiteBackend": "sqlite",
    "StateDLQSink": "letters",
    "opened": "transaction",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415 - with the name that wants it, as all of this module

    found = getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'base')}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return list(__all__)
