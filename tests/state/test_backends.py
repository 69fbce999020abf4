"""What every backend promises beside what the model covers."""

import contextlib
import os

import pytest
import trio

import agora.seam
from agora.errors import StateError
from agora.state import Delete, Expect, ExpectationFailed, MemoryBackend, Put, SQLiteBackend, opened

from .conftest import WallClock


async def everything(backend, namespace="n", prefix=""):
    async with contextlib.aclosing(backend.scan(namespace, prefix)) as rows:
        return [row async for row in rows]


async def test_each_open_wants_its_own_close(backend):
    await backend.open()
    await backend.open()
    await backend.close()
    assert backend.is_open
    await backend.put("n", "k", b"v")
    await backend.close()
    assert not backend.is_open
    with pytest.raises(StateError, match="isn't open"):
        await backend.close()


async def test_a_closed_backend_refuses_everything(backend):
    for call in (
        backend.get("n", "k"),
        backend.put("n", "k", b""),
        backend.delete("n", "k"),
        everything(backend),
    ):
        with pytest.raises(StateError, match="isn't open"):
            await call


async def test_what_was_put_outlives_closing(backend):
    async with opened(backend):
        await backend.put("n", "k", b"v")
    async with opened(backend):
        assert await backend.get("n", "k") == b"v"


async def test_opened_leaves_open_what_was_open(backend):
    await backend.open()
    async with opened(backend):
        pass
    assert backend.is_open
    await backend.close()


async def test_a_failed_expectation_names_itself_and_changes_nothing(backend):
    async with opened(backend):
        await backend.put("n", "k", b"v")
        wrong = Expect("n", "k", b"other")
        with pytest.raises(ExpectationFailed) as failed:
            await backend.apply([Put("n", "x", b"x"), Delete("n", "k"), wrong])
        assert failed.value.expectation == wrong
        assert await everything(backend) == [("k", b"v")]


async def test_a_name_that_no_file_could_hold_is_refused_before_anything_is_changed(backend):
    async with opened(backend):
        with pytest.raises(StateError, match="udcff"):
            await backend.apply([Put("n", "fine", b""), Put("n", "\udcff", b"")])
        assert await everything(backend) == []


async def test_expired_entries_are_invisible_and_their_number_stays_bounded(backend):
    with agora.seam.use(WallClock()) as clock:
        async with opened(backend):
            for round_ in range(20):
                await backend.apply([Put("n", f"{round_}-{n}", b"v", ttl=1) for n in range(50)])
                clock.pass_(1)
                assert await everything(backend) == []
                assert await backend.get("n", f"{round_}-0") is None
            assert stored_entries(backend) <= 150


def stored_entries(backend):
    backend = getattr(backend, "store", backend)  # of a simulated one
    if isinstance(backend, MemoryBackend):
        return sum(map(len, backend._entries.values()))
    return backend._connection.execute("SELECT count(*) FROM entries").get


async def test_a_scan_of_many_pages_gives_every_entry_once_and_in_order(backend):
    rows = [(f"{n:05}", b"x" * 100) for n in range(1_000)]
    async with opened(backend):
        await backend.apply(
            [Put("n", key, value) for key, value in rows] + [Put("m", "z", b""), Put("o", "a", b"")]
        )
        assert await everything(backend) == rows
        assert await everything(backend, prefix="001") == rows[100:200]


async def test_large_values_are_scanned_page_by_page(backend):
    rows = [(f"{n}", bytes([n]) * 700_000) for n in range(5)]
    async with opened(backend):
        await backend.apply([Put("n", key, value) for key, value in rows])
        assert await everything(backend) == rows


async def test_changes_between_two_pages_neither_block_nor_disturb_a_scan(backend):
    async with opened(backend):
        await backend.apply([Put("n", f"{n:05}", b"") for n in range(600)])
        seen = []
        async with contextlib.aclosing(backend.scan("n")) as rows:
            async for key, _ in rows:
                seen.append(key)
                await backend.apply([Delete("n", key), Put("n", f"{key}+", b"")])
        assert [key for key in seen if "+" not in key] == [f"{n:05}" for n in range(600)]


async def test_two_objects_on_one_real_file_count_as_one(tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    paths = [tmp_path / "state.db", "state.db", "link/state.db", "./state.db"]
    before = {SQLiteBackend(path).identity() for path in paths}
    assert len(before) == 1
    async with opened(SQLiteBackend("state.db")):
        os.link("state.db", "hard.db")
        assert len({SQLiteBackend(path).identity() for path in [*paths, "hard.db"]}) == 1
    assert SQLiteBackend("other.db").identity() not in before
    assert MemoryBackend().identity() != MemoryBackend().identity()


async def test_virtual_time_stands_still_while_a_backend_works(backend, autojump_clock):
    before = trio.current_time()
    async with opened(backend):
        with trio.fail_after(0.001):
            for n in range(50):
                await backend.put("n", f"{n}", b"")
    assert trio.current_time() == before


async def test_tasks_that_share_a_backend_change_it_one_after_another(backend):
    async def add():
        for _ in range(20):
            while True:
                old = await backend.get("n", "sum")
                new = b"%d" % (int(old or b"0") + 1)
                with contextlib.suppress(ExpectationFailed):
                    await backend.apply([Expect("n", "sum", old), Put("n", "sum", new)])
                    break

    async with opened(backend):
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(add)
        assert await backend.get("n", "sum") == b"80"


async def test_every_call_is_a_checkpoint(backend):
    with trio.testing.assert_checkpoints():
        await backend.open()
    for call in (
        lambda: backend.put("n", "k", b""),
        lambda: backend.get("n", "k"),
        lambda: backend.apply([]),
        lambda: everything(backend),
        lambda: backend.delete("n", "k"),
        backend.close,
    ):
        with trio.testing.assert_checkpoints():
            await call()
