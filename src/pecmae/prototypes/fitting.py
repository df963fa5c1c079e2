"""Fitting a prototype head on the embeddings of a frozen autoencoder.

Shapes: N segments, D width, C classes.
"""

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self, TypedDict

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pecmae.core.random_state import kept_random_state
from pecmae.data.tracks import EmbeddedTracks as EmbeddedTracks
from pecmae.errors import ConfigError, TrainingError
from pecmae.prototypes.config import PrototypeHeadConfig
from pecmae.prototypes.head import PrototypeHead
from pecmae.prototypes.initialisation import initial_prototypes
from pecmae.prototypes.losses import (
    classification_loss,
    head_loss,
    mean_of_processes,
    shared_prototype_loss,
)
from pecmae.prototypes.refitting import check_penalty, project_prototypes, refit_linear
from pecmae.training.loop import StepContext, TrainingResult, train
from pecmae.training.settings import TrainingSettings, check_real, check_whole

CLASS_LOSS_WEIGHT = 0.25  # λ
EVALUATE_EVERY = 500

# The published code's but for the number of steps, which suits data of one's own: minutes on a laptop.
HEAD_SETTINGS = TrainingSettings(
    steps=5000,
    batch_size=256,
    learning_rate=1e-3,
    schedule="one_cycle",
    optimizer="adam",
    weight_decay=1e-4,
    checkpoint_every=500,
    log_every=100,
)
# The published code's; the paper's weight decay is 1e-5.
PAPER_SETTINGS = replace(HEAD_SETTINGS, steps=150_000, checkpoint_every=5000)


class HeadOptions(TypedDict, total=False):
    """The fields of `HeadFit`, for calls that take them by name."""

    prototypes_per_class: int
    adaptor: bool
    distance_reduction: str
    kernel_scale: float
    classification_loss: str
    temperature: float
    class_loss_weight: float
    evaluate_every: int
    own_weights: bool
    project: bool
    refit_penalty: float | None


@dataclass(frozen=True, kw_only=True)
class HeadFit:
    """What head to make and how to fit it; the defaults are the published code's, and what is impossible is refused at once."""

    # Of the head, as in `PrototypeHeadConfig`.
    prototypes_per_class: int = 10
    adaptor: bool = True
    distance_reduction: str = "mean"
    kernel_scale: float = 1.0
    classification_loss: str = "cross_entropy"
    temperature: float = 0.1
    # Of fitting it, as for `fit_head`.
    class_loss_weight: float = CLASS_LOSS_WEIGHT
    evaluate_every: int = EVALUATE_EVERY
    own_weights: bool = False
    project: bool = False
    refit_penalty: float | None = None

    def __post_init__(self) -> None:
        check_whole("prototypes_per_class", self.prototypes_per_class, 1)
        check_fitting(self.class_loss_weight, self.evaluate_every, self.refit_penalty, own_weights=self.own_weights)
        self.config(embedding_dim=1, num_classes=2)

    def config(self, embedding_dim: int, num_classes: int) -> PrototypeHeadConfig:
        """The configuration of the head, for z of this width and this many classes."""
        shared = {field.name for field in fields(PrototypeHeadConfig)} & {field.name for field in fields(self)}
        options = {name: getattr(self, name) for name in shared}
        return PrototypeHeadConfig(embedding_dim=embedding_dim, num_classes=num_classes, **options)

    def changed(self, options: HeadOptions) -> Self:
        """The same with other values."""
        return replace(self, **options)


def check_fitting(
    class_loss_weight: float, evaluate_every: int, refit_penalty: float | None, *, own_weights: bool = False
) -> None:
    """Refuse options of fitting that are out of range or contradict each other, with a ConfigError."""
    check_real("class_loss_weight (λ)", class_loss_weight, 0, 1)
    check_whole("evaluate_every", evaluate_every, 1)
    if refit_penalty is not None:
        check_penalty(refit_penalty)
        if own_weights:
            raise ConfigError("own_weights leaves the linear layer as it begins, refit_penalty fits it; ask for one of them.")


