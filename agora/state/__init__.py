"""State backends, and what is kept on them: checkpoints, leases, dead letters."""

from typing import TYPE_CHECKING

from agora.lazily import lazily

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
    "Change": ".base",
    "CheckpointStore": ".checkpoints",
    "Delete": ".base",
    "Expect": ".base",
    "ExpectationFailed": ".base",
    "MemoryBackend": ".memory",
    "Put": ".base",
    "SQLiteBackend": ".sqlite",
    "StateBackend": ".base",
    "StateDLQSink": ".letters",
    "Transaction": ".base",
    "opened": ".transaction",
}

__getattr__, __dir__ = lazily(__name__, _HOMES)
