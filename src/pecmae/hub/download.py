"""Files of a repository on the Hub, fetched or found in the cache, and options of the calls that do so.

Every failure is one sentence that says what to do: a `HubError`.
"""

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, TypedDict, Unpack

import httpx2
from huggingface_hub import HfApi, constants, errors, snapshot_download

from pecmae.core.options import refuse_unknown
from pecmae.errors import HubError

# What huggingface_hub and its client raise.
_FAILURES = (OSError, ValueError, ImportError, errors.EntryNotFoundError, errors.RevisionResolutionError, httpx2.HTTPError)


class DownloadOptions(TypedDict, total=False):
    """Options of every call that may download, as in huggingface_hub."""

    revision: str | None
    cache_dir: str | Path | None
    force_download: bool
    local_files_only: bool
    token: str | bool | None


class PushOptions(TypedDict, total=False):
    """Options of every call that pushes, as in huggingface_hub."""

    commit_message: str
    private: bool | None
    token: str | None
    branch: str | None
    create_pr: bool | None
    allow_patterns: list[str] | str | None
    ignore_patterns: list[str] | str | None
    delete_patterns: list[str] | str | None
    model_card_kwargs: dict[str, Any] | None


def named_repository(repo_id: str, options: PushOptions) -> dict[str, Any]:
    """Make the repository where there is none; `options` with its whole name, which the card says to load from."""
    refuse_unknown("push_to_hub", options, PushOptions.__annotations__)
    made = HfApi(token=options.get("token")).create_repo(repo_id, private=options.get("private"), exist_ok=True)
    facts = {"load_id": made.repo_id, **(options.get("model_card_kwargs") or {})}
    return {**options, "repo_id": made.repo_id, "model_card_kwargs": facts}


def check_options(options: Mapping[str, Any], call: Callable[..., Any]) -> None:
    """Refuse options that `call`, which takes `DownloadOptions` beside its own, does not know.

    Raises
    ------
    TypeError
        The message has the nearest right name.
    """
    own = (name for name, found in signature(call).parameters.items() if found.kind is Parameter.KEYWORD_ONLY)
    refuse_unknown(call.__qualname__, options, DownloadOptions.__annotations__, own)


def download(
    repo_id: str,
    required: Sequence[str],
    optional: Sequence[str] = (),
    subfolder: str | None = None,
    *,
    look: Callable[[Path, str], None] | None = None,
    **options: Unpack[DownloadOptions],
) -> Path:
    """Download the files, or find them in the cache; huggingface_hub's exceptions become sentences.

    `look` is called with the first of the required files, which is small, and what to call it, before the others are fetched.
    """
    offline = constants.HF_HUB_OFFLINE or options.get("local_files_only", False)
    if offline and options.get("force_download", False):
        raise HubError(f"{repo_id}: force_download=True needs the network, but this is offline; drop one of the two.")
    prefix = f"{subfolder}/" if subfolder else ""
    revision = options.get("revision") or constants.DEFAULT_REVISION
    inside = f"{repo_id}/{subfolder}" if subfolder else repo_id
    described = f"{inside} (revision {revision})"
    commit = None
    if look is not None:
        first = _snapshot(repo_id, [prefix + required[0]], options)
        look(checked(first / prefix, required[:1], described=described) / required[0], inside)
        # A snapshot folder is called after its commit, which may have moved on by now; offline it cannot have.
        commit = None if offline else first.name
    folder = _snapshot(repo_id, [prefix + name for name in (*required, *optional)], options, commit)
    return checked(folder / prefix, required, described=described)


def _snapshot(repo_id: str, patterns: list[str], options: DownloadOptions, commit: str | None = None) -> Path:
    """The folder of a commit (by default of the revision's) that holds the files of these patterns."""
    try:
        wanted: DownloadOptions = {**options, "revision": commit or options.get("revision")}
        try:
            # Unlike hf_hub_download, this fails at once when the server cannot be reached.
            return Path(snapshot_download(repo_id, allow_patterns=patterns, **wanted))
        except (ImportError, ValueError, httpx2.ProxyError) as error:
            # A proxy that cannot be used, such as SOCKS without its package, matters only where something must be fetched.
            if isinstance(error, errors.HFValidationError) or options.get("force_download", False):
                raise
            cached: DownloadOptions = {**wanted, "local_files_only": True}
            try:
                return Path(snapshot_download(repo_id, allow_patterns=patterns, **cached))
            except errors.LocalEntryNotFoundError:
                raise error from None
    except _FAILURES as error:
        raise HubError(_explain(error, repo_id, options)) from error


def checked(folder: Path, required: Sequence[str], *, described: str) -> Path:
    """The folder, or an error that names the first of the `required` files that it lacks."""
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
    if isinstance(error, ImportError | httpx2.ProxyError) or "proxy" in str(error).lower():
        reason = " ".join(str(error).split()).rstrip(".")
        return (
            f"{where}: not in the cache, and the proxy that is set cannot be used ({reason}); unset ALL_PROXY and HTTPS_PROXY."
        )
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
