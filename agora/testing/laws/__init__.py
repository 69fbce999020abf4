"""Laws: what every part of a kind must keep to, searched for a counterexample by Hypothesis.

One check a kind of part, each a plain function for an ordinary test. `LawBroken` says which law is broken, and gives
the smallest counterexample found as a test to paste.
"""

from typing import TYPE_CHECKING

from agora.lazily import lazily
from agora.testing.needs import require_hypothesis

if TYPE_CHECKING:
    from agora.testing.laws.base import Law, LawBroken
    from agora.testing.laws.middlewarecase import MiddlewareCase
    from agora.testing.laws.middlewarelaws import MIDDLEWARE_LAWS
    from agora.testing.laws.pipelinecase import PipelineCase
    from agora.testing.laws.pipelinelaws import PIPELINE_LAWS
    from agora.testing.laws.sinkcase import SinkCase
    from agora.testing.laws.sinklaws import SINK_LAWS
    from agora.testing.laws.sourcecase import SourceCase
    from agora.testing.laws.sourcelaws import SOURCE_LAWS
    from agora.testing.laws.statebackendcase import StateCase
    from agora.testing.laws.statebackendlaws import STATE_BACKEND_LAWS

__all__ = [
    "MIDDLEWARE_LAWS",
    "PIPELINE_LAWS",
    "SINK_LAWS",
    "SOURCE_LAWS",
    "STATE_BACKEND_LAWS",
    "Law",
    "LawBroken",
    "MiddlewareCase",
    "PipelineCase",
    "SinkCase",
    "SourceCase",
    "StateCase",
]

_MODULES = {
    "MIDDLEWARE_LAWS": ".middlewarelaws",
    "MiddlewareCase": ".middlewarecase",
    "Law": ".base",
    "LawBroken": ".base",
    "PIPELINE_LAWS": ".pipelinelaws",
    "PipelineCase": ".pipelinecase",
    "SINK_LAWS": ".sinklaws",
    "SOURCE_LAWS": ".sourcelaws",
    "SinkCase": ".sinkcase",
    "SourceCase": ".sourcecase",
    "STATE_BACKEND_LAWS": ".statebackendlaws",
    "StateCase": ".statebackendcase",
}

require_hypothesis("the laws")

__getattr__, __dir__ = lazily(__name__, _MODULES)
