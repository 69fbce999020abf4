"""Async methods that are one blocking call: what they do, and when the blocking form is to be had."""

import threading

import pytest
import trio

from agora.threaded import blocking_form, threaded, with_blocking_form


class Part:
    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    @threaded
    def work(self, number: int, *, plus: int = 0) -> int:
        """Doubles."""
        self.threads.append(threading.current_thread())
        return 2 * number + plus


class Another(Part):
    async def work(self, number: int, *, plus: int = 0) -> int:
        return -number - plus


class Delegates:
    def __init__(self, part: Part) -> None:
        self._part = part

    def __getattr__(self, name: str) -> object:
        return getattr(self._part, name)


async def test_the_method_works_in_a_thread() -> None:
    part = Part()
    assert await part.work(4, plus=1) == 9
    assert part.threads != [threading.current_thread()]
    assert Part.work.__doc__ == "Doubles."


async def test_one_that_is_cancelled_is_not_begun() -> None:
    part = Part()
    with trio.CancelScope() as scope:
        scope.cancel()
        await part.work(4)
    assert scope.cancelled_caught
    assert not part.threads


def test_its_blocking_form_works_in_the_thread_that_calls_it() -> None:
    part = Part()
    form = blocking_form(part.work)
    assert form is not None
    assert form(4, plus=1) == 9
    assert part.threads == [threading.current_thread()]


def test_who_delegates_gets_the_part_s_own() -> None:
    part = Part()
    form = blocking_form(Delegates(part).work)
    assert form is not None
    assert form(1) == 2
    assert part.threads


@pytest.mark.parametrize("method", [Another().work, None, len, trio.sleep])
def test_what_was_put_in_its_place_has_none(method: object) -> None:
    assert blocking_form(method) is None


def test_a_method_that_was_replaced_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Part, "work", Another.work)
    assert blocking_form(Part().work) is None


def test_an_object_may_have_none_at_present() -> None:
    class Moody:
        ready = False

        @with_blocking_form(lambda moody: len if moody.ready else None)
        async def work(self) -> None: ...

    moody = Moody()
    assert blocking_form(moody.work) is None
    moody.ready = True
    assert blocking_form(moody.work) is len
