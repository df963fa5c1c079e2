"""Signals that ask a program to end: what is done by then is kept, as when the user interrupts it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# What the console exits with when it was interrupted.
INTERRUPTED = 130
# Of SLURM, docker stop, timeout and a shutdown; and of a terminal that is closed.
_ENDING = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]


@contextmanager
def as_interruptions() -> Iterator[list[int]]:
    """Raise KeyboardInterrupt for them inside the block; yields a list that holds those that came.

    A signal that somebody ignores (nohup) or handles already is left alone, and so are all outside the main thread, which
    cannot catch any. A second one of a kind ends the process at once.
    """
    received: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        received.append(number)
        raise KeyboardInterrupt

    mine = threading.current_thread() is threading.main_thread()
    caught = [number for number in _ENDING if mine and signal.getsignal(number) is signal.SIG_DFL]
    for number in caught:
        signal.signal(number, interrupt)
    try:
        yield received
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)
