"""What `agora run faults.target:pipeline` runs in a process of its own: the variant that the environment names."""

import contextlib
import json
import os

from .child import REQUEST, Request, built, shorten_lease, watched
from .phases import Phase

__all__ = ["pipeline"]

_request = Request.from_json(json.loads(os.environ[REQUEST]))
if _request.lease is not None:
    shorten_lease(_request.lease)
_recorder = contextlib.ExitStack().enter_context(watched(_request.strike))  # for as long as the process lives
pipeline = built(_request, _recorder)
_recorder.enter(Phase.OPENING)
