"""The directory of a model: configuration, weights of the head, scheduler, card, and the autoencoder or where it is."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

import torch

from pecmae.audio.preparation import PREPARED, PUBLISHED, Preparation
from pecmae.autoencoder.config import AutoencoderReference
from pecmae.autoencoder.model import Autoencoder
from pecmae.core.configs import (
    FORMAT_VERSION,
    check_keys,
    config_from_dict,
    config_to_dict,
    is_of_type,
    read_json,
    read_json_config,
    read_model_config,
)
from pecmae.core.files import write_text
from pecmae.core.weights import WEIGHTS_FILE, load_module, same_weights, save_weights
from pecmae.errors import CheckpointError, ConfigError
from pecmae.hub.download import DownloadOptions
from pecmae.hub.resolve import CARD_FILE, EDITS_FILE, embedded_autoencoder
from pecmae.hub.zoo import is_embedded
from pecmae.prototypes.calibration import Calibration
from pecmae.prototypes.config import PrototypeHeadConfig
from pecmae.prototypes.head import PrototypeHead

if TYPE_CHECKING:
    from pecmae.autoencoder.scheduler import VDiffusionScheduler

_log = logging.getLogger(__name__)

MODEL_TYPE = "pecmae"
# Of a head over embeddings that another model makes, see `pecmae.interop.embedding_model`.
EMBEDDING_MODEL_TYPE = "pecmae-embeddings"
# Of the normalisation of z, whose values lie near 1.
LARGEST_SCALAR = 1e9


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What a model directory's config.json holds beside the hashes of its weights."""

    labels: tuple[str, ...]
    head: PrototypeHeadConfig
    # Scalars of the training set, see `PrototypeHead`.
    mean: float
    std: float
    # None: the autoencoder is inside the directory.
    autoencoder: AutoencoderReference | None
    # Of the sound that the head was fitted on.
    preparation: Preparation = PREPARED

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "labels": list(self.labels),
            "head": config_to_dict(self.head),
            "normalisation": {"mean": self.mean, "std": self.std},
            "autoencoder": asdict(self.autoencoder) if self.autoencoder else None,
            "preparation": asdict(self.preparation),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str) -> Self:
        """Read the JSON values found in `source` (named in errors).

        Raises
        ------
        ConfigError
            A key is missing, unknown, or of another type.
        """
        keys = {"labels", "head", "normalisation", "autoencoder", "preparation"}
        check_keys(values, keys, source, optional={"preparation"})
        labels, normalisation, reference = values["labels"], values["normalisation"], values["autoencoder"]
        if not isinstance(labels, list) or not all(isinstance(label, str) and _is_writable(label) for label in labels):
            raise ConfigError(f"{source}: labels should be a list of names; restore it or save the model again.")
        check_keys(normalisation, {"mean", "std"}, f"{source}: normalisation")
        if not all(is_of_type(value, float) and abs(value) <= LARGEST_SCALAR for value in normalisation.values()):
            raise ConfigError(f"{source}: normalisation should hold a number mean and a positive std; save the model again.")
        if not normalisation["std"] > 1 / LARGEST_SCALAR:
            raise ConfigError(f"{source}: normalisation should hold a number mean and a positive std; save the model again.")
        head = config_from_dict(PrototypeHeadConfig, values["head"], f"{source}: head")
        if len(labels) != head.num_classes or len(set(labels)) != len(labels):
            raise ConfigError(
                f"{source}: {len(labels)} labels ({len(set(labels))} different) for {head.num_classes} classes; "
                "restore them or save the model again."
            )
        if reference is not None:
            check_keys(reference, {"repo_id", "revision"}, f"{source}: autoencoder")
            if not isinstance(reference["repo_id"], str) or not isinstance(reference["revision"], str | None):
                raise ConfigError(f"{source}: autoencoder should hold repo_id and revision as text; save the model again.")
        return cls(
            labels=tuple(labels),
            head=head,
            mean=float(normalisation["mean"]),
            std=float(normalisation["std"]),
            autoencoder=AutoencoderReference(**reference) if reference else None,
            preparation=_read_preparation(values.get("preparation"), source),
        )


def _is_writable(label: str) -> bool:
    """Whether a name is text: JSON can say half a character, which no file and no terminal takes."""
    return label.isascii() or not any("\ud800" <= character <= "\udfff" for character in label)


def _read_preparation(values: Any, source: str) -> Preparation:
    """How sound is prepared; where nothing is said the head was fitted as the published code does it."""
    if values is None:
        return PUBLISHED
    return config_from_dict(Preparation, values, f"{source}: preparation")


