"""RecordBatches on their way between two processes: Arrow's own format, which takes of a slice only its rows."""

import pyarrow as pa

__all__ = ["from_bytes", "mask_from_bytes", "mask_to_bytes", "to_bytes"]


def to_bytes(data: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, data.schema) as writer:
        writer.write_batch(data)
    return bytes(sink.getvalue())


def from_bytes(text: bytes) -> pa.RecordBatch:
    with pa.ipc.open_stream(text) as reader:
        return reader.read_next_batch()


def mask_to_bytes(mask: pa.BooleanArray) -> bytes:
    return to_bytes(pa.RecordBatch.from_arrays([mask], names=["kept"]))


def mask_from_bytes(text: bytes) -> pa.BooleanArray:
    return from_bytes(text).column(0)