class HeadObjective(nn.Module):
    """The head's loss on embeddings that stay in memory, and the head of the lowest validation loss so far.

    Parameters
    ----------
    head : PrototypeHead
    data : EmbeddedTracks
        Training segments.
    validation : EmbeddedTracks, optional
        Without it the last head counts as the best.
    class_loss_weight : float
        λ, the classification loss's share.
    """

    best_loss: Tensor
    train_z: Tensor
    train_labels: Tensor
    validation_z: Tensor | None
    validation_labels: Tensor | None

    def __init__(
        self,
        head: PrototypeHead,
        data: EmbeddedTracks,
        validation: EmbeddedTracks | None = None,
        class_loss_weight: float = CLASS_LOSS_WEIGHT,
    ) -> None:
        super().__init__()
        self.head, self.class_loss_weight = head, class_loss_weight
        # Part of the state, so that a continued run remembers it.
        self.best = copy.deepcopy(head).requires_grad_(False)
        self.register_buffer("best_loss", torch.tensor(torch.inf))
        for name, tracks in (("train", data), ("validation", validation)):
            self.register_buffer(f"{name}_z", None if tracks is None else head.normalise(tracks.z), persistent=False)
            self.register_buffer(f"{name}_labels", None if tracks is None else tracks.labels, persistent=False)

    def forward(self, rows: Tensor, context: StepContext) -> dict[str, Tensor]:
        """Losses and accuracy of the training segments `rows`, this process's part of the batch [shape=(B / processes,)]."""
        # Dropout is on the prototypes, which all processes share: it has to be alike everywhere.
        torch.manual_seed(int(context.draws.integers(1 << 62)))
        labels = self.train_labels[rows]
        distances = self.head.distances_normalised(self.train_z[rows])
        logits = self.head.linear(self.head.kernel(distances))
        class_loss = classification_loss(logits, labels, self.head.config)
        own_loss = shared_prototype_loss(distances, labels, self.head.prototype_labels)
        class_loss, accuracy = mean_of_processes(class_loss, (logits.detach().argmax(1) == labels).float().mean())
        loss = self.class_loss_weight * class_loss + (1 - self.class_loss_weight) * own_loss
        return {"loss": loss, "classification": class_loss, "prototype": own_loss, "accuracy": accuracy}

    @torch.no_grad()
    def keep_best(self) -> None:
        """Copy the head when its validation loss is the lowest so far."""
        if self.validation_z is None or self.validation_labels is None:
            loss = torch.zeros_like(self.best_loss)
        else:
            training = self.head.training
            self.head.eval()
            loss = head_loss(self.head, self.validation_z, self.validation_labels, self.class_loss_weight)[0]
            self.head.train(training)
        if self.validation_z is None or loss < self.best_loss:
            self.best_loss.copy_(loss)
            self.best.load_state_dict(self.head.state_dict())


