"""`agora checkpoint`: where the next run goes on, and how to make it start over."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import attrs
import trio
from cyclopts import Parameter

from agora.checkpoint import Checkpoint
from agora.cli.outcome import Exit, Output, UsageError, ending
from agora.cli.output import confirmed, print_json, print_text
from agora.cli.state import checkpoint_store, leased
from agora.cli.target import Name, Target, open_target
from agora.errors import StateError
from agora.records import Json
from agora.state import SQLiteBackend, opened
from agora.state.lease import Holder, holder_of
from agora.state.steplog import Place

__all__ = ["Yes", "backup", "reset", "show"]

_FOR_PROGRAMS = ("head", "tail", "edges")

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
        store = checkpoint_store(bound)

        async def look() -> tuple[Checkpoint | None, bool, Holder | None]:
            async with opened(store.state):
                began = bool(await store.genesis(bound.name))
                return await store.load(bound.name), began, await holder_of(store.state, bound.name)

        checkpoint, began, holder = trio.run(look)
        if output.json:
            fields = checkpoint and attrs.asdict(checkpoint, recurse=False)
            lease = holder and attrs.asdict(holder)
            print_json({"pipeline": bound.name, "checkpoint": fields, "lease": lease})
            return Exit.OK
        if checkpoint is not None:
            print_text(_text(bound.name, checkpoint))
        else:
            but = ", though a run began" if began else ""
            print_text(f"pipeline {bound.name} has no checkpoint{but}: a run starts from the beginning")
        if holder is not None:
            renewed = f"{holder.renewed:%Y-%m-%d %H:%M:%S} UTC"
            print_text(
                f"  lease: {holder}; renewed at {renewed}, and not given back: it runs, or was cut off"
            )
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

        async def forget() -> Checkpoint | StateError | None:
            async with leased(store.state, bound.name):
                old: Checkpoint | StateError | None
                try:
                    old = await store.load(bound.name)
                except StateError as error:  # what is to be forgotten needn't be read
                    old = error
                await store.delete(bound.name)
            return old

        old = trio.run(forget)
        if output.json:
            print_json({"pipeline": bound.name, "reset": old is not None})
        elif old is None:
            print_text(f"pipeline {bound.name} had no checkpoint")
        else:
            which = "that can't be read" if isinstance(old, StateError) else f"at record {old.ordinal:,}"
            print_text(f"pipeline {bound.name}: the checkpoint {which} is forgotten")
        return Exit.OK

    return ending(output, command)


def backup(
    target: Target,
    copy: Annotated[Path, Parameter(help="The file to make; it mustn't be there yet.")],
    name: Name = None,
    /,
    *,
    output: Output = Output(),  # noqa: B008  - frozen
) -> int:
    """Copy the state file, with checkpoints, dead letters and all, whether it is in use or not."""

    def command() -> int:
        bound = open_target(target, name)
        state = checkpoint_store(bound).state
        if not isinstance(state, SQLiteBackend):
            raise UsageError(
                f"the state of pipeline {bound.name!r} is no file: use the tools of its own for a copy"
            )
        trio.run(state.backup, copy)
        if output.json:
            print_json({"pipeline": bound.name, "state": str(state.path), "backup": str(copy)})
        else:
            print_text(f"the state file {state.path} is copied to {copy}")
        return Exit.OK

    return ending(output, command)


def _place(value: Any) -> str:
    """A position, token or identity in a line for people: without fingerprints, which only programs compare."""
    if not isinstance(value, Mapping):
        return str(value)
    told = {
        key: each for key, each in value.items() if key not in _FOR_PROGRAMS and each not in (None, {}, [])
    }
    parts = (f"{key} {each:,}" if type(each) is int else f"{key} {each}" for key, each in told.items())
    return ", ".join(parts)


def _text(name: str, checkpoint: Checkpoint) -> str:
    after = "a completed run" if checkpoint.completed else "a run that didn't reach the end"
    lines = [
        f"pipeline {name}: {checkpoint.ordinal:,} records are handled, by {after}",
        f"  saved at {checkpoint.saved_at:%Y-%m-%d %H:%M:%S} UTC by run {checkpoint.run_id}",
        f"  source: {_place(checkpoint.source)}",
        f"  position: {_place(checkpoint.position)}",
    ]
    for sink, token in checkpoint.sinks.items():
        lines.append(f"  sink {sink}: " + ("flushed, no token" if token is None else _place(token)))
    lines += [f"  state of {step}{_keys(state)}" for step, state in checkpoint.states.items()]
    return "\n".join(lines)


def _keys(state: Json) -> str:
    place = Place.of(state)
    return "" if place is None else f": {place.keys:,} key{'' if place.keys == 1 else 's'}"
