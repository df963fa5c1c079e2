"""From labelled audio to a model of its own, in one call: describe, check, embed, fit, measure, save."""

import copy
import html
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, Self, Unpack

import torch
from accelerate import Accelerator
from huggingface_hub import snapshot_download

from pecmae.audio.preparation import PREPARED, Preparation
from pecmae.autoencoder.config import AutoencoderReference
from pecmae.autoencoder.model import Autoencoder
from pecmae.core.configs import model_sha256
from pecmae.core.devices import pick_dtype
from pecmae.core.files import cache_root, write_json
from pecmae.core.options import refuse_unknown
from pecmae.data.checks import prepare_collection
from pecmae.data.collection import Collection, with_splits
from pecmae.data.embedding_cache import EmbeddingCache, autoencoder_key
from pecmae.data.load import load_collection
from pecmae.data.split_record import SplitRecord
from pecmae.data.splits import CALIBRATION, CALIBRATION_SHARE, hold_out_calibration
from pecmae.data.tracks import EmbeddedTracks, embed_files
from pecmae.errors import ConfigError
from pecmae.evaluation.tracks import Evaluation, evaluate_embedded
from pecmae.hub.cards import Measurement
from pecmae.hub.zoo import find_entry
from pecmae.model import PECMAE
from pecmae.prototypes.calibration import MINIMUM_TRACKS, calibrate
from pecmae.prototypes.config import PrototypeHeadConfig
from pecmae.prototypes.fitting import HEAD_SETTINGS, HeadFit, HeadOptions, fit_head
from pecmae.prototypes.head import PrototypeHead
from pecmae.prototypes.neighbours import describe_neighbours
from pecmae.training.accelerators import own_accelerator
from pecmae.training.loop import TrainingResult
from pecmae.training.run_record import RunRecord, command_line, installed_versions, machine_facts, recorded_clips
from pecmae.training.runs import locked
from pecmae.training.settings import TrainingSettings, check_whole

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, repr=False)
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

    def __repr__(self) -> str:
        found = ", ".join(
            f"{split} {each.accuracy:.3f}" for split, each in self.evaluations.items() if each.accuracy is not None
        )
        return f"FitResult: {self.collection.name}, {self.training.step} steps\n  class-normalised accuracy: {found}"

    def _repr_html_(self) -> str:
        shown = self.evaluations.get("test") or next(iter(self.evaluations.values()))
        return f"{html.escape(repr(self))}<br>{shown._repr_html_()}"

    def report(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "step": self.training.step,
            "class_normalised_accuracy": {split: found.accuracy for split, found in self.evaluations.items()},
            "not_measured": {
                split: list(found.not_measured) for split, found in self.evaluations.items() if found.not_measured
            },
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
    head: HeadFit | None = None,
    settings: TrainingSettings = HEAD_SETTINGS,
    preparation: Preparation = PREPARED,
    calibration_share: float = CALIBRATION_SHARE,
    cache: str | os.PathLike[str] | None = None,
    batch_size: int | None = None,
    check: bool = True,
    skip_bad: bool = False,
    bundle: bool | None = None,
    dtype: str | None = None,
    stop_after: float | None = None,
    progress: bool = False,
    accelerator: Accelerator | None = None,
    **options: Unpack[HeadOptions],
) -> FitResult:
    """Fit prototypes to labelled audio on a frozen autoencoder.

    What is impossible is refused before any work. What is left out of the data, or cannot be measured, goes to the log.

    Parameters
    ----------
    data : path or Collection
        What `pecmae.data.load.load_collection` takes, or what it returns. Splits that are missing are made from the seed; the
        model remembers them.
    output : path, optional
        Folder of the run: checkpoints from which a killed run continues, report.json, run.json, which says what all of it was
        made from (`pecmae.reproduction`), and the model in `output/model`. Nothing is written without it, but for the cache.
    autoencoder : Autoencoder, Hub id, name of the zoo or directory, optional
        The embedded model's by default. An Autoencoder stays where and as it is.
    revision : str, optional
        Of a Hub id.
    head : HeadFit, optional
        What head to make and how to fit it; the published code's by default.
    settings : TrainingSettings
        5 000 steps by default, which are enough for a few classes; `pecmae.prototypes.fitting.PAPER_SETTINGS` has 150 000.
    preparation : Preparation
        What is put right in sound, and whether segments are weighed; `PUBLISHED` is the published code's: nothing.
    calibration_share : float
        Of the training clips, held out to learn how far the model's answers can be trusted; 0 holds none out, and neither is
        done where the clips it takes (20 at least) were more than a fifth of them.
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
    stop_after : float, optional
        Minutes of training after which a checkpoint is written and the model is made of what there is.
    progress : bool
        Show progress bars on standard error.
    accelerator : Accelerator, optional
        Default: one made from the settings.
    **options
        Fields of `HeadFit`, in the place of those of `head`.

    Raises
    ------
    ConfigError
        Something is wrong with the data (the message is the whole report) or with an option, or the run in `output` had other
        settings or is going on.
    TrainingError
        Training diverged.
    TypeError
        There is no such option.
    """
    _check_options(options, dtype, batch_size)
    head = (head or HeadFit()).changed(options)
    with own_accelerator(settings, accelerator) as accelerator, locked(output, accelerator):
        shown = progress and accelerator.is_main_process
        collection = data if isinstance(data, Collection) else load_collection(data)
        if collection is not data and accelerator.is_main_process:
            for note in collection.notes:
                _log.warning(note)
        if len(collection.labels) < 2:
            raise ConfigError(
                f"{collection.name}: one class alone ({collection.labels[0]!r}); a classifier needs at least two."
            )
        frozen = _Frozen.load(autoencoder, revision, bundle)
        collection, _ = prepare_collection(collection, check=check, skip_bad=skip_bad, seed=settings.seed, progress=shown)
        collection = hold_out_calibration(collection, calibration_share, at_least=MINIMUM_TRACKS, seed=settings.seed)
        embedded, failed = _embed(
            Path(cache) if cache is not None else Path(output) / "cache" if output is not None else cache_root() / "embeddings",
            frozen.placed(accelerator.device),
            collection,
            preparation=preparation,
            batch_size=batch_size,
            skip_bad=skip_bad,
            progress=shown,
            accelerator=accelerator,
        )
        collection = _without(collection, failed)
        _require_segments(collection.name, embedded["train"], collection.labels, head.prototypes_per_class)
        config = head.config(frozen.autoencoder.config.embedding_dim, len(collection.labels))
        fitted, training = fit_head(
            embedded["train"],
            config,
            settings,
            validation=embedded.get("validation"),
            evaluate_every=head.evaluate_every,
            class_loss_weight=head.class_loss_weight,
            own_weights=head.own_weights,
            project=head.project,
            refit_penalty=head.refit_penalty,
            output=output,
            description=_run_facts(config, frozen.autoencoder, collection.labels, embedded),
            stop_after=stop_after,
            progress=progress,
            accelerator=accelerator,
        )
        # What is evaluated is what will be stored.
        fitted = fitted.to(pick_dtype(dtype)).float()
        held_out = embedded.get(CALIBRATION)
        evaluations = {
            split: evaluate_embedded(fitted, collection.labels, tracks)
            for split, tracks in embedded.items()
            if split != CALIBRATION
        }
        model = frozen.model(fitted, collection.labels, preparation)
        if held_out is not None and len(held_out.track_labels) >= MINIMUM_TRACKS:
            model.calibration = calibrate(fitted, held_out, embedded["train"])
        result = FitResult(
            model, collection, embedded, evaluations, training, failed,
            _card_facts(collection, evaluations, settings, training, head),
        )  # fmt: skip
        if accelerator.is_main_process:
            _tell(result)
            if output is not None:
                _save(result, Path(output), dtype)
                given = isinstance(autoencoder, Autoencoder)
                RunRecord(
                    versions=installed_versions(),
                    machine=machine_facts(),
                    command=command_line(),
                    options={
                        "autoencoder": None if given or autoencoder is None else str(autoencoder),
                        "revision": revision,
                        "head": asdict(head),
                        "settings": asdict(settings),
                        "preparation": asdict(preparation),
                        "calibration_share": calibration_share,
                        "batch_size": batch_size,
                        "skip_bad": skip_bad,
                        "bundle": bundle,
                        "dtype": dtype,
                    },
                    data=collection.name,
                    clips=recorded_clips(collection),
                    step=training.step,
                    autoencoder=autoencoder_key(frozen.autoencoder),
                    autoencoder_given=given,
                    model=model_sha256(Path(output) / "model"),
                ).save(output)
        accelerator.wait_for_everyone()
    return result


