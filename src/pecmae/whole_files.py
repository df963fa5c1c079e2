"""Files that appear whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block ends well, and is removed when it does not.

    Raises
    ------
    OSError
        It cannot be written; the error names `path`.
    """
    target = Path(path)
    # Short, since names may have 255 bytes and no more; not tempfile's, whose files are private to their owner.
    temporary = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        yield temporary
        temporary.replace(target)
    except OSError as error:
        if error.filename in (temporary, str(temporary)):
            error.filename = str(target)
        raise
    finally:
        temporary.unlink(missing_ok=True)
