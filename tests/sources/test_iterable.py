"""IterableSource: what is drawn, when, and who closes it."""

import pytest
import trio

from agora.errors import AgoraError, ConfigError
from agora.sources import Demand, IterableSource


async def _all(source):
    return [row async for row in source.stream()]


@pytest.mark.parametrize("items", [[1, 2, 3], (1, 2, 3), range(1, 4), {1: 0, 2: 0, 3: 0}])
async def test_a_collection_may_be_run_again(items):
    source = IterableSource(items)
    assert await _all(source) == [1, 2, 3]
    assert await _all(source) == [1, 2, 3]


async def test_a_used_iterator_is_an_error_and_not_an_empty_run():
    source = IterableSource(iter([1, 2]))
    assert await _all(source) == [1, 2]
    with pytest.raises(AgoraError, match="used up"):
        await _all(source)
    with pytest.raises(AgoraError, match="used up"):
        await anext(source.blocks(Demand(1)))


@pytest.mark.parametrize("items", [[1, 2, 3, 4, 5], iter([1, 2, 3, 4, 5])])
async def test_blocks_hold_what_is_demanded_and_the_demand_may_change(items):
    demand = Demand(2)
    sizes = []
    async for block in IterableSource(items).blocks(demand):
        sizes.append(block.rows)
        demand.rows = 1
    assert sizes == [[1, 2], [3], [4], [5]]


async def test_nothing_is_drawn_beyond_the_demand():
    drawn = []

    def items():
        for number in range(10):
            drawn.append(number)
            yield number

    blocks = IterableSource(items()).blocks(Demand(3))
    assert (await anext(blocks)).rows == [0, 1, 2]
    assert drawn == [0, 1, 2]
    await blocks.aclose()


async def test_a_slow_iterator_gives_what_it_has_when_overdue():
    blocks = IterableSource(iter(range(5))).blocks(Demand(5, overdue=lambda: True))
    assert [block.rows async for block in blocks] == [[0], [1], [2], [3], [4]]


async def test_what_was_drawn_before_a_failure_comes_before_it():
    def items():
        yield 1
        yield 2
        raise RuntimeError("no more")

    seen = []
    blocks = IterableSource(items()).blocks(Demand(10))
    seen += (await anext(blocks)).rows
    with pytest.raises(RuntimeError, match="no more"):
        await anext(blocks)
    assert seen == [1, 2]


async def test_the_users_list_is_not_handed_out():
    items = [1, 2, 3]
    async for block in IterableSource(items).blocks(Demand(10)):
        block.rows.clear()
    assert items == [1, 2, 3]


async def test_an_async_generator_is_closed_by_the_stream():
    closed = []

    async def items():
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    source = IterableSource(items())
    assert source.blocks is None
    stream = source.stream()
    assert await anext(stream) == 1
    await stream.aclose()
    assert closed == [True]
    with pytest.raises(AgoraError, match="used up"):
        await _all(source)


async def test_a_channel_is_read_to_its_end_and_left_to_its_owner():
    send, receive = trio.open_memory_channel(5)
    source = IterableSource(receive)
    assert source.blocks is None
    async with send:
        for number in range(3):
            await send.send(number)
    assert await _all(source) == [0, 1, 2]
    with pytest.raises(trio.EndOfChannel):
        receive.receive_nowait()


async def test_an_async_iterable_may_be_run_again():
    class Twice:
        async def __aiter__(self):
            yield 1
            yield 2

    source = IterableSource(Twice())
    assert await _all(source) == [1, 2]
    assert await _all(source) == [1, 2]


def test_it_can_not_resume_and_says_so():
    assert IterableSource([]).supports_checkpoint is False
    assert not hasattr(IterableSource([]), "checkpoint")


@pytest.mark.parametrize("items", [7, None])
def test_what_can_not_be_iterated_is_refused_at_once(items):
    with pytest.raises(ConfigError):
        IterableSource(items)