def _check_options(options: HeadOptions, dtype: str | None, batch_size: int | None) -> None:
    """Refuse what is known to be wrong before any work."""
    own = [name for name, found in signature(fit).parameters.items() if found.kind is Parameter.KEYWORD_ONLY]
    for name in options:
        if name in TrainingSettings.__dataclass_fields__:
            raise TypeError(f"fit has no option {name!r}; it is one of the settings: replace(HEAD_SETTINGS, {name}=…).")
    refuse_unknown("fit", options, HeadOptions.__annotations__, own)
    pick_dtype(dtype)
    if batch_size is not None:
        check_whole("batch_size", batch_size, 1)


@dataclass(frozen=True)
class _Frozen:
    """The autoencoder of a fit: the caller's own, which stays as it is, or one that was loaded for it."""

    autoencoder: Autoencoder
    # How the fitted model refers to it; None: it is stored in the model.
    reference: AutoencoderReference | None
    borrowed: bool

    @classmethod
    def load(cls, source: Autoencoder | str | os.PathLike[str] | None, revision: str | None, bundle: bool | None) -> Self:
        if revision is not None and (source is None or isinstance(source, Autoencoder)):
            raise ConfigError(f"revision={revision!r} has no effect without the Hub id of an autoencoder; leave it out.")
        if isinstance(source, Autoencoder):
            frozen = cls(source, None, borrowed=True)
        else:
            loaded = Autoencoder.from_pretrained(source, revision=revision, device="cpu")
            frozen = cls(loaded, pinned_reference(source, revision, bundle), borrowed=False)
        if bundle is False and frozen.reference is None:
            raise ConfigError("bundle=False needs an autoencoder on the Hub, which the model can refer to; give its id.")
        return frozen

    def placed(self, device: torch.device) -> Autoencoder:
        """The autoencoder on a device; the caller's is copied rather than moved."""
        if self.autoencoder.device == device:
            return self.autoencoder
        return (copy.deepcopy(self.autoencoder) if self.borrowed else self.autoencoder).to(device)

    def model(self, head: PrototypeHead, labels: tuple[str, ...], preparation: Preparation) -> PECMAE:
        """The model of it and a head."""
        modes = {module: module.training for module in self.autoencoder.modules()}
        autoencoder = self.autoencoder if self.borrowed else self.autoencoder.cpu()
        model = PECMAE(autoencoder, head.to(autoencoder.device), labels, self.reference, preparation)
        if self.borrowed:
            for module, training in modes.items():
                module.training = training
        return model


