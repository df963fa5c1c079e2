"""Signals that ask a program to end: what is done by then is kept, as when the user interrupts it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

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


@contextmanager
def held_back() -> Iterator[None]:
    """Let a signal interrupt after the block and not inside it, so that a row is written whole; a second one does at once."""
    came: list[int] = []
    before: dict[int, Any] = {}

    def hold(number: int, frame: FrameType | None) -> None:
        if came:
            before[number](number, frame)
        came.append(number)

    mine = threading.current_thread() is threading.main_thread()
    for number in (signal.SIGINT, *_ENDING):
        if mine and callable(signal.getsignal(number)):
            before[number] = signal.signal(number, hold)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            before[came[0]](came[0], None)
