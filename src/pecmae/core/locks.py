"""Keeping two runs out of one folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pecmae.errors import ConfigError


@contextmanager
def locked_folder(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Keep other runs out of a folder, which is made; the system lets go of it with the process.

    A process may lock a folder again that it has locked.

    Raises
    ------
    ConfigError
        Another run is using the folder.
    """
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.resolve() / ".lock", is_singleton=True)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise ConfigError(
            f"{folder}: another run is using this folder; wait until it ends, or choose another output."
        ) from None
    except NotImplementedError:  # a file system without locks
        yield
        return
    try:
        yield
    finally:
        lock.release()
