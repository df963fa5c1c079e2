"""The directory of a model: configuration, weights of the head, scheduler, card, and the autoencoder or where it is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import torch

from pecmae.autoencoder import Autoencoder
from pecmae.configuration import FORMAT_VERSION, AutoencoderReference, ModelConfig
from pecmae.errors import ConfigError
from pecmae.hub import DownloadOptions
from pecmae.prototypes import PrototypeHead
from pecmae.storage import read_json_config
from pecmae.weights import load_into, save_weights

if TYPE_CHECKING:
    from pecmae.scheduler import VDiffusionScheduler

MODEL_TYPE = "pecmae"


def read_model(directory: Path) -> tuple[ModelConfig, PrototypeHead]:
    """Read the configuration and the head.

    Raises
    ------
    ConfigError, CheckpointError
        A file is missing, damaged, of another kind or from a newer version.
    """
    path = directory / "config.json"
    values = read_json_config(path, format_version=FORMAT_VERSION)
    if values.pop("model_type", None) != MODEL_TYPE:
        raise ConfigError(f"{path}: this is not a PECMAE model; an autoencoder is loaded with Autoencoder.from_pretrained.")
    del values["format_version"]
    if "sha256" not in values:
        raise ConfigError(f"{path}: the setting 'sha256' is missing; restore it or save the model again.")
    hashes = values.pop("sha256")
    config = ModelConfig.from_dict(values, str(path))
    head = PrototypeHead(config.head, mean=config.mean, std=config.std)
    load_into(head, directory / "model.safetensors", hashes.get("model.safetensors"))
    return config, head


def load_autoencoder(
    directory: Path,
    reference: AutoencoderReference | None,
    *,
    device: torch.device,
    dtype: str | torch.dtype,
    **options: Unpack[DownloadOptions],
) -> Autoencoder:
    """The autoencoder that a model refers to, or the one in its directory; options as for `Autoencoder.from_pretrained`."""
    if reference is None:
        return Autoencoder.from_directory(directory / "autoencoder", device=device, dtype=dtype)
    # The revision asked for is of the model's repository; the reference has its own.
    options["revision"] = reference.revision
    return Autoencoder.from_pretrained(reference.repo_id, device=device, dtype=dtype, **options)


def write_model(
    folder: Path,
    labels: tuple[str, ...],
    head: PrototypeHead,
    autoencoder: Autoencoder,
    reference: AutoencoderReference | None,
    scheduler: "VDiffusionScheduler",
    dtype: torch.dtype | None,
) -> None:
    """Fill an empty folder; the autoencoder is written unless there is a reference to it, weights as `dtype` if given."""
    digest = save_weights(head, folder / "model.safetensors", dtype)
    config = ModelConfig(labels=labels, head=head.config, mean=float(head.mean), std=float(head.std), autoencoder=reference)
    values = {"format_version": FORMAT_VERSION, "model_type": MODEL_TYPE, **config.to_dict()}
    values["sha256"] = {"model.safetensors": digest}
    (folder / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    scheduler.save_pretrained(folder / "scheduler")
    if reference is None:
        (folder / "autoencoder").mkdir()
        autoencoder.write(folder / "autoencoder", dtype)


def write_card(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write the card of the model in `folder`; facts as in `pecmae.cards.ModelCardFacts`."""
    # Imported here: only saving writes a card.
    from pecmae.cards import facts_from_directory, render_card

    (folder / "README.md").write_text(render_card("model", facts_from_directory(folder, **facts)), encoding="utf-8")
