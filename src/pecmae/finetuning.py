"""From labelled audio to a model of its own, in one call: describe, check, embed, fit, measure, save."""

import copy
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from huggingface_hub import snapshot_download

from pecmae.autoencoder.config import AutoencoderReference
from pecmae.autoencoder.model import Autoencoder
from pecmae.core.devices import pick_dtype
from pecmae.core.files import cache_root, write_json
from pecmae.data.checks import prepare_collection
from pecmae.data.collection import Collection
from pecmae.data.embedding_cache import EmbeddingCache, autoencoder_key
from pecmae.data.load import load_collection
from pecmae.data.tracks import EmbeddedTracks, embed_files
from pecmae.errors import ConfigError
from pecmae.evaluation.tracks import Evaluation, evaluate_embedded
from pecmae.hub.cards import Measurement
from pecmae.hub.zoo import find_entry
from pecmae.model import PECMAE
from pecmae.prototypes.config import PrototypeHeadConfig
from pecmae.prototypes.fitting import CLASS_LOSS_WEIGHT, HEAD_SETTINGS, fit_head
from pecmae.prototypes.neighbours import describe_neighbours
from pecmae.prototypes.refitting import check_penalty
from pecmae.training.loop import TrainingResult
from pecmae.training.settings import TrainingSettings


@dataclass(frozen=True, eq=False)
class FitResult:
    """What `fit` made."""

    model: PECMAE
    # With the splits that were used.
    collection: Collection
    # Segments of every split.
    embedded: Mapping[str, EmbeddedTracks]
    # Of the model on the tracks of every split.
    evaluations: Mapping[str, Evaluation]
    training: TrainingResult
    # File → why it was left out.
    failed: Mapping[str, str]
    # For the model's card.
    card_facts: Mapping[str, Any]

    def report(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "step": self.training.step,
            "class_normalised_accuracy": {split: found.accuracy for split, found in self.evaluations.items()},
            "losses": self.training.losses,
            "evaluations": {split: found.to_dict() for split, found in self.evaluations.items()},
            "collection": self.collection.to_dict(),
            "failed": dict(self.failed),
        }


