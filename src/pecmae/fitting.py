"""Fitting a prototype head on the embeddings of a frozen autoencoder.

Shapes: N segments, D width, C classes.
"""

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pecmae.autoencoder import Autoencoder
from pecmae.configuration import PrototypeHeadConfig
from pecmae.data import GrowingArray, LabelledFile, files_key, progress_bar
from pecmae.embedding import embed_track
from pecmae.errors import ConfigError
from pecmae.feature_cache import weights_key
from pecmae.prototypes import PrototypeHead, head_loss, kmeans_prototypes, normalisation_scalars
from pecmae.training import StepContext, TrainingResult, TrainingSettings, train

CLASS_LOSS_WEIGHT = 0.25  # λ

# The published code's settings; the paper's weight decay is 1e-5.
HEAD_SETTINGS = TrainingSettings(
    steps=150_000,
    batch_size=256,
    learning_rate=1e-3,
    schedule="one_cycle",
    optimizer="adam",
    weight_decay=1e-4,
    checkpoint_every=5000,
    log_every=100,
)


@dataclass(frozen=True)
class EmbeddedTracks:
    """z of the non-overlapping segments of labelled tracks."""

    z: Tensor  # (N, D)
    tracks: Tensor  # (N,) number of the track a segment is of
    track_labels: Tensor  # (tracks,) class numbers

    @property
    def labels(self) -> Tensor:
        """Class number of every segment (N,)."""
        return self.track_labels[self.tracks]


def embed_files(
    autoencoder: Autoencoder,
    files: Sequence[LabelledFile],
    labels: Sequence[str],
    folder: str | os.PathLike[str],
    *,
    progress: bool = False,
) -> EmbeddedTracks:
    """Embed labelled files, continuing a cache that was cut off.

    Parameters
    ----------
    autoencoder : Autoencoder
    files : sequence of LabelledFile
    labels : sequence of str
        Names of the classes, in the order of their numbers.
    folder : path
        Cache folder; a changed file or autoencoder makes another cache.
    progress : bool
        Show a progress bar on standard error.

    Raises
    ------
    ConfigError
        A file's class is not among the labels.
    AudioError
        A file cannot be read.
    """
    if unknown := {file.label for file in files} - set(labels):
        raise ConfigError(f"Class {min(unknown)!r} is not among the classes {', '.join(labels)}; name the folders alike in all splits.")
    key = files_key(files, autoencoder.sampling_rate, weights_key(autoencoder), autoencoder.config.segment_samples)
    array = GrowingArray(Path(folder) / f"z-{key}", (autoencoder.config.embedding_dim,), "float32")
    missing = files[len(array.counts) :]
    if missing:
        array.fill(embed_track(autoencoder, f.path).z.numpy() for f in progress_bar(missing, "embedding", progress))
    tracks = np.repeat(np.arange(len(files)), array.counts)
    numbers = torch.tensor([labels.index(file.label) for file in files])
    return EmbeddedTracks(torch.from_numpy(array.rows().copy()), torch.from_numpy(tracks), numbers)


class HeadObjective(nn.Module):
    """The head's loss on embeddings that stay in memory, and the head of the lowest validation loss so far.

    Parameters
    ----------
    head : PrototypeHead
    data : EmbeddedTracks
        Training segments.
    validation : EmbeddedTracks, optional
        Without it the last head counts as the best.
    """

    best_loss: Tensor

    def __init__(self, head: PrototypeHead, data: EmbeddedTracks, validation: EmbeddedTracks | None = None) -> None:
        super().__init__()
        self.head = head
        # Part of the state, so that a continued run remembers it.
        self.best = copy.deepcopy(head).requires_grad_(False)
        self.register_buffer("best_loss", torch.tensor(torch.inf))
        for name, tracks in (("train", data), ("validation", validation)):
            self.register_buffer(f"{name}_z", None if tracks is None else head.normalise(tracks.z), persistent=False)
            self.register_buffer(f"{name}_labels", None if tracks is None else tracks.labels, persistent=False)

    def forward(self, rows: Tensor, context: StepContext) -> dict[str, Tensor]:
        """Losses of the training segments `rows` (B,)."""
        loss, class_loss, own_loss = head_loss(self.head, self.train_z[rows], self.train_labels[rows], CLASS_LOSS_WEIGHT)
        return {"loss": loss, "classification": class_loss, "prototype": own_loss}

    @torch.no_grad()
    def keep_best(self) -> None:
        """Copy the head when its validation loss is the lowest so far."""
        if self.validation_z is None:
            loss = torch.zeros_like(self.best_loss)
        else:
            training = self.head.training
            self.head.eval()
            loss = head_loss(self.head, self.validation_z, self.validation_labels, CLASS_LOSS_WEIGHT)[0]
            self.head.train(training)
        if self.validation_z is None or loss < self.best_loss:
            self.best_loss.copy_(loss)
            self.best.load_state_dict(self.head.state_dict())


def fit_head(
    data: EmbeddedTracks,
    config: PrototypeHeadConfig,
    settings: TrainingSettings = HEAD_SETTINGS,
    *,
    validation: EmbeddedTracks | None = None,
    evaluate_every: int = 500,
    output: str | os.PathLike[str] | None = None,
    description: Mapping[str, Any] | None = None,
    **options: Any,
) -> tuple[PrototypeHead, TrainingResult]:
    """Fit a prototype head: k-means centres first, then the published training.

    Parameters
    ----------
    data : EmbeddedTracks
        Training segments; every class needs at least K of them.
    config : PrototypeHeadConfig
        Sizes and choices.
    settings : TrainingSettings
        The published code's by default.
    validation : EmbeddedTracks, optional
        The head of the lowest loss on them is returned.
    evaluate_every : int
        Steps between two looks at the validation loss.
    output : path, optional
        Folder of the run, where a killed one continues; nothing is written without it.
    description : mapping, optional
        Facts that a continued run must share, see `pecmae.training.train`.
    **options
        Further arguments of `pecmae.training.train`.

    Returns
    -------
    PrototypeHead
        In evaluation mode, on the CPU.
    TrainingResult
    """
    mean, std = normalisation_scalars(data.z)
    torch.manual_seed(settings.seed)
    head = PrototypeHead(config, mean=mean, std=std)
    with torch.no_grad():
        centres = kmeans_prototypes(
            head.normalise(data.z), data.labels, config.num_classes, config.prototypes_per_class, settings.seed
        )
        head.prototypes.copy_(centres)
    objective = HeadObjective(head, data, validation)

    def make_batch(context: StepContext) -> Tensor:
        rows = context.draws.integers(len(data.z), size=settings.batch_size)[context.rows]
        return torch.from_numpy(rows).to(context.device)

    def after_step(step: int) -> None:
        if step % evaluate_every == 0 or step == settings.steps:
            objective.keep_best()

    result = train(
        objective, make_batch, settings, output, description=description, after_step=after_step, **options
    )
    return objective.best.cpu().eval(), result


@torch.no_grad()
def track_accuracy(head: PrototypeHead, data: EmbeddedTracks) -> float:
    """Class-normalised accuracy (mean recall) on tracks, whose logits are averages over their segments."""
    logits = head(data.z)
    totals = logits.new_zeros(len(data.track_labels), logits.shape[1]).index_add_(0, data.tracks, logits)
    counts = torch.bincount(data.tracks, minlength=len(totals))[:, None]
    right = (totals / counts).argmax(1) == data.track_labels
    recalls = [right[data.track_labels == label].float().mean() for label in data.track_labels.unique()]
    return float(torch.stack(recalls).mean())
