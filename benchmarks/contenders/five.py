"""The five steps of W4: one set of functions for all, since what is compared is what stands around them."""

__all__ = ["FIVE", "five", "four", "one", "three", "two"]


def one(number: int) -> int:
    return number + 1


def two(number: int) -> int:
    return number * 3


def three(number: int) -> int:
    return number - 2


def four(number: int) -> int:
    return number ^ 5


def five(number: int) -> int:
    return number + 7


FIVE = (one, two, three, four, five)
