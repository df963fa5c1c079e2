"""From what a user writes (a name, a directory, a Hub id) to a local directory that holds the files.

Every failure is one sentence that says what to do: a `HubError`, or a `FileNotFoundError` for a local path that does
not exist.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, Unpack

import httpx2
from huggingface_hub import constants, errors, snapshot_download

from pecmae.core.files import finish_saving, save_directory_atomically
from pecmae.core.options import refuse_unknown
from pecmae.errors import HubError
from pecmae.hub.zoo import ZooEntry, embedded_directory, find_entry, known_names

# The files of a model directory. The autoencoder and the scheduler are inside only in a self-contained bundle.
REQUIRED_FILES = ("config.json", "model.safetensors")
# What training leaves beside the weights for the pages, see `pecmae.prototypes.neighbours`.
COMPANION_FILE = "companion.safetensors"
# Which files it was trained, validated and tested on, see `pecmae.data.split_record`.
SPLITS_FILE = "splits.json"
OPTIONAL_MODEL_FILES = ("autoencoder/*", "scheduler/*", COMPANION_FILE, SPLITS_FILE)
# Of a codec in the layout of transformers.
CODEC_FILES = ("config.json", "model.safetensors")

# Raised when what a converter makes changes, so that conversions of an older pecmae are not taken for current ones.
CONVERSION_VERSION = 1

# Names that end so are files, never repositories.
FILE_SUFFIXES = (".bin", ".ckpt", ".gin", ".json", ".onnx", ".pkl", ".pt", ".pth", ".safetensors", ".th", ".zip")


class DownloadOptions(TypedDict, total=False):
    """Options of every call that may download, as in huggingface_hub."""

    revision: str | None
    cache_dir: str | Path | None
    force_download: bool
    local_files_only: bool
    token: str | bool | None


def check_options(options: Mapping[str, Any], call: Callable[..., Any]) -> None:
    """Refuse options that `call`, which takes `DownloadOptions` beside its own, does not know.

    Raises
    ------
    TypeError
        The message has the nearest right name.
    """
    own = (name for name, found in signature(call).parameters.items() if found.kind is Parameter.KEYWORD_ONLY)
    refuse_unknown(call.__qualname__, options, DownloadOptions.__annotations__, own)


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
        return _checked(path / (subfolder or ""), required, described=str(model_id))
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
    return _download(str(model_id), required, optional, subfolder, **options)


def resolve_model(model_id: str | os.PathLike[str] | None = None, **options: Unpack[DownloadOptions]) -> Path:
    """Return the directory of a model: of the embedded one for None or "mini", else see `resolve_directory`."""
    entry = _find_entry("mini" if model_id is None else model_id)
    if entry is None:
        assert model_id is not None
        return resolve_directory(model_id, required=REQUIRED_FILES, optional=OPTIONAL_MODEL_FILES, **options)
    if entry.kind == "autoencoder":
        raise HubError(
            f"{entry.name!r} is an autoencoder, without labels; load it with Autoencoder.from_pretrained, "
            f"or give a model ({', '.join(known_names('model'))}, a directory or a Hub id)."
        )
    return _embedded(entry)


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
        A name of the zoo, a directory, or a Hub id; None is the autoencoder of the embedded model.
    convert : callable
        Called as `convert(published, output_directory)` the first time a published autoencoder is loaded; what it
        writes is kept.
    **options
        See `resolve_directory`.
    """
    entry = _find_entry("mini" if model_id is None else model_id)
    if entry is None:
        assert model_id is not None
        return resolve_directory(model_id, required=REQUIRED_FILES, **options)
    if entry.kind == "model":
        return _embedded(entry) / "autoencoder"
    published = download_published_autoencoder(entry, **options)
    converted = cached_conversion_directory(entry, published.commit, cache_dir=options.get("cache_dir"))
    if options.get("force_download", False) or not all((converted / name).is_file() for name in REQUIRED_FILES):
        with save_directory_atomically(converted) as folder:
            convert(published, folder)
    return converted


def download_published_autoencoder(entry: ZooEntry, **options: Unpack[DownloadOptions]) -> PublishedAutoencoder:
    """Download (or find in the cache) a published autoencoder and the codec it stands on.

    `revision` is of the autoencoder's repository; the codec comes from its main branch.
    """
    if not (entry.repo_id and entry.weights_file and entry.config_file and entry.codec_repo_id):
        names = ", ".join(known_names("autoencoder"))
        raise HubError(f"{entry.name!r} is not a published autoencoder; choose one of {names}.")
    folder = _download(entry.repo_id, (entry.weights_file, entry.config_file), **options)
    codec_options = options.copy()
    codec_options.pop("revision", None)
    codec = _download(entry.codec_repo_id, CODEC_FILES, **codec_options)
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


