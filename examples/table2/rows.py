"""The rows of the table: what each fits, and how it is measured."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pecmae.audio.preparation import PREPARED, PUBLISHED, Preparation
from pecmae.autoencoder.model import Autoencoder
from pecmae.baselines.apnet import APNet, APNetConfig
from pecmae.baselines.apnet_fitting import APNET_SETTINGS, Spectrograms, fit_apnet, spectrograms
from pecmae.baselines.time_average import TimeAveraged
from pecmae.data.collection import Collection
from pecmae.data.embedding_cache import EmbeddingCache
from pecmae.data.tracks import EmbeddedTracks, embed_files, short_names
from pecmae.evaluation.baselines import MLPBaseline, evaluate_classifier
from pecmae.evaluation.tracks import Evaluation, evaluate_embedded
from pecmae.prototypes.fitting import HEAD_SETTINGS, PAPER_SETTINGS, HeadFit, fit_head
from pecmae.training.settings import TrainingSettings

# With D = 768 and ten classes, the 100 K parameters of the paper's table.
MLP_HIDDEN = 128
PROTOTYPE_COUNTS = (1, 3, 5, 10, 20, 40)


@dataclass(frozen=True)
class Choices:
    """What the rows of one table share; each can be varied for an ablation."""

    head: HeadFit = field(default_factory=HeadFit)
    settings: TrainingSettings = HEAD_SETTINGS
    initialisation: str = "kmeans"
    preparation: Preparation = PREPARED
    # APNet learns from spectrograms, at sizes and for steps of its own.
    apnet_channels: tuple[int, int, int] = (128, 240, 32)
    apnet: TrainingSettings = APNET_SETTINGS


PRESETS = {
    "default": Choices(),
    "paper": Choices(
        HeadFit(distance_reduction="sum", classification_loss="binary_cross_entropy", evaluate_every=5000),
        replace(PAPER_SETTINGS, weight_decay=1e-5),
    ),
    "published-code": Choices(HeadFit(evaluate_every=5000), PAPER_SETTINGS, "interleaved", PUBLISHED),
}


@dataclass(frozen=True)
class Outcome:
    """One row with one seed."""

    evaluation: Evaluation
    parameters: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        interval = self.evaluation.interval()
        return {
            "accuracy": self.evaluation.accuracy,
            "interval_95": list(interval) if interval else None,
            "parameters": self.parameters,
            "seconds": round(self.seconds, 1),
        }


class Bench:
    """Embeddings that rows share: each kind is made when a row first asks for it, and kept on disk.

    Parameters
    ----------
    collection : Collection
        With the splits "train", "validation" and "test".
    autoencoder : Autoencoder
    cache : path
    choices : Choices
    """

    def __init__(self, collection: Collection, autoencoder: Autoencoder, cache: Path, choices: Choices) -> None:
        self.collection, self.autoencoder, self.cache, self.choices = collection, autoencoder, cache, choices
        self._known: dict[str, Mapping[str, EmbeddedTracks]] = {}
        self._spectrograms: Spectrograms | None = None

    def tracks(self, kind: str) -> Mapping[str, EmbeddedTracks]:
        """Embedded tracks of each split: "z", or the "average" of EnCodecMAE's frames over time."""
        if kind not in self._known:
            encoder = self.autoencoder if kind == "z" else TimeAveraged(self.autoencoder)
            store = EmbeddingCache(self.cache, encoder, self.choices.preparation)
            splits = {split: self.collection.splits[split] for split in ("train", "validation", "test")}
            self._known[kind] = {
                split: embed_files(store, clips, self.collection.labels, progress=True)[0] for split, clips in splits.items()
            }
        return self._known[kind]

    def spectrograms(self, model: APNet) -> Spectrograms:
        """Log-mel spectrograms of the training clips."""
        if self._spectrograms is None:
            self._spectrograms = spectrograms(model, self.collection.splits["train"])
        return self._spectrograms


def run_prototypes(bench: Bench, seed: int, prototypes_per_class: int, adaptor: bool = True) -> Outcome:
    """PECMAE-K, or PECMAE-NA-K without the adaptor."""
    tracks, choices = bench.tracks("z"), bench.choices
    head = replace(choices.head, prototypes_per_class=prototypes_per_class, adaptor=adaptor)
    config = head.config(bench.autoencoder.config.embedding_dim, len(bench.collection.labels))
    began = time.monotonic()
    fitted, _ = fit_head(
        tracks["train"],
        config,
        replace(choices.settings, seed=seed),
        validation=tracks["validation"],
        evaluate_every=head.evaluate_every,
        class_loss_weight=head.class_loss_weight,
        initialisation=choices.initialisation,
    )
    seconds = time.monotonic() - began
    parameters = sum(parameter.numel() for parameter in fitted.parameters())
    return Outcome(evaluate_embedded(fitted, bench.collection.labels, tracks["test"]), parameters, seconds)


def run_mlp(bench: Bench, seed: int, kind: str) -> Outcome:
    """A perceptron with one hidden layer on embeddings of a kind; validation chooses its epoch and its weight decay."""
    tracks, labels = bench.tracks(kind), bench.collection.labels
    began = time.monotonic()
    mlp = MLPBaseline(tracks["train"].whole(), tracks["validation"], len(labels), [seed], MLP_HIDDEN)
    seconds = time.monotonic() - began
    return Outcome(evaluate_classifier(mlp, tracks["test"], labels), mlp.num_parameters, seconds)


def run_apnet(bench: Bench, seed: int, prototypes_per_class: int) -> Outcome:
    """APNet-K, on segments of four seconds."""
    labels, choices, clips = bench.collection.labels, bench.choices, bench.collection.splits["test"]
    config = APNetConfig(num_classes=len(labels), prototypes_per_class=prototypes_per_class, channels=choices.apnet_channels)
    torch.manual_seed(seed)
    model = APNet(config, labels, choices.preparation)
    data = bench.spectrograms(model)
    began = time.monotonic()
    fit_apnet(model, data, replace(choices.apnet, seed=seed))
    seconds = time.monotonic() - began
    predictions = [model.predict(clip.path) for clip in clips]
    evaluation = Evaluation(
        labels,
        short_names([clip.path for clip in clips]),
        np.array([labels.index(clip.label) for clip in clips]),
        np.array([labels.index(prediction.label) for prediction in predictions]),
        np.array([prediction.score for prediction in predictions]),
        {},
    )
    return Outcome(evaluation, sum(parameter.numel() for parameter in model.parameters()), seconds)


Row = Callable[[Bench, int], Outcome]


def _prototypes(count: int, adaptor: bool = True) -> Row:
    return lambda bench, seed: run_prototypes(bench, seed, count, adaptor)


ROWS: dict[str, Row] = {
    "APNet-5": lambda bench, seed: run_apnet(bench, seed, 5),
    "MLP on ECMAE": lambda bench, seed: run_mlp(bench, seed, "average"),
    "MLP on ECMAE-S": lambda bench, seed: run_mlp(bench, seed, "z"),
    "PECMAE-NA-5": _prototypes(5, adaptor=False),
    **{f"PECMAE-{count}": _prototypes(count) for count in PROTOTYPE_COUNTS},
}
