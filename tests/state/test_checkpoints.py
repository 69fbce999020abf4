"""A checkpoint is saved whole, under its fence, and read back or refused."""

import zlib
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agora.checkpoint import Checkpoint
from agora.errors import PipelineBusy, StateError
from agora.state import (
    CheckpointStore,
    Delete,
    Expect,
    ExpectationFailed,
    MemoryBackend,
    Put,
    SQLiteBackend,
    opened,
)
from agora.state.checkpoints import _decode, _encode
from agora.state.lease import acquire

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
checkpoints = st.builds(
    Checkpoint,
    position=json,
    skip=st.integers(0, 10),
    ordinal=st.integers(0),
    source=json,
    sinks=st.dictionaries(st.text(), json, max_size=3),
    states=st.dictionaries(st.text(), json, max_size=3),
    fence=st.integers(0, 10),
    run_id=st.text(),
    saved_at=st.datetimes(timezones=st.just(UTC)),
    completed=st.booleans(),
)


def checkpoint(**fields) -> Checkpoint:
    shape = {
        "position": 7,
        "ordinal": 3,
        "source": None,
        "run_id": "r",
        "saved_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Checkpoint(**{**shape, **fields})


@given(checkpoints)
def test_every_checkpoint_comes_back_as_it_was(value):
    assert _decode(_encode(value)) == value


@given(checkpoints, st.data())
def test_a_row_with_any_byte_changed_or_cut_off_is_refused(value, data):
    row = _encode(value)
    place = data.draw(st.integers(0, len(row) - 1))
    changed = data.draw(st.integers(0, 255).filter(lambda byte: byte != row[place]))
    for damaged in (row[:place], row[:place] + bytes([changed]) + row[place + 1 :]):
        with pytest.raises(StateError):
            _decode(damaged)


async def test_a_store_works_on_a_backend_that_is_not_open_and_leaves_it_closed(backend):
    store = CheckpointStore(backend)
    assert await store.load("p") is None
    await store.save("p", checkpoint())
    assert await store.load("p") == checkpoint()
    assert await store.list() == ["p"]
    await store.delete("p")
    await store.delete("p")
    assert await store.load("p") is None
    assert await store.list() == []
    assert not backend.is_open


async def test_pipelines_are_listed_by_name_in_order(backend):
    store = CheckpointStore(backend)
    for name in ("b", "a", "ä/b c", "a b"):
        await store.save(name, checkpoint(run_id=name))
    assert await store.list() == ["a", "a b", "b", "ä/b c"]
    assert (await store.load("ä/b c")).run_id == "ä/b c"


async def test_other_changes_are_made_with_the_checkpoint_or_not_at_all(backend):
    store = CheckpointStore(backend)
    async with opened(backend):
        await store.save("p", checkpoint(), also=[Put("n", "k", b"v")])
        assert await backend.get("n", "k") == b"v"
        with pytest.raises(ExpectationFailed):
            await store.save("p", checkpoint(ordinal=9), also=[Delete("n", "k"), Expect("n", "x", b"")])
        assert await backend.get("n", "k") == b"v"
        assert await store.load("p") == checkpoint()


async def test_a_save_under_an_older_fence_is_refused_and_changes_nothing(backend):
    store = CheckpointStore(backend)
    async with opened(backend):
        first = await acquire(backend, "p", "first")
        await store.save("p", checkpoint(fence=first.fence, run_id="first"))
        await first.release()
        second = await acquire(backend, "p", "second")
        with pytest.raises(PipelineBusy, match="later runner"):
            await store.save("p", checkpoint(fence=first.fence, ordinal=9), also=[Put("n", "k", b"")])
        assert (await store.load("p")).ordinal == 3
        assert await backend.get("n", "k") is None
        await store.save("p", checkpoint(fence=second.fence, ordinal=4))
        await second.release()


async def test_a_save_under_a_fence_that_was_never_given_is_refused(backend):
    with pytest.raises(PipelineBusy):
        await CheckpointStore(backend).save("p", checkpoint(fence=1))


async def test_renewals_do_not_disturb_saves(backend):
    store = CheckpointStore(backend)
    async with opened(backend):
        lease = await acquire(backend, "p", "r")
        for ordinal in range(3):
            await lease.renew()
            await store.save("p", checkpoint(fence=lease.fence, ordinal=ordinal))
        await lease.release()


async def test_a_damaged_row_is_refused_naming_pipeline_and_file(tmp_path):
    backend = SQLiteBackend(tmp_path / "state.db")
    store = CheckpointStore(backend)
    await store.save("orders", checkpoint())
    async with opened(backend):
        row = await backend.get("checkpoint", "orders")
        await backend.put("checkpoint", "orders", row.replace(b'"ordinal":3', b'"ordinal":4'))
    with pytest.raises(StateError, match="'orders'") as error:
        await store.load("orders")
    assert str(tmp_path / "state.db") in str(error.value)
    assert "checksum" in str(error.value)


def test_a_row_that_is_whole_but_no_checkpoint_is_refused():
    for body in (b"{}", b"[]", b'{"position":1,"colour":2}'):
        with pytest.raises(StateError, match="what a checkpoint holds"):
            _decode(b"2 %08x %s" % (zlib.crc32(body), body))


async def test_base_tokens_are_kept_under_the_fence_until_the_checkpoint_is_deleted(backend):
    store = CheckpointStore(backend)
    async with opened(backend):
        assert await store.genesis("p") == {}
        lease = await acquire(backend, "p", "r")
        await store.begin("p", {"jsonl:a": None, "csv:b": {"size": 0}}, lease.fence, afresh=False)
        await store.save("p", checkpoint(fence=lease.fence))
        assert await store.genesis("p") == {"jsonl:a": None, "csv:b": {"size": 0}}
        with pytest.raises(PipelineBusy, match="later runner"):
            await store.begin("p", {}, lease.fence - 1 or 99, afresh=True)
        assert await store.load("p") is not None
        await store.begin("p", {"x": 1}, lease.fence, afresh=True)
        assert await store.load("p") is None
        assert await store.genesis("p") == {"x": 1}
        await store.delete("p")
        assert await store.genesis("p") == {}
        await lease.release()


@pytest.mark.parametrize(
    ("found", "by"), [(b"3", "a newer agora"), (b"1", "an older agora"), (b"x", "damage")]
)
async def test_a_row_of_another_format_is_refused(found, by):
    with pytest.raises(StateError, match=by):
        _decode(found + b" 00000000 {}")


async def test_what_positions_hold_beside_json_comes_back(backend):
    store = CheckpointStore(backend)
    value = checkpoint(position=(1, b"x"), states={"seen": {3: {1, 2}}})
    await store.save("p", value)
    assert await store.load("p") == value


def test_a_store_is_a_value():
    backend = MemoryBackend()
    assert CheckpointStore(backend) == CheckpointStore(backend)
    assert attrs.has(CheckpointStore)
    assert SQLiteBackend("x").path == Path("x")