def fit(
    data: str | os.PathLike[str] | Collection,
    output: str | os.PathLike[str] | None = None,
    *,
    autoencoder: Autoencoder | str | os.PathLike[str] | None = None,
    revision: str | None = None,
    prototypes_per_class: int = 10,
    adaptor: bool = True,
    distance_reduction: str = "mean",
    kernel_scale: float = 1.0,
    classification_loss: str = "cross_entropy",
    temperature: float = 0.1,
    project: bool = False,
    settings: TrainingSettings = HEAD_SETTINGS,
    cache: str | os.PathLike[str] | None = None,
    batch_size: int | None = None,
    check: bool = True,
    skip_bad: bool = False,
    bundle: bool | None = None,
    dtype: str | None = None,
    progress: bool = False,
    accelerator: Accelerator | None = None,
    **options: Any,
) -> FitResult:
    """Fit prototypes to labelled audio on a frozen autoencoder.

    Parameters
    ----------
    data : path or Collection
        What `pecmae.data.collection.load_collection` takes, or what it returns. Splits that are missing are made from the seed.
    output : path, optional
        Folder of the run: checkpoints from which a killed run continues, report.json, and the model in `output/model`. Nothing
        is written without it, but for the cache.
    autoencoder : Autoencoder, Hub id, name of the zoo or directory, optional
        The embedded model's by default.
    revision : str, optional
        Of a Hub id.
    prototypes_per_class : int
        K.
    adaptor, distance_reduction, kernel_scale, classification_loss, temperature
        As in `PrototypeHeadConfig`.
    project : bool
        Set every prototype onto the training segment that it lies nearest to (`project_prototypes`).
    settings : TrainingSettings
        The paper's by default; `dataclasses.replace(HEAD_SETTINGS, steps=5000)` is enough for a few classes.
    cache : path, optional
        Where embeddings are kept: `output/cache`, or a folder beside the Hub's cache.
    batch_size : int, optional
        Segments that are embedded together.
    check, skip_bad : bool
        Look at all files first; leave bad ones out instead of stopping.
    bundle : bool, optional
        Store the autoencoder in the model, instead of where it was loaded from. By default, only where that is no Hub id.
    dtype : str, optional
        Stored precision of the model.
    progress : bool
        Show progress bars on standard error.
    accelerator : Accelerator, optional
        Default: one made from the settings.
    **options
        Further arguments of `pecmae.prototypes.fitting.fit_head`, such as `class_loss_weight`, `refit_penalty` or `stop_after`.

    Raises
    ------
    ConfigError
        Something is wrong with the data (the message is the whole report), or the run in `output` had other settings.
    """
    if options.get("refit_penalty") is not None:
        check_penalty(options["refit_penalty"])
    accelerator = accelerator or Accelerator(mixed_precision=settings.mixed_precision)
    collection = data if isinstance(data, Collection) else load_collection(data)
    labels = collection.labels
    if len(labels) < 2:
        raise ConfigError(f"{collection.name}: {len(labels)} class(es) found; a classifier needs at least two.")
    autoencoder, reference = _load_autoencoder(autoencoder, revision, bundle)
    autoencoder = autoencoder.to(accelerator.device).eval()
    folder = Path(cache) if cache is not None else Path(output) / "cache" if output is not None else cache_root() / "embeddings"
    shown = progress and accelerator.is_main_process
    collection, _ = prepare_collection(collection, check=check, skip_bad=skip_bad, seed=settings.seed, progress=shown)
    embedded, failed = _embed(
        folder, autoencoder, collection, batch_size=batch_size, skip_bad=skip_bad, progress=shown, accelerator=accelerator
    )
    _require_segments(collection.name, embedded["train"], labels, prototypes_per_class)
    config = PrototypeHeadConfig(
        embedding_dim=autoencoder.config.embedding_dim,
        num_classes=len(labels),
        prototypes_per_class=prototypes_per_class,
        adaptor=adaptor,
        distance_reduction=distance_reduction,
        kernel_scale=kernel_scale,
        classification_loss=classification_loss,
        temperature=temperature,
    )
    head, training = fit_head(
        embedded["train"],
        config,
        settings,
        validation=embedded.get("validation"),
        project=project,
        output=output,
        description=_run_facts(config, autoencoder, labels, embedded),
        progress=progress,
        accelerator=accelerator,
        **options,
    )
    # What is evaluated is what will be stored.
    model = PECMAE(autoencoder.cpu(), head.to(pick_dtype(dtype)).float(), labels, reference)
    evaluations = {split: evaluate_embedded(model.head, model.labels, tracks) for split, tracks in embedded.items()}
    card = _card_facts(collection, evaluations, settings, training, model, {**options, "project": project})
    result = FitResult(model, collection, embedded, evaluations, training, failed, card)
    if output is not None and accelerator.is_main_process:
        _save(result, Path(output), dtype)
    accelerator.wait_for_everyone()
    return result


def _load_autoencoder(
    autoencoder: Autoencoder | str | os.PathLike[str] | None, revision: str | None, bundle: bool | None
) -> tuple[Autoencoder, AutoencoderReference | None]:
    """The autoencoder, and how the fitted model shall refer to it (None: it is stored in the model)."""
    if isinstance(autoencoder, Autoencoder):
        return autoencoder, None
    loaded = Autoencoder.from_pretrained(autoencoder, revision=revision, device="cpu")
    return loaded, pinned_reference(autoencoder, revision, bundle)


def _run_facts(
    config: PrototypeHeadConfig, autoencoder: Autoencoder, labels: tuple[str, ...], embedded: Mapping[str, EmbeddedTracks]
) -> dict[str, Any]:
    """What a run that is continued must share with the one before."""
    return {
        "stage": "head",
        "head": asdict(config),
        "autoencoder": autoencoder_key(autoencoder),
        "labels": list(labels),
        "data": {split: tracks.key for split, tracks in embedded.items()},
    }


def _embed(
    folder: Path,
    autoencoder: Autoencoder,
    collection: Collection,
    *,
    batch_size: int | None,
    skip_bad: bool,
    progress: bool,
    accelerator: Accelerator,
) -> tuple[dict[str, EmbeddedTracks], dict[str, str]]:
    """Segments of every split, and what was wrong with files that were left out; each process computes its share."""
    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    if accelerator.num_processes > 1:
        share = collection.clips[accelerator.process_index :: accelerator.num_processes]
        EmbeddingCache(folder, autoencoder).embed([clip.path for clip in share], **options)
        accelerator.wait_for_everyone()
    cache = EmbeddingCache(folder, autoencoder)
    embedded: dict[str, EmbeddedTracks] = {}
    failed: dict[str, str] = {}
    for split in ("train", "validation", "test"):
        if clips := collection.splits.get(split):
            embedded[split], bad = embed_files(cache, clips, collection.labels, skip_bad=skip_bad, **options)
            failed |= bad
    return embedded, failed


