"""A directory to the Hub."""

import os
from pathlib import Path

from huggingface_hub import HfApi, constants, errors

from pecmae.core.configs import FORMAT_VERSION, read_json_config
from pecmae.errors import HubError

# What a run leaves beside a model, and what no one wants published.
_IGNORED = ["checkpoints/*", "cache/*", ".lock", ".*", "**/.*", "*.partial"]
_HUB_ERRORS = (
    errors.HfHubHTTPError,
    errors.HFValidationError,
    errors.LocalTokenNotFoundError,
    errors.OfflineModeIsEnabled,
)


def push_directory(
    directory: str | os.PathLike[str],
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    message: str = "Model of pecmae",
    token: str | bool | None = None,
) -> str:
    """Upload a model's or an autoencoder's directory as it is: weights, card, and all that lies with them.

    Parameters
    ----------
    directory : path
        What `save_pretrained` or `fit` wrote.
    repo_id : str
        owner/name; made if it is new.
    private : bool
        Of a new repository.
    revision : str, optional
        Branch to push to; made if it is new.
    message : str
        What the commit says.
    token : str or bool, optional
        As for huggingface_hub; the stored one by default.

    Returns
    -------
    str
        Address of the repository.

    Raises
    ------
    ConfigError
        The directory holds no model.
    HubError
        The Hub refuses, or cannot be reached.
    """
    folder = Path(directory).expanduser()
    read_json_config(folder / "config.json", format_version=FORMAT_VERSION)
    api = HfApi(token=token)
    try:
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        api.upload_folder(
            repo_id=repo_id, folder_path=folder, commit_message=message, revision=revision, ignore_patterns=_IGNORED
        )
    except _HUB_ERRORS as error:
        raise HubError(_explain(error, repo_id)) from error
    except OSError as error:
        raise HubError(f"{repo_id}: {constants.ENDPOINT} cannot be reached ({error}); check the connection.") from error
    return f"{constants.ENDPOINT}/{repo_id}"


def _explain(error: Exception, repo_id: str) -> str:
    if isinstance(error, errors.HFValidationError):
        return f"{repo_id!r} is not a Hub id; write owner/name (letters, digits, -, _ and .)."
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{repo_id}: HF_HUB_OFFLINE is set; unset it to push."
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.LocalTokenNotFoundError) or status in (401, 403):
        return f"{repo_id}: the Hub refuses to let you write; run 'hf auth login' with a token that may, or set HF_TOKEN."
    return f"{repo_id}: the Hub answered with status {status}; try again later."
