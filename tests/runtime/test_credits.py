"""The account of credits: what fits, who waits, and whether the limit was in use."""

import trio
from trio.testing import wait_all_tasks_blocked

from agora.runtime.credits import Credits


def test_what_fits_is_up_to_the_limit_and_anything_alone() -> None:
    account = Credits(10)
    assert account.fits(11)  # more than the limit, with nothing in flight
    account.taken = 4
    assert account.fits(6)
    assert not account.fits(7)


async def test_credits_add_up_and_whoever_does_not_fit_waits_for_those_given_back() -> None:
    account = Credits(10)
    await account.acquire(4)
    await account.acquire(6)
    assert (account.taken, account.pressed) == (10, False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(account.acquire, 3)
        await wait_all_tasks_blocked()
        assert (account.taken, account.pressed) == (10, True)
        account.release(2)
        await wait_all_tasks_blocked()
        assert account.taken == 8
        account.release(1)
    assert account.taken == 10


async def test_a_moved_limit_lets_in_what_fits_now_and_its_use_is_watched_anew() -> None:
    account = Credits(10, taken=10, pressed=True)
    account.move(10)
    assert account.pressed  # nothing has changed
    async with trio.open_nursery() as nursery:
        nursery.start_soon(account.acquire, 5)
        await wait_all_tasks_blocked()
        account.move(15)
        assert not account.pressed
    assert account.taken == 15