def _without(collection: Collection, failed: Mapping[str, str]) -> Collection:
    """The collection without the files that could not be embedded."""
    kept = {split: [clip for clip in clips if str(clip.path) not in failed] for split, clips in collection.splits.items()}
    return with_splits(collection, {split: clips for split, clips in kept.items() if clips}) if failed else collection


def _tell(result: FitResult) -> None:
    """Log what could not be measured."""
    for split, found in result.evaluations.items():
        if found.not_measured:
            _log.warning("%s: no clips of %s in %s; nothing is known of how well they are told.",
                         result.collection.name, ", ".join(found.not_measured), split)  # fmt: skip


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
    preparation: Preparation,
    batch_size: int | None,
    skip_bad: bool,
    progress: bool,
    accelerator: Accelerator,
) -> tuple[dict[str, EmbeddedTracks], dict[str, str]]:
    """Segments of every split, and what was wrong with files that were left out; each process computes its share."""
    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    if accelerator.num_processes > 1:
        share = collection.clips[accelerator.process_index :: accelerator.num_processes]
        EmbeddingCache(folder, autoencoder, preparation).embed([clip.path for clip in share], **options)
        accelerator.wait_for_everyone()
    cache = EmbeddingCache(folder, autoencoder, preparation)
    embedded: dict[str, EmbeddedTracks] = {}
    failed: dict[str, str] = {}
    for split in ("train", "validation", CALIBRATION, "test"):
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
    head: HeadFit,
) -> dict[str, Any]:
    """What the card says beside the configuration."""
    sizes = ", ".join(f"{len(found.true)} {split}" for split, found in evaluations.items())
    split = "test" if "test" in evaluations else "validation" if "validation" in evaluations else None
    metrics: tuple[Measurement, ...] = ()
    if split is not None:
        metrics = evaluations[split].measurements(collection.name, split, "pecmae evaluate DATA --model MODEL")
    return {
        "training_data": f"{(collection.description or collection.name).rstrip('.')}. Tracks: {sizes}.",
        "training_settings": _settings_rows(settings, training, head),
        "metrics": metrics,
    }


def _settings_rows(settings: TrainingSettings, training: TrainingResult, head: HeadFit) -> tuple[tuple[str, str], ...]:
    penalty = head.refit_penalty
    refitted = () if penalty is None else (("linear layer", f"fitted alone in the end, penalty {penalty:g}"),)
    return (
        ("steps", f"{training.step} of {settings.steps}"),
        ("batch", f"{settings.batch_size} segments"),
        ("learning rate", f"{settings.learning_rate:g}, {settings.schedule}"),
        ("optimizer", f"{settings.optimizer}, weight decay {settings.weight_decay:g}"),
        ("loss", f"{head.classification_loss}, distance by {head.distance_reduction}, kernel scale {head.kernel_scale:g}"),
        ("share of the classification loss", f"{head.class_loss_weight:g}"),
        *((("linear layer", "left as it begins: each prototype speaks for its own class"),) if head.own_weights else ()),
        *((("prototypes", "set onto the training segments nearest to them"),) if head.project else ()),
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
    SplitRecord.of(result.collection).save(output / "model")
    model._directory = (output / "model").absolute()  # what lies there goes along when it is pushed
    write_json(output / "report.json", result.report())
