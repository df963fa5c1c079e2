"""How training scripts end: with a sentence and an exit status, never a traceback for what is no fault of the program's."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pecmae.cli.signals import INTERRUPTED, as_interruptions
from pecmae.errors import PecmaeError
from pecmae.training.runs import how_to_go_on


@contextmanager
def ending_in_words(output: str | os.PathLike[str]) -> Iterator[None]:
    """Turn errors of the user's, Ctrl-C and SIGTERM into a sentence on standard error and the usual exit status.

    Parameters
    ----------
    output : path
        Folder of the run, which the same command continues.
    """
    with as_interruptions() as received:
        try:
            yield
        except (PecmaeError, OSError) as error:
            sys.exit(str(error) if _is_first() else 1)
        except KeyboardInterrupt:
            if _is_first():
                print(f"\n{how_to_go_on(Path(output))}", file=sys.stderr)
            sys.exit(128 + received[0] if received else INTERRUPTED)


def _is_first() -> bool:
    """Whether this process speaks for all that `accelerate launch` started."""
    return int(os.environ.get("RANK", "0")) == 0
