"""Files written whole or not at all, known by their content, and named for people."""

import errno
import hashlib
import json
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

HASH_CHUNK_BYTES = 1 << 20
# Inside a folder that is saved into: what is whole and not yet in its place.
READY = ".pecmae-ready"


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block ends well, and is removed when it does not.

    What it holds is on the disk before it takes the place: a power cut leaves the old file or the new one.

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
        synchronise(temporary)
        temporary.replace(target)
        synchronise(target.parent)
    except OSError as error:
        # A write to a full disk names no file.
        if error.filename in (None, temporary, str(temporary)):
            error.filename = str(target)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def synchronise(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk, where the file system can tell."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder on Windows
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EACCES):
            raise
    finally:
        os.close(descriptor)


@contextmanager
def save_directory_atomically(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder whose files appear in `target`, all of them or none, when the block ends well.

    A new folder appears at once. One that exists (a repository, a mounted volume, the current folder) stays the folder it is,
    with its permissions and all that the block did not write: the files lie ready inside it before the first is moved into its
    place, and where a process dies between two, `finish_saving` moves the others.

    Parameters
    ----------
    target : str or os.PathLike
        The directory to write; its parents are made.

    Yields
    ------
    Path
        An empty folder on the same file system as `target`.

    Raises
    ------
    OSError
        `target` or something in it is a file where a folder is needed, or the other way round; or it cannot be written.
    """
    # Resolved, so that a link to a directory keeps pointing to it.
    target = user_path(target).resolve()
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(f"{target}: a file of this name is in the way; choose another directory.")
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".pecmae-", dir=target if target.is_dir() else target.parent))
        written = temporary / "new"  # mkdtemp's own folder is private to its owner
        written.mkdir()
        yield written
        for path in written.rglob("*"):
            synchronise(path)
        if target.is_dir():
            _check_places(written, target)
            finish_saving(target)  # an older one
            written.rename(target / READY)
            finish_saving(target)
        else:
            written.rename(target)
            synchronise(target.parent)
    except OSError as error:
        # A write to a full disk names no file, and nobody knows the temporary one.
        if error.errno and (not error.filename or (temporary and str(error.filename).startswith(str(temporary)))):
            error.filename, error.filename2 = str(target), None
        raise
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def finish_saving(directory: Path) -> None:
    """Move files that lie ready in `directory` into their places: a process may have died while it saved there.

    Raises
    ------
    OSError
        They cannot be moved.
    """
    ready = directory / READY
    if not ready.is_dir():
        return
    for new in sorted(path for path in ready.rglob("*") if path.is_file()):
        place = directory / new.relative_to(ready)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            if place.is_file() and not place.is_symlink():
                shutil.copymode(place, new)
            new.replace(place)
        except FileNotFoundError:  # another process has moved it
            continue
    for folder in [*(path for path in ready.rglob("*") if path.is_dir()), ready]:
        synchronise(directory / folder.relative_to(ready))
    shutil.rmtree(ready, ignore_errors=True)


def _check_places(written: Path, target: Path) -> None:
    """Refuse before anything is moved what could not be moved."""
    for new in written.rglob("*"):
        place = target / new.relative_to(written)
        if place.is_dir() and not new.is_dir():
            raise IsADirectoryError(f"{place}: a folder is in the place of a file to write; move it away.")
        if new.is_dir() and place.exists() and not place.is_dir():
            raise NotADirectoryError(f"{place}: a file is in the place of a folder to write; move it away.")


def cache_root() -> Path:
    """Where pecmae keeps what it computed: beside the Hub's cache, which HF_HOME moves."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).parent / "pecmae"


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, reading it in pieces."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def content_hash(path: Path) -> str:
    """SHA-256 of a file's content; read once as long as size and modification time stay the same."""
    state = path.stat()
    return _content_hash(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=1 << 17)
def _content_hash(path: Path, _size: int, _time: int) -> str:
    return file_sha256(path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all; numbers that are none, which JSON has no word for, become null."""
    text = json.dumps(without_nan(value), indent=1, allow_nan=False)
    with atomic_write(path) as partial:
        partial.write_text(text)


def read_text(path: Path) -> str:
    """Text that somebody else may have written: bytes that are no UTF-8 and ends of lines stay what they are."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read()


def write_text(path: Path, text: str) -> None:
    """Write what `read_text` reads."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(text)


def without_nan(value: Any) -> Any:
    """Plain values with None in the place of NaN and infinite numbers."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    return [without_nan(item) for item in value] if isinstance(value, list | tuple) else value


def user_path(path: str | os.PathLike[str]) -> Path:
    """A path with "~" as the user's folder, which a shell makes of it in some places only (not in --output=~/x)."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  # Path.expanduser refuses names of unknown users: "~x.wav"


def display_name(path: str | os.PathLike[str]) -> str:
    """Return a path as text that can be printed, also where its bytes are no valid UTF-8."""
    return str(path).encode("utf-8", "backslashreplace").decode()
