"""Direct calls of a part: opened and closed as a run does it, in the task that calls."""

import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from inspect import isawaitable
from typing import Any

import trio

from agora.context import RunContext
from agora.tracing import NoopTracer

__all__ = ["alive", "awaited", "context_for"]

_LOGGER = logging.getLogger("agora")


def context_for(stage: str, *, transactional: bool) -> RunContext:
    """A context as a first run gives it."""
    return RunContext(
        pipeline="laws",
        run_id="laws",
        stage=stage,
        resumed_from=None,
        fence=0,
        transactional=transactional,
        state={},
        logger=logging.LoggerAdapter(_LOGGER, {}),
        span=lambda name, attributes: NoopTracer().span(name, attributes=attributes),
        count=lambda name, n: None,
    )


@asynccontextmanager
async def alive(part: Any, stage: str, *, transactional: bool = True) -> AsyncGenerator[Any]:
    """The part, its lifespan entered, open. Closed in every case, shielded."""
    context = context_for(stage, transactional=transactional)
    async with AsyncExitStack() as stack:
        if callable(getattr(part, "lifespan", None)):
            await stack.enter_async_context(part.lifespan(context))
        try:
            if callable(getattr(part, "open", None)):
                await awaited(part.open(context))
            yield part
        finally:
            if callable(getattr(part, "close", None)):
                with trio.CancelScope(shield=True):
                    await awaited(part.close())


async def awaited(result: Any) -> Any:
    """What a plain or async function gave."""
    return await result if isawaitable(result) else result
