"""Work that a page asks for and does not wait for: one piece after the other in a thread beside."""

import logging
import threading
from collections import deque
from collections.abc import Callable

_log = logging.getLogger(__name__)


class Background:
    """A thread that works; what was asked for last comes first, since that is what somebody looks at.

    Parameters
    ----------
    name : str
        Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        # Nobody waits for a sound that is half done when the program ends.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def ask(self, work: Callable[[], None]) -> None:
        """Have something done; it says itself what went wrong with it."""
        with self._changed:
            self._waiting.append(work)
            self._changed.notify()

    def close(self, seconds: float = 5.0) -> None:
        """End after the piece that is being done, which is waited for so long."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify()
        self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                work = self._waiting.pop()
            try:
                work()
            except Exception:  # a fault in one piece leaves the others to be done
                _log.exception("a piece of work failed")
