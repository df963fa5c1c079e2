"""A model directory on disk: written atomically, read strictly, its weights checked by hash."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from pecmae.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from torch import Tensor

HASH_CHUNK_BYTES = 1 << 20
WEIGHTS_FILE = "model.safetensors"


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


def read_json_config(path: str | os.PathLike[str], *, format_version: int) -> dict[str, Any]:
    """Read a configuration file written by this version of pecmae or an older one.

    Parameters
    ----------
    path : str or os.PathLike
        A JSON file that holds one object with a `format_version`.
    format_version : int
        The newest version this package can read.

    Returns
    -------
    dict
        All that the file holds, `format_version` included.

    Raises
    ------
    ConfigError
        The file is missing, is not such a file, comes from a newer version, or has hashes without that of the weights.
    """
    path = Path(path)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; save or download the model again.") from None
    except ValueError as error:  # also a UnicodeDecodeError
        raise ConfigError(f"{path}: not valid JSON ({error}); save or download the model again.") from None
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: it holds no JSON object; give a directory that pecmae saved.")
    found = config.get("format_version")
    # bool is an int in Python, but not a version.
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise ConfigError(f"{path}: it has no format_version, so pecmae did not write it; give a directory that pecmae saved.")
    if found > format_version:
        raise ConfigError(
            f"{path}: format version {found} is newer than {format_version}, the newest this pecmae reads; "
            "upgrade it with 'pip install --upgrade pecmae'."
        )
    hashes = config.get("sha256", {WEIGHTS_FILE: ""})
    if not isinstance(hashes, dict) or not isinstance(hashes.get(WEIGHTS_FILE), str):
        raise ConfigError(f"{path}: 'sha256' should hold the hash of {WEIGHTS_FILE}; restore it or save the model again.")
    return config


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, reading it in pieces."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def load_weights(path: str | os.PathLike[str], expected_sha256: str | None) -> "dict[str, Tensor]":
    """Read the tensors of a safetensors file after checking its hash.

    The Hub's client checks the size of what it downloads, not the content: a damaged file of the right size gets here.

    Parameters
    ----------
    path : str or os.PathLike
        A safetensors file.
    expected_sha256 : str or None
        The hash that config.json holds under `sha256`; None skips the check.

    Returns
    -------
    dict of str to Tensor
        The tensors by name, on the CPU, in their stored types.

    Raises
    ------
    CheckpointError
        The file is missing, truncated, or not the one that was saved.
    """
    from safetensors.torch import load_file

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file; save or download the model again.")
    if expected_sha256 is not None and (found := file_sha256(path)) != expected_sha256.lower():
        raise CheckpointError(
            f"{path}: the file is damaged or of another model (its sha256 is {found[:12]}…, config.json says "
            f"{expected_sha256[:12]}…); download it again with force_download=True, or save the model again."
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: no readable safetensors file ({error}); get or save the model again.") from None
