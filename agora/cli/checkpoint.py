"""`agora checkpoint`: where the next run goes on, and how to make it start over."""

import sys
from typing import Annotated

import attrs
import trio
from cyclopts import Parameter

from agora.checkpoint import Checkpoint
from agora.cli.outcome import Exit, Output, UsageError, ending
from agora.cli.output import confirmed, print_json, print_text
from agora.cli.state import checkpoint_store, leased
from agora.cli.target import Name, Target, open_target
from agora.records import Json
from agora.state.steplog import Place

__all__ = ["Yes", "reset", "show"]

Yes = Annotated[bool, Parameter(help="Don't ask.")]


def show(
    target: Target,
    name: Name = None,
    /,
    *,
    output: Output = Output(),  # noqa: B008  - frozen
) -> int:
    """Show the checkpoint that the next run resumes from."""

    def command() -> int:
        bound = open_target(target, name)
        checkpoint = trio.run(checkpoint_store(bound).load, bound.name)
        if output.json:
            fields = checkpoint and attrs.asdict(checkpoint, recurse=False)
            print_json({"pipeline": bound.name, "checkpoint": fields})
        elif checkpoint is None:
            print_text(f"pipeline {bound.name} has no checkpoint: a run starts from the beginning")
        else:
            print_text(_text(bound.name, checkpoint))
        return Exit.OK

    return ending(output, command)


def reset(
    target: Target,
    name: Name = None,
    /,
    *,
    yes: Yes = False,
    output: Output = Output(),  # noqa: B008  - frozen
) -> int:
    """Forget the checkpoint: the next run starts from the beginning. What was written stays where it is."""

    def command() -> int:
        bound = open_target(target, name)
        store = checkpoint_store(bound)
        answer = confirmed(f"Forget the checkpoint of pipeline {bound.name}?", yes=yes)
        if answer is None:
            raise UsageError("without a terminal to ask on, resetting needs --yes")
        if not answer:
            print("agora: nothing was changed", file=sys.stderr)
            return Exit.FAILED

        async def forget() -> Checkpoint | None:
            async with leased(store.state, bound.name):
                old = await store.load(bound.name)
                await store.delete(bound.name)
            return old

        old = trio.run(forget)
        if output.json:
            print_json({"pipeline": bound.name, "reset": old is not None})
        elif old is None:
            print_text(f"pipeline {bound.name} had no checkpoint")
        else:
            print_text(f"pipeline {bound.name}: the checkpoint at record {old.ordinal:,} is forgotten")
        return Exit.OK

    return ending(output, command)


def _text(name: str, checkpoint: Checkpoint) -> str:
    after = "a completed run" if checkpoint.completed else "a run that didn't reach the end"
    lines = [
        f"pipeline {name}: {checkpoint.ordinal:,} records are handled, by {after}",
        f"  saved at {checkpoint.saved_at:%Y-%m-%d %H:%M:%S} UTC by run {checkpoint.run_id}",
        f"  source {checkpoint.source}, position {checkpoint.position}",
    ]
    lines += [f"  sink {sink}: {token}" for sink, token in checkpoint.sinks.items()]
    lines += [f"  state of {step}{_keys(state)}" for step, state in checkpoint.states.items()]
    return "\n".join(lines)


def _keys(state: Json) -> str:
    place = Place.of(state)
    return "" if place is None else f": {place.keys:,} key{'' if place.keys == 1 else 's'}"