def _embedded(entry: ZooEntry) -> Path:
    folder = embedded_directory()
    if not (folder / REQUIRED_FILES[0]).is_file():
        raise HubError(f"{entry.name!r} is missing from this installation of pecmae ({folder}); install it again.")
    return folder


def _download(
    repo_id: str,
    required: Sequence[str],
    optional: Sequence[str] = (),
    subfolder: str | None = None,
    **options: Unpack[DownloadOptions],
) -> Path:
    """Download the files, or find them in the cache; huggingface_hub's exceptions become sentences."""
    offline = constants.HF_HUB_OFFLINE or options.get("local_files_only", False)
    if offline and options.get("force_download", False):
        raise HubError(f"{repo_id}: force_download=True needs the network, but this is offline; drop one of the two.")
    prefix = f"{subfolder}/" if subfolder else ""
    patterns = [prefix + name for name in (*required, *optional)]
    try:
        # Unlike hf_hub_download, this fails at once when the server cannot be reached.
        snapshot = snapshot_download(repo_id, allow_patterns=patterns, **options)
    except (OSError, ValueError, errors.EntryNotFoundError, errors.RevisionResolutionError, httpx2.HTTPError) as error:
        raise HubError(_explain(error, repo_id, options)) from error
    revision = options.get("revision") or constants.DEFAULT_REVISION
    inside = f"{repo_id}/{subfolder}" if subfolder else repo_id
    return _checked(Path(snapshot, prefix), required, described=f"{inside} (revision {revision})")


def _checked(folder: Path, required: Sequence[str], *, described: str) -> Path:
    if missing := [name for name in required if not (folder / name).is_file()]:
        raise HubError(
            f"{described}: there is no file {missing[0]!r} in it; check that it holds what you want to load "
            "(a model and an autoencoder are different things)."
        )
    return folder


def _explain(error: Exception, repo_id: str, options: DownloadOptions) -> str:
    """One sentence for an exception of huggingface_hub: the input, what is wrong, what to do."""
    revision = options.get("revision") or constants.DEFAULT_REVISION
    where = f"{repo_id} (revision {revision})"
    status = getattr(getattr(error.__cause__ or error, "response", None), "status_code", None)
    log_in = "pass token=… or run 'hf auth login'"
    match error:
        case errors.HFValidationError():
            return f"{repo_id!r} is not a Hub id; write owner/name (letters, digits, -, _ and .) or give a directory."
        case errors.LocalTokenNotFoundError():
            return f"{repo_id}: token=True, but no token is stored here; run 'hf auth login' or pass the token itself."
        case errors.GatedRepoError():
            return f"{repo_id}: access is restricted; accept its terms on its Hub page, then {log_in}."
        case errors.RepositoryNotFoundError():
            return f"{repo_id}: there is no such repository on the Hub, or it is private; check the id, or {log_in}."
        case errors.RevisionNotFoundError():
            return f"{repo_id}: there is no revision {revision!r}; give an existing branch, tag or commit."
        case errors.IncompleteSnapshotError():
            return f"{where}: only a part is in the cache and the Hub is not reachable; load it once with a connection."
        case errors.LocalEntryNotFoundError() if options.get("local_files_only", False):
            return f"{where}: not in the cache; load it once without local_files_only=True."
        case errors.LocalEntryNotFoundError() if constants.HF_HUB_OFFLINE:
            return f"{where}: not in the cache; load it once with a connection and without HF_HUB_OFFLINE=1."
        case errors.LocalEntryNotFoundError() if status is None:
            return f"{where}: not in the cache, and {constants.ENDPOINT} cannot be reached; check the connection."
        case errors.RemoteEntryNotFoundError():
            return f"{where}: the Hub lists a file that it does not have; ask the owner, or choose another revision."
    if status in (401, 403):
        return f"{where}: the Hub refuses access (status {status}); {log_in}."
    if status is not None:
        return f"{where}: the Hub answered with status {status}; try again later."
    if isinstance(error, httpx2.HTTPError) or "Consistency check failed" in str(error):
        return f"{where}: the download broke off before its end; try again."
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"{where}: it could not be downloaded ({reason}); check the cache folder and the disk, and try again."