@kept_random_state()
def fit_head(
    data: EmbeddedTracks,
    config: PrototypeHeadConfig,
    settings: TrainingSettings = HEAD_SETTINGS,
    *,
    validation: EmbeddedTracks | None = None,
    evaluate_every: int = EVALUATE_EVERY,
    class_loss_weight: float = CLASS_LOSS_WEIGHT,
    own_weights: bool = False,
    project: bool = False,
    refit_penalty: float | None = None,
    initialisation: str = "kmeans",
    output: str | os.PathLike[str] | None = None,
    description: Mapping[str, Any] | None = None,
    stop_after: float | None = None,
    progress: bool = False,
    accelerator: Accelerator | None = None,
) -> tuple[PrototypeHead, TrainingResult]:
    """Fit a prototype head: k-means centres first, unless asked otherwise, then the published training.

    Parameters
    ----------
    data : EmbeddedTracks
        Training segments; every class needs at least K of them. Rests and silence are left out (`EmbeddedTracks.whole`).
    config : PrototypeHeadConfig
        Sizes and choices.
    settings : TrainingSettings
        The published code's by default.
    validation : EmbeddedTracks, optional
        The head of the lowest loss on them is returned.
    evaluate_every : int
        Steps between two looks at the validation loss.
    class_loss_weight : float
        λ, the classification loss's share.
    own_weights : bool
        Leave the linear layer as it begins: each prototype speaks for its own class, with weight 1, and for no other. So a
        logit is the sum of the similarities to the prototypes of a class. Not in the paper.
    project : bool
        Set every prototype onto a training segment in the end (`project_prototypes`). Not in the paper.
    refit_penalty : float, optional
        Fit the linear layer alone in the end, with this penalty (`pecmae.prototypes.refitting.refit_linear`). Not in the paper.
        A finished run can be asked again with another one.
    initialisation : {"kmeans", "interleaved", "samples", "random"}
        Where prototypes begin, see `pecmae.prototypes.initialisation`.
    output : path, optional
        Folder of the run, where a killed one continues; nothing is written without it.
    description : mapping, optional
        Facts that a continued run must share, see `pecmae.training.train`.
    stop_after, progress, accelerator
        As for `pecmae.training.train`.

    Returns
    -------
    PrototypeHead
        In evaluation mode, on the CPU.
    TrainingResult

    Raises
    ------
    ConfigError
        An option is out of range.
    TrainingError
        Training diverged.
    """
    check_fitting(class_loss_weight, evaluate_every, refit_penalty, own_weights=own_weights)
    data, validation = data.whole(), None if validation is None else validation.whole()
    mean, std = normalisation_scalars(data.z)
    torch.manual_seed(settings.seed)
    head = PrototypeHead(config, mean=mean, std=std)
    with torch.no_grad():
        centres = initial_prototypes(
            head.normalise(data.z), data.labels, config.prototype_counts, kind=initialisation, seed=settings.seed
        )
        head.prototypes.copy_(centres)
    head.linear.requires_grad_(not own_weights)
    objective = HeadObjective(head, data, validation, class_loss_weight)

    def make_batch(context: StepContext) -> Tensor:
        rows = context.draws.integers(len(data.z), size=settings.batch_size)[context.rows]
        return torch.from_numpy(rows).to(context.device)

    def after_step(step: int) -> None:
        if step % evaluate_every == 0 or step == settings.steps:
            objective.keep_best()

    facts = {**(description or {}), "class_loss_weight": class_loss_weight}
    if own_weights:  # runs from before there was a choice go on without it
        facts["own_weights"] = True
    if initialisation != "kmeans":
        facts["initialisation"] = initialisation
    result = train(
        objective,
        make_batch,
        settings,
        output,
        description=facts,
        after_step=after_step,
        stop_after=stop_after,
        progress=progress,
        accelerator=accelerator,
    )
    best = objective.best.cpu().eval()
    if project:
        best = project_prototypes(best, data)
    if refit_penalty is not None:
        refit_linear(best, data, refit_penalty)
    if not all(bool(value.isfinite().all()) for value in best.state_dict().values()):
        raise TrainingError("The fitted head holds numbers that are none; fit again with a smaller learning rate or penalty.")
    return best, result


@torch.no_grad()
def track_accuracy(head: PrototypeHead, data: EmbeddedTracks) -> float:
    """Class-normalised accuracy (mean recall) on tracks, whose logits are averages over their segments."""
    right = data.average(head(data.z)).argmax(1) == data.track_labels
    recalls = [right[data.track_labels == label].float().mean() for label in data.track_labels.unique()]
    return float(torch.stack(recalls).mean())


def normalisation_scalars(embeddings: Tensor) -> tuple[float, float]:
    """Mean over samples of the per-sample mean and standard deviation of `embeddings` [shape=(N, D)]."""
    values = embeddings.double()
    return float(values.mean(1).mean()), float(values.std(1).mean())
