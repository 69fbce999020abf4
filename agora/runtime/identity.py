"""Whether the source at hand is the one of the checkpoint."""

import json

from agora.checkpoint import Checkpoint
from agora.errors import SourceChanged
from agora.records import Json

__all__ = ["check_identity"]


def check_identity(pipeline: str, resumed: Checkpoint, identity: Json) -> None:
    """Raises `SourceChanged`, which says how the source differs from the one of the checkpoint."""
    if not _same(identity, resumed.source):
        raise SourceChanged(
            f"pipeline {pipeline!r}: the source is not the one of the checkpoint, which was made at record "
            f"{resumed.ordinal:,} of {_differences(resumed.source, identity)}. "
            "Go on at the saved position with allow_source_change=True (--allow-source-change), or start "
            "over with restart=True (--restart)."
        )


def _differences(was: Json, now: Json) -> str:
    """What is different between two identities, for people; both whole where they aren't of one shape."""
    if not (isinstance(was, dict) and isinstance(now, dict)):
        return f"{json.dumps(was)} and not of {json.dumps(now)}"
    keys = [key for key in {**was, **now} if not _same(was.get(key), now.get(key))]
    old, new = (", ".join(f"{key} = {json.dumps(each.get(key))}" for key in keys) for each in (was, now))
    return f"a source with {old}; now it has {new}"


def _same(one: Json, two: Json) -> bool:
    """Equal as JSON: a tuple is a list there, and a key is text."""
    return bool(json.loads(json.dumps(one)) == json.loads(json.dumps(two)))
