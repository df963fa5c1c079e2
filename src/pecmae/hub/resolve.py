"""From what a user writes (a name, a directory, a Hub id) to a local directory that holds the files.

Every failure is one sentence that says what to do: a `HubError`, or a `FileNotFoundError` for a local path that does
not exist.
"""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Unpack

from huggingface_hub import constants

from pecmae.core.configs import read_json
from pecmae.core.files import finish_saving, save_directory_atomically
from pecmae.errors import ConfigError, HubError, PecmaeError
from pecmae.hub.download import DownloadOptions, checked, download
from pecmae.hub.zoo import SHARED_AUTOENCODER, ZooEntry, embedded_directory, find_entry, known_names

# The files of a model directory. The autoencoder and the scheduler are inside only in a self-contained bundle.
REQUIRED_FILES = ("config.json", "model.safetensors")
# What training leaves beside the weights for the pages, see `pecmae.prototypes.neighbours`.
COMPANION_FILE = "companion.safetensors"
# How far its answers can be trusted, see `pecmae.prototypes.calibration`.
CALIBRATION_FILE = "calibration.safetensors"
# Which files it was trained, validated and tested on, see `pecmae.data.split_record`.
SPLITS_FILE = "splits.json"
# What was done to its prototypes by hand, see `pecmae.editing.log`.
EDITS_FILE = "edits.json"
# Training segments that stand for prototypes which nothing can sonify, see `pecmae.prototypes.example_sounds`.
EXAMPLES_FOLDER = "examples"
# The card, which a model that is saved or pushed again takes along.
CARD_FILE = "README.md"
OPTIONAL_MODEL_FILES = (
    *("autoencoder/*", "scheduler/*", f"{EXAMPLES_FOLDER}/*"),
    *(COMPANION_FILE, CALIBRATION_FILE, SPLITS_FILE, EDITS_FILE, CARD_FILE),
)
# Of a codec in the layout of transformers.
CODEC_FILES = ("config.json", "model.safetensors")

# Raised when what a converter makes changes, so that conversions of an older pecmae are not taken for current ones.
CONVERSION_VERSION = 1

# Names that end so are files, never repositories.
FILE_SUFFIXES = (".bin", ".ckpt", ".gin", ".json", ".onnx", ".pkl", ".pt", ".pth", ".safetensors", ".th", ".zip")


class PublishedAutoencoder(NamedTuple):
    """Local copies of an autoencoder in its authors' layout, and the commit they are of."""

    weights: Path
    config_gin: Path
    codec_directory: Path
    commit: str


def is_path_like(model_id: str | os.PathLike[str]) -> bool:
    """Whether `model_id` can only mean a local path: `./x`, `/x`, `~/x`, `x/`, `a/b/c`, a backslash, a file's suffix.

    `some/dir` could be both; it is a path when the directory exists, else a Hub id.
    """
    if not isinstance(model_id, str):
        return True
    return (
        model_id.startswith((".", "/", "~"))
        or model_id.endswith("/")
        or "\\" in model_id
        or model_id.count("/") > 1
        or re.match(r"[A-Za-z]:", model_id) is not None
        or model_id.lower().endswith(FILE_SUFFIXES)
    )


def resolve_directory(
    model_id: str | os.PathLike[str],
    *,
    required: Sequence[str],
    optional: Sequence[str] = (),
    subfolder: str | None = None,
    **options: Unpack[DownloadOptions],
) -> Path:
    """Return a local directory that holds the files of a model, downloading them when they are on the Hub.

    Parameters
    ----------
    model_id : str or os.PathLike
        A directory, or a Hub id `owner/name`. A directory that exists wins; what looks like a path never goes to the
        network.
    required : sequence of str
        Files that must be there, relative to the returned directory.
    optional : sequence of str
        Files, or patterns such as `autoencoder/*`, to download as well where they exist.
    subfolder : str, optional
        Folder inside the directory or repository that the files lie in; it is the one returned.
    **options
        `revision`, `cache_dir`, `force_download`, `local_files_only` and `token`, as in huggingface_hub.

    Raises
    ------
    FileNotFoundError
        A local path that does not exist.
    HubError
        Anything else: no such repository, revision or file, no connection, not cached.
    """
    if not str(model_id).strip():
        raise HubError("'' names no model; give a directory, a Hub id of the form owner/name, or None for the embedded model.")
    path = Path(model_id).expanduser()
    if path.is_dir():
        finish_saving(path)
        return checked(path / (subfolder or ""), required, described=str(model_id))
    if path.is_file():
        raise HubError(f"{model_id}: this is a file; give the directory that holds {required[0]}.")
    if is_path_like(model_id):
        raise FileNotFoundError(
            f"{model_id}: there is no such directory; check the path, or give a Hub id of the form owner/name."
        )
    if "/" not in str(model_id):
        raise HubError(
            f"{str(model_id)!r} is neither a directory nor a name pecmae knows ({', '.join(known_names())}); "
            "a Hub id has the form owner/name."
        )
    return download(str(model_id), required, optional, subfolder, look=_require_own, **options)


