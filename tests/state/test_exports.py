"""`agora.state` offers what it says, and imports a backend only when it is asked for."""

import subprocess
import sys

import pytest

import agora.state


@pytest.mark.parametrize("name", agora.state.__all__)
def test_every_public_name_is_there(name):
    assert getattr(agora.state, name).__module__.startswith("agora.state.") or name == "Change"
    assert name in dir(agora.state)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="SqliteBackend"):
        agora.state.SqliteBackend  # noqa: B018 - reading it is the test


def test_state_in_memory_imports_no_sqlite():
    script = (
        "import sys, trio\n"
        "from agora.state import CheckpointStore, MemoryBackend, StateDLQSink\n"
        "trio.run(CheckpointStore(MemoryBackend()).list)\n"
        "assert not {'apsw', 'pyarrow'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)
