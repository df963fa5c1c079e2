"""Work done in a thread before it is asked for comes in order, with its errors, and ends when the taking does."""

import threading
import time
from collections.abc import Generator

import pytest

from pecmae.core.ahead import ahead


def test_items_come_in_order_and_a_few_are_made_in_advance() -> None:
    made: list[int] = []

    def numbers() -> Generator[int]:
        for number in range(10):
            made.append(number)
            yield number

    taken = ahead(numbers(), 3)
    assert next(taken) == 0
    deadline = time.monotonic() + 5
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert made == [0, 1, 2, 3]  # the one that was taken, and three more
    assert list(taken) == list(range(1, 10))


def test_an_error_comes_after_the_items_before_it() -> None:
    def failing() -> Generator[int]:
        yield 1
        raise OSError("the disk is gone")

    taken = ahead(failing(), 4)
    assert next(taken) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(taken)


def test_it_is_made_in_one_other_thread_and_closed_there_when_the_taking_stops() -> None:
    threads: set[threading.Thread] = set()
    closed: list[threading.Thread] = []

    def endless() -> Generator[int]:
        try:
            while True:
                threads.add(threading.current_thread())
                yield 0
        finally:
            closed.append(threading.current_thread())

    taken = ahead(endless(), 2)
    next(taken)
    next(taken)
    taken.close()
    assert len(threads) == 1
    assert closed == list(threads) != [threading.current_thread()]
    assert not closed[0].is_alive()