def resolve_model(model_id: str | os.PathLike[str] | None = None, **options: Unpack[DownloadOptions]) -> Path:
    """Return the directory of a model: of an embedded one for its name or None ("mini"), else see `resolve_directory`."""
    entry = _find_entry("mini" if model_id is None else model_id)
    if entry is None:
        assert model_id is not None
        return resolve_directory(model_id, required=REQUIRED_FILES, optional=OPTIONAL_MODEL_FILES, **options)
    if entry.kind == "autoencoder":
        raise HubError(
            f"{entry.name!r} is an autoencoder, without labels; load it with Autoencoder.from_pretrained, "
            f"or give a model ({', '.join(known_names('model'))}, a directory or a Hub id)."
        )
    return _embedded(entry.name)


def embedded_autoencoder() -> Path:
    """Directory of the autoencoder that all embedded models share."""
    return _embedded(SHARED_AUTOENCODER) / "autoencoder"


def resolve_autoencoder(
    model_id: str | os.PathLike[str] | None = None,
    *,
    convert: Callable[[PublishedAutoencoder, Path], None],
    **options: Unpack[DownloadOptions],
) -> Path:
    """Return the directory of an autoencoder: its own, or the one inside a self-contained model.

    Parameters
    ----------
    model_id : str, os.PathLike or None
        A name of the zoo, a directory, or a Hub id; None is the autoencoder of the embedded models.
    convert : callable
        Called as `convert(published, output_directory)` the first time a published autoencoder is loaded; what it
        writes is kept.
    **options
        See `resolve_directory`.
    """
    entry = _find_entry("mini" if model_id is None else model_id)
    if entry is None:
        assert model_id is not None
        return resolve_directory(model_id, required=REQUIRED_FILES, optional=(CARD_FILE,), **options)
    if entry.kind == "model":
        return embedded_autoencoder()
    published = download_published_autoencoder(entry, **options)
    converted = cached_conversion_directory(entry, published.commit, cache_dir=options.get("cache_dir"))
    if options.get("force_download", False) or not all((converted / name).is_file() for name in REQUIRED_FILES):
        try:
            with save_directory_atomically(converted) as folder:
                convert(published, folder)
        except PecmaeError:
            raise
        except OSError as error:
            raise HubError(
                f"{converted}: the converted autoencoder cannot be kept there ({error.strerror or error}); "
                "let HF_HOME or cache_dir be a folder that can be written."
            ) from error
    return converted


def download_published_autoencoder(entry: ZooEntry, **options: Unpack[DownloadOptions]) -> PublishedAutoencoder:
    """Download (or find in the cache) a published autoencoder and the codec it stands on.

    `revision` is of the autoencoder's repository; the codec comes from its main branch.
    """
    if not (entry.repo_id and entry.weights_file and entry.config_file and entry.codec_repo_id):
        names = ", ".join(known_names("autoencoder"))
        raise HubError(f"{entry.name!r} is not a published autoencoder; choose one of {names}.")
    folder = download(entry.repo_id, (entry.weights_file, entry.config_file), **options)
    codec_options = options.copy()
    codec_options.pop("revision", None)
    codec = download(entry.codec_repo_id, CODEC_FILES, **codec_options)
    # A snapshot folder is called after its commit.
    return PublishedAutoencoder(folder / entry.weights_file, folder / entry.config_file, codec, commit=folder.name)


def cached_conversion_directory(entry: ZooEntry, commit: str, *, cache_dir: str | Path | None = None) -> Path:
    """Where the converted form of a published autoencoder is kept: beside the Hub's cache, or in the user's `cache_dir`."""
    root = Path(constants.HF_HUB_CACHE).parent if cache_dir is None else Path(cache_dir).expanduser()
    return root / "pecmae" / f"{entry.name}-{commit}-v{CONVERSION_VERSION}"


def _find_entry(model_id: str | os.PathLike[str]) -> ZooEntry | None:
    """Return the entry of the zoo that has this name, unless a model directory here has it too: a path that exists wins."""
    if not isinstance(model_id, str) or (Path(model_id) / REQUIRED_FILES[0]).is_file():
        return None
    entry = find_entry(model_id)
    if entry is not None and not entry.available:
        raise HubError(f"{entry.name!r} has no published weights; make them with '{entry.make_command}' and load OUT.")
    return entry


def _embedded(name: str) -> Path:
    folder = embedded_directory(name)
    if not (folder / REQUIRED_FILES[0]).is_file():
        raise HubError(f"{name!r} is missing from this installation of pecmae ({folder}); install it again.")
    return folder


def _require_own(config: Path, name: str) -> None:
    """Refuse a model of another library by its configuration, before its weights are fetched."""
    try:
        found = read_json(config, "")
    except ConfigError:
        return  # read again with the weights beside it, and refused then
    if not isinstance(found, dict) or "format_version" in found:
        return
    kind = found.get("model_type") or next(iter(found.get("architectures") or ()), None)
    what = f"a {kind} model" if isinstance(kind, str) else "a model"
    raise ConfigError(
        f"{name}: is {what} of another library, such as transformers, which pecmae cannot load; "
        "give a model that pecmae saved, or nothing for the embedded one."
    )
