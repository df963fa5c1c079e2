"""Times of several pieces of work, taken in turn."""

import statistics
import time
from collections.abc import Callable, Mapping


def interleaved(work: Mapping[str, Callable[[], object]], rounds: int, *, warm_up: bool = True) -> dict[str, float]:
    """Median seconds of each piece of work.

    A machine that other programs share is fast in one minute and slow in the next. So the pieces take turns, A B C A B C, and
    only figures of one call of this function are compared with each other.

    Parameters
    ----------
    work : mapping of str to callable
    rounds : int
        Turns, of which the median is taken.
    warm_up : bool
        One turn more, before the others, that does not count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(-1 if warm_up else 0, rounds):
        for name, function in work.items():
            started = time.perf_counter()
            function()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}
