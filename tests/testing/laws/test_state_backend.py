"""`check_state_backend`: the built-in backends pass, each way of breaking a law is found, a counterexample is a
test."""

import itertools

import pytest
import trio
from testing.broken.statebackends import (
    BROKEN,
    REOPEN,
    ForgetsExpectations,
    NamedByTheObject,
    OneByOne,
    Sound,
    another,
)
from testing.laws.finding import SEEDS, found, replayed

from agora.state import MemoryBackend, SQLiteBackend
from agora.testing import LawBroken, check_state_backend
from agora.testing.laws import STATE_BACKEND_LAWS


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_a_broken_state_backend_is_found_and_its_counterexample_finds_it_again(broken, seed):
    reopen = REOPEN.get(broken.factory, another)
    seen = found(broken.law, check_state_backend, broken.factory, reopen=reopen, seed=seed)
    assert seen.steady
    assert replayed(seen).seen == seen.seen or broken.factory is NamedByTheObject


def test_each_law_is_broken_by_one_of_them():
    assert {broken.law for broken in BROKEN} == {law.name for law in STATE_BACKEND_LAWS}


@pytest.mark.parametrize("reopen", [None, lambda backend: backend])
def test_a_backend_in_memory_passes(reopen):
    check_state_backend(MemoryBackend, reopen=reopen)


def test_several_objects_in_memory_pass():
    check_state_backend(Sound, reopen=another)


def files(tmp_path):
    numbers = itertools.count()
    return lambda: SQLiteBackend(tmp_path / f"{next(numbers)}.db")


def test_a_backend_in_a_file_passes(tmp_path):
    check_state_backend(files(tmp_path), reopen=lambda backend: SQLiteBackend(backend.path), examples=10)


def test_a_backend_passes_in_real_time_with_real_threads(tmp_path):
    check_state_backend(
        files(tmp_path), reopen=lambda backend: SQLiteBackend(backend.path), real_time=True, examples=2
    )


def test_a_counterexample_is_a_test_that_fails_until_the_law_holds():
    with pytest.raises(LawBroken) as found:
        check_state_backend(OneByOne, seed=1)
    names = {}
    exec(found.value.code, names)  # as if it were pasted
    with pytest.raises(LawBroken, match="'atomicity' is broken"):
        names["test_atomicity"]()
    names["OneByOne"] = MemoryBackend
    names["test_atomicity"]()


def test_a_counterexample_is_the_smallest():
    with pytest.raises(LawBroken) as found:
        check_state_backend(ForgetsExpectations, seed=1)
    assert found.value.code.count("Expect(") == 1
    assert found.value.code.count("Put(") <= 1


def test_the_same_seed_finds_the_same():
    def message():
        with pytest.raises(LawBroken) as found:
            check_state_backend(OneByOne, seed=7)
        return str(found.value)

    assert message() == message()


def test_an_error_of_the_backend_is_told_as_the_law_that_it_breaks():
    class Unable(Sound):
        async def put(self, namespace, key, value, *, ttl=None):
            await trio.lowlevel.checkpoint()
            raise NotImplementedError("no put")

    with pytest.raises(LawBroken, match="raised NotImplementedError") as found:
        check_state_backend(Unable)
    assert isinstance(found.value.__cause__, NotImplementedError)


def test_what_the_factory_raises_comes_out():
    def factory():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        check_state_backend(factory)


def test_a_law_needs_its_case():
    with pytest.raises(TypeError, match="StateCase"):
        check_state_backend(MemoryBackend, law="scan")