def _require_segments(name: str, train: EmbeddedTracks, labels: tuple[str, ...], prototypes_per_class: int) -> None:
    """Every class needs as many segments as prototypes, which start from them."""
    for label, count in zip(labels, torch.bincount(train.labels, minlength=len(labels)).tolist(), strict=True):
        if count < prototypes_per_class:
            raise ConfigError(
                f"{name}: {label!r} has {count} segments to train on, fewer than its {prototypes_per_class} prototypes; "
                "add audio or ask for fewer (prototypes_per_class, --prototypes)."
            )


def pinned_reference(
    autoencoder: str | os.PathLike[str] | None, revision: str | None, bundle: bool | None
) -> AutoencoderReference | None:
    """How a saved model should refer to its autoencoder: a Hub id with the commit in the cache, or not at all (None)."""
    if bundle or autoencoder is None or isinstance(autoencoder, os.PathLike) or Path(autoencoder).is_dir():
        return None
    entry = find_entry(autoencoder)
    repo_id = entry.repo_id if entry is not None else autoencoder
    if repo_id is None or repo_id.count("/") != 1:
        return None
    try:
        # A snapshot folder is called after its commit.
        commit = Path(snapshot_download(repo_id, revision=revision, local_files_only=True, allow_patterns=[])).name
    except (OSError, ValueError):
        commit = revision or ""
    return AutoencoderReference(autoencoder, commit if re.fullmatch(r"[0-9a-f]{40}", commit) else revision)


def _card_facts(
    collection: Collection,
    evaluations: Mapping[str, Evaluation],
    settings: TrainingSettings,
    training: TrainingResult,
    model: PECMAE,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """What the card says beside the configuration."""
    sizes = ", ".join(f"{len(found.true)} {split}" for split, found in evaluations.items())
    split = "test" if "test" in evaluations else "validation" if "validation" in evaluations else None
    metrics: tuple[Measurement, ...] = ()
    if split is not None:
        metrics = evaluations[split].measurements(
            collection.name, split, "python examples/evaluate.py --data DIR --model MODEL"
        )
    return {
        "training_data": f"{(collection.description or collection.name).rstrip('.')}. Tracks: {sizes}.",
        "training_settings": _settings_rows(settings, training, model, options),
        "metrics": metrics,
    }


def _settings_rows(
    settings: TrainingSettings, training: TrainingResult, model: PECMAE, options: Mapping[str, Any]
) -> tuple[tuple[str, str], ...]:
    head, penalty = model.head.config, options.get("refit_penalty")
    refitted = () if penalty is None else (("linear layer", f"fitted alone in the end, penalty {penalty:g}"),)
    return (
        ("steps", f"{training.step} of {settings.steps}"),
        ("batch", f"{settings.batch_size} segments"),
        ("learning rate", f"{settings.learning_rate:g}, {settings.schedule}"),
        ("optimizer", f"{settings.optimizer}, weight decay {settings.weight_decay:g}"),
        ("loss", f"{head.classification_loss}, distance by {head.distance_reduction}, kernel scale {head.kernel_scale:g}"),
        ("share of the classification loss", f"{options.get('class_loss_weight', CLASS_LOSS_WEIGHT):g}"),
        *((("prototypes", "set onto the training segments nearest to them"),) if options.get("project") else ()),
        *refitted,
        ("seed", str(settings.seed)),
    )


def _save(result: FitResult, output: Path, dtype: str | None) -> None:
    """The model with its card and its neighbours, and the report."""
    model, train = result.model, result.embedded["train"]
    model.save_pretrained(output / "model", dtype=dtype, model_card_kwargs={"name": output.resolve().name, **result.card_facts})
    neighbours = describe_neighbours(
        copy.deepcopy(model.head).cpu(),
        *(train.z, train.tracks, train.names, train.track_labels),
        segment_seconds=model.autoencoder.config.segment_seconds,
        offsets=train.offsets,
    )
    neighbours.save(output / "model")
    write_json(output / "report.json", result.report())
