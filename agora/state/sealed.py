"""Values as bytes that tell what became of them: a format, a checksum, tagged JSON.

Damage is found where a row is read rather than resumed from, and a row of another agora is refused by its
format rather than misread. Tagged JSON, since what users' parts hand over may hold more than JSON can say.
"""

import zlib
from typing import Any

from agora import tagged
from agora.errors import StateError

__all__ = ["seal", "unseal"]


def seal(version: bytes, value: object) -> bytes:
    """`value` with its format (a number in digits) and checksum. `StateError` for what wouldn't come back: a run that
    resumed from its `repr` would go on wrongly."""
    body = tagged.encode(value)
    if b'"opaque"' in body:
        found = tagged.opaque_in(tagged.to_jsonable(value))
        if found is not None:
            place, text = found
            raise StateError(
                f"{place} is {text:.80}, which can't be saved: give numbers, text, dates, lists, dicts, tuples or sets"
            )
    return b"%s %08x %s" % (version, zlib.crc32(body), body)


def unseal(version: bytes, data: bytes) -> Any:
    """What `seal` was given. `StateError`: another format, or damage."""
    found, _, rest = data.partition(b" ")
    if found != version:
        who = "damage"
        if found.isdigit():
            who = "an older agora" if int(found) < int(version) else "a newer agora"
        raise StateError(f"its format is {found[:20]!r}, this agora reads {version!r}: {who}")
    checksum, _, body = rest.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(body):
        raise StateError("it is damaged (its checksum doesn't match)")
    return tagged.decode(body)
