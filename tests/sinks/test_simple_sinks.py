"""Memory, null, standard output, functions, channels, and what `.to()` takes."""

import datetime
import functools
import json
import subprocess
import sys
from typing import Any

import pytest
import trio
import trio.testing
from support import Records

import agora.sinks
from agora import Pipeline
from agora.deadletter import DLQRecord
from agora.errors import ConfigError, RecordsRejected
from agora.sinks import ChannelSink, FunctionSink, MemorySink, NullSink, StdoutSink, as_sink
from agora.state import CheckpointStore, MemoryBackend


async def test_memory_holds_what_was_written_in_order_uncommitted_too() -> None:
    sink = MemorySink()
    await sink.write([1, 2])
    await sink.prepare()
    await sink.write([3])
    assert sink.records == [1, 2, 3]


async def test_memory_is_cut_back_to_its_own_token_and_a_new_object_starts_anew() -> None:
    sink = MemorySink()
    await sink.write(["before"])
    base = await sink.prepare()
    await sink.write([1])
    token: Any = await sink.prepare()
    assert json.loads(json.dumps(token)) == token
    await sink.commit(token)
    await sink.write([2])
    await sink.recover(token)
    assert sink.records == ["before", 1]
    await sink.recover(base)
    assert sink.records == ["before"]
    await sink.write([1])
    await sink.restart(await sink.prepare())
    assert sink.records == ["before"]
    for strange in (token, None, {}, 5):
        other = MemorySink()
        await other.write([9])
        await other.recover(strange)
        assert other.records == [9]


async def test_memory_is_a_dead_letter_queue() -> None:
    letter = DLQRecord(
        id="1", pipeline="p", run_id="r", stage="source", error_type="E", error_message="m",
        original={"a": 1},
        checkpoint=None, failed_at=datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
    )  # fmt: skip
    sink = MemorySink()
    await sink.write([letter])
    assert sink.records == [letter]


@pytest.mark.parametrize("sink", [MemorySink(), NullSink()])
async def test_every_call_is_a_checkpoint_and_cancelled_does_nothing(sink: Any) -> None:
    for call in (lambda: sink.write([1]), sink.prepare, lambda: sink.commit({}), lambda: sink.recover({})):
        with trio.testing.assert_checkpoints():
            await call()
    with trio.CancelScope() as scope:
        scope.cancel()
        await sink.write([2])
    assert getattr(sink, "records", [1]) == [1]


async def test_functions_plain_and_async_are_called_record_by_record() -> None:
    seen: list[Any] = []

    async def slowly(record: Any, extra: str) -> str:
        await trio.lowlevel.checkpoint()
        seen.append((record, extra))
        return "ignored"

    class Callable:
        async def __call__(self, record: Any) -> None:
            seen.append(record)

    for fn in (seen.append, functools.partial(slowly, extra="x"), lambda r: slowly(r, "y"), Callable()):
        sink: Any = as_sink(fn)
        for record in (1, 2):
            await sink.write_record(record)
    assert seen == [1, 2, (1, "x"), (2, "x"), (1, "y"), (2, "y"), 1, 2]


async def test_what_a_function_raises_comes_out_as_it_is() -> None:
    error = ValueError("no")

    def fail(_record: Any) -> None:
        raise error

    with pytest.raises(ValueError, match="no") as caught:
        await FunctionSink(fail).write_record(1)
    assert caught.value is error
    assert FunctionSink(fail).target == "fail"


async def test_a_channel_is_sent_each_record_and_stays_open() -> None:
    send, receive = trio.open_memory_channel[int](2)
    sink: Any = as_sink(send)
    assert isinstance(sink, ChannelSink)
    await sink.write_record(1)
    await sink.write_record(2)
    with trio.move_on_after(0) as scope:
        await sink.write_record(3)
    assert scope.cancelled_caught
    assert [receive.receive_nowait(), receive.receive_nowait()] == [1, 2]
    await receive.aclose()
    with pytest.raises(trio.BrokenResourceError):
        await sink.write_record(4)
    await send.aclose()


def test_a_sink_is_taken_as_it_is_and_anything_else_is_refused_with_what_to_do() -> None:
    class Own:
        async def write_record(self, record: Any) -> None: ...

    own = Own()
    assert as_sink(own) is own

    def generator(record: Any) -> Any:
        yield record

    async def async_generator(record: Any) -> Any:
        yield record

    for wrong in (5, None, "out.jsonl", MemorySink, sys.__stdout__, generator, async_generator, object()):
        with pytest.raises(ConfigError) as caught:
            as_sink(wrong)
        assert caught.value.problems


async def test_standard_output_may_be_an_object_without_a_descriptor(capsys: Any) -> None:
    await StdoutSink().write([1])
    assert capsys.readouterr().out == "1\n"


async def test_standard_output_gets_json_lines_at_once(capfd: Any) -> None:
    sink = StdoutSink()
    with trio.testing.assert_checkpoints():
        await sink.write([])
    with pytest.raises(RecordsRejected) as caught:
        await sink.write([{"a": "ä"}, {"a": float("nan")}, {"a": 2}])
    assert list(caught.value.errors) == [1]
    await StdoutSink(nan="null").write([{"a": float("nan")}])
    assert capfd.readouterr().out == '{"a":"ä"}\n{"a":2}\n{"a":null}\n'


PROGRAM = """
import sys, trio
from agora.sinks import StdoutSink
print("first")
async def main():
    for n in range(int(sys.argv[1])):
        await StdoutSink().write([{"n": n}])
try:
    trio.run(main)
except BrokenPipeError:
    sys.exit(3)
"""


def test_standard_output_is_in_order_with_what_was_printed_and_a_closed_pipe_is_an_oserror() -> None:
    command = [sys.executable, "-c", PROGRAM]
    whole = subprocess.run([*command, "2"], capture_output=True, check=True)
    assert whole.stdout == b'first\n{"n":0}\n{"n":1}\n'
    with subprocess.Popen([*command, "1000000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 3


def test_using_a_simple_sink_imports_no_heavy_library() -> None:
    program = (
        "import sys; from agora.sinks import CsvSink, JsonLinesSink, MemorySink, as_sink; "
        "assert 'pyarrow' not in sys.modules and 'zstandard' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_every_public_name_is_there() -> None:
    assert dir(agora.sinks) == sorted(agora.sinks.__all__)
    for name in agora.sinks.__all__:
        assert getattr(agora.sinks, name) is not None
    with pytest.raises(AttributeError):
        _ = agora.sinks.Nothing  # type: ignore[attr-defined]  # the point of the test


def test_restarting_a_second_pipeline_into_the_same_memory_leaves_what_the_first_wrote():
    sink = MemorySink()

    def bound(name, items):
        store = CheckpointStore(MemoryBackend())
        return Pipeline(Records(items), name=name).to(sink, name="out").build(checkpoint_store=store)

    trio.run(bound("first", 2).run)
    second = bound("second", 3)
    trio.run(second.run)
    trio.run(functools.partial(second.run, restart=True))
    assert [record["id"] for record in sink.records] == [0, 1, 0, 1, 2]
