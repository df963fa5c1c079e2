"""Signals that ask a run to end: the step is finished and stored first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# Of Ctrl-C; of SLURM, docker stop, timeout and a shutdown.
_ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held_back() -> Iterator[list[int]]:
    """Hold back signals that would end the process, and send them again when the block is left.

    Yields a list that holds those that came; the block looks at it and comes to its end. A second signal of a kind acts at
    once. Outside the main thread, which cannot catch any, and for signals that somebody ignores, nothing is held back.
    """
    received: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        signal.signal(number, before[number])
        received.append(number)

    if threading.current_thread() is threading.main_thread():
        # None: a handler that was not made by Python cannot be put back.
        before = {number: found for number in _ENDING if (found := signal.getsignal(number)) not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received:
        signal.raise_signal(received[0])
