"""Files written whole or not at all, known by their content, and named for people."""

import errno
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass


HASH_CHUNK_BYTES = 1 << 20


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
    """Yield a temporary folder beside `target` that takes its place when the block ends well.

    An error inside the block removes the temporary folder and leaves `target` as it was. Files of an existing `target`
    that the block did not write stay in it (a user's own notes, say).

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
    NotADirectoryError
        `target` is a file.
    """
    # Resolved, so that a link to a directory keeps pointing to it.
    target = Path(target).expanduser().resolve()
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(f"{target}: a file of this name is in the way; choose another directory.")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        written = temporary / "new"
        written.mkdir()
        yield written
        if target.exists():
            _keep_others(target, written)
        _swap(written, target, replaced=temporary / "old")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _keep_others(old_folder: Path, new_folder: Path) -> None:
    """Give `new_folder` the files of `old_folder` that it lacks; as links where the file system has them."""
    for old in sorted(path for path in old_folder.rglob("*") if path.is_file() or path.is_symlink()):
        kept = new_folder / old.relative_to(old_folder)
        if kept.exists():
            continue
        kept.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(old, kept, follow_symlinks=False)
        except OSError:
            shutil.copy2(old, kept, follow_symlinks=False)


def _swap(written: Path, target: Path, *, replaced: Path) -> None:
    """Put `written` in the place of `target`, which moves to `replaced`."""
    if not target.exists():
        written.rename(target)
        return
    target.rename(replaced)
    try:
        written.rename(target)
    except BaseException:
        replaced.rename(target)
        raise


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
    """Write JSON whole or not at all."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(value, indent=1))


def user_path(path: str | os.PathLike[str]) -> Path:
    """A path with "~" as the user's folder, which a shell makes of it in some places only (not in --output=~/x)."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  # Path.expanduser refuses names of unknown users: "~x.wav"


def display_name(path: str | os.PathLike[str]) -> str:
    """Return a path as text that can be printed, also where its bytes are no valid UTF-8."""
    return str(path).encode("utf-8", "backslashreplace").decode()