def read_model(directory: Path) -> tuple[ModelConfig, PrototypeHead]:
    """Read the configuration and the head.

    Raises
    ------
    ConfigError, CheckpointError
        A file is missing, damaged, of another kind or from a newer version.
    """
    otherwise = (
        "this is not a PECMAE model; an autoencoder is loaded with Autoencoder.from_pretrained, and a model over embeddings of "
        "another model, in Python alone, with EmbeddingModel.from_pretrained."
    )
    values, sha256 = read_model_config(directory, MODEL_TYPE, otherwise)
    config = ModelConfig.from_dict(values, str(directory / "config.json"))
    head = load_module(
        lambda: PrototypeHead(config.head, mean=config.mean, std=config.std),
        directory / "model.safetensors",
        sha256,
        most_parameters=config.head.most_parameters,
    )
    return config, head


def read_edit_log(directory: Path) -> dict[str, Any] | None:
    """What was done to a model's prototypes by hand; None where nothing was.

    Raises
    ------
    ConfigError
        The file is damaged.
    """
    path = directory / EDITS_FILE
    if not path.is_file():
        return None
    advice = "restore it, or delete it and lose what it says."
    log = read_json(path, advice)
    if not isinstance(log, dict) or not isinstance(log.get("edits"), list):
        raise ConfigError(f"{path}: it holds no log of edits; {advice}")
    return log


def read_calibration(directory: Path, head: PrototypeHead) -> Calibration | None:
    """What the directory says of the head's answers; one that cannot be used is as good as none, and is said to be so."""
    try:
        return Calibration.load(directory, head)
    except CheckpointError as error:
        _log.warning(str(error))
        return None


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
    if is_embedded(reference.repo_id):
        return Autoencoder.from_directory(embedded_autoencoder(), device=device, dtype=dtype)
    # The revision asked for is of the model's repository; the reference has its own.
    options["revision"] = reference.revision
    return Autoencoder.from_pretrained(reference.repo_id, device=device, dtype=dtype, **options)


def lasting(reference: AutoencoderReference | None) -> AutoencoderReference | None:
    """The reference that a saved copy of a model may hold.

    None, which stores the autoencoder in the copy, for an embedded one: another release of the package may hold another.
    """
    return None if reference is None or is_embedded(reference.repo_id) else reference


def model_config(
    head: PrototypeHead, labels: tuple[str, ...], reference: AutoencoderReference | None, preparation: Preparation
) -> ModelConfig:
    """What config.json says of a model."""
    return ModelConfig(
        labels=labels,
        head=head.config,
        mean=float(head.mean),
        std=float(head.std),
        autoencoder=reference,
        preparation=preparation,
    )


def write_model(
    folder: Path,
    config: ModelConfig,
    head: PrototypeHead,
    autoencoder: Autoencoder,
    scheduler: "VDiffusionScheduler",
    dtype: torch.dtype | None,
) -> None:
    """Fill an empty folder; the autoencoder is written unless there is a reference to it, weights as `dtype` if given."""
    digest = save_weights(head, folder / "model.safetensors", dtype)
    values = {"format_version": FORMAT_VERSION, "model_type": MODEL_TYPE, **config.to_dict()}
    values["sha256"] = {"model.safetensors": digest}
    (folder / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    scheduler.save_pretrained(folder / "scheduler")
    if config.autoencoder is None:
        (folder / "autoencoder").mkdir()
        autoencoder.write(folder / "autoencoder", dtype)


def write_card(folder: Path, target: Path, source: Path | None, facts: Mapping[str, Any]) -> None:
    """Write the card of the model in `folder`.

    Parameters
    ----------
    folder : Path
        Where the model was written; its files will go to `target`, whose own card, if it has one, a person may have edited.
    target : Path
    source : Path, optional
        The directory that the model was loaded from, whose card counts where `target` has none.
    facts : mapping
        As in `pecmae.hub.cards.ModelCardFacts`; with none but `load_id` a card that is still true is kept.
    """
    # Imported here: only saving writes a card.
    from pecmae.hub.cards import facts_from_directory, render_card, saved_card

    text = saved_card(
        [target] if source is None else [target, source],
        lambda: render_card("model", facts_from_directory(folder, **{"name": target.name, **facts})),
        facts,
        unchanged=source is not None and _is_same_model(folder, source),
    )
    write_text(folder / CARD_FILE, text)


def _is_same_model(ours: Path, theirs: Path) -> bool:
    """Whether two directories hold one head, up to rounding, with the same classes."""
    mine, others = (read_json_config(folder / "config.json", format_version=FORMAT_VERSION) for folder in (ours, theirs))
    settings = ("labels", "head", "autoencoder")
    same = all(mine.get(name) == others.get(name) for name in settings)
    files = [name for name in (WEIGHTS_FILE, f"autoencoder/{WEIGHTS_FILE}") if (ours / name).is_file()]
    return same and all(same_weights(ours / name, theirs / name) for name in files)
