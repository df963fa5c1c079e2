"""What libsndfile's mp3 decoder writes to standard error by itself; our own sentences say what is wrong with a file."""

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# "Note: Trying to resync...", "Warning: Xing stream size off by …", "[src/libmpg123/layer3.c:…] error: …", and empty lines.
_NOTES = re.compile(rb"(Note|Warning): |\[src/libmpg123/|\s*$")
_PATIENCE = 1.0  # seconds for what is still on its way, at the end


@contextmanager
def without_decoder_notes() -> Iterator[None]:
    """Keep them off the terminal inside the block; what else is written, by other C libraries or children, passes.

    C writes to the descriptor of standard error, which is put behind a filter; Python writes to the terminal as before.
    """
    if not _is_plain_stderr():
        yield
        return
    python, terminal = sys.stderr, os.dup(2)
    reading, writing = os.pipe()
    python.flush()
    os.dup2(writing, 2)
    os.close(writing)
    sys.stderr = os.fdopen(os.dup(terminal), "w", encoding=python.encoding, errors=python.errors, buffering=1)
    passing = threading.Thread(target=_pass_on, args=(reading, terminal), daemon=True)
    passing.start()
    try:
        yield
    finally:
        sys.stderr.close()
        sys.stderr = python
        os.dup2(terminal, 2)  # closes the filter's end, unless a child still holds it
        passing.join(_PATIENCE)


def _is_plain_stderr() -> bool:
    try:
        return sys.stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):  # none, closed, or something that is no file
        return False


def _pass_on(reading: int, terminal: int) -> None:
    with os.fdopen(reading, "rb") as lines, os.fdopen(terminal, "wb", buffering=0) as out:
        for line in lines:
            if not _NOTES.match(line):
                out.write(line)
