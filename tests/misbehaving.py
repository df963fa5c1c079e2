"""Answers that go wrong in every way that the fuzzer tells apart; its process imports this and not the tests."""

import os
from collections.abc import Callable

from hostile.cases import Case
from pecmae.errors import AudioError


def misbehaving() -> Callable[[Case], None]:
    """What answers a case by doing what its description says."""

    def answer(case: Case) -> None:
        if case.how == "refuse":
            raise AudioError("song.wav: is noise; give music.")
        if case.how == "fail":
            raise KeyError("rate")
        if case.how == "lie":
            raise AssertionError("a score of nan")
        if case.how == "die":
            os.abort()
        if case.how == "grow":
            len(b"x" * 200_000_000)
        while case.how == "work":
            pass

    return answer
