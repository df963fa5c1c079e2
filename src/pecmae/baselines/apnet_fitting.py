"""Fitting APNet: cross-entropy, nearness of prototypes and data, and reconstruction.

Shapes are those of `pecmae.baselines.apnet`; N training segments.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pecmae.audio.preparation import Survey
from pecmae.audio.segments import iter_segments
from pecmae.baselines.apnet import APNet
from pecmae.core.random_state import kept_random_state
from pecmae.data.collection import Clip
from pecmae.training.loop import StepContext, train
from pecmae.training.settings import TrainingSettings

# The weights of the three losses in the publication.
CLASS_WEIGHT, PROTOTYPE_WEIGHT, RECONSTRUCTION_WEIGHT = 10.0, 5.0, 5.0
# Epochs of a paper of a thousand clips; its batch size and rate.
APNET_SETTINGS = TrainingSettings(steps=5000, batch_size=256, learning_rate=1e-3, schedule="constant", optimizer="adam")


@dataclass(frozen=True, eq=False)
class Spectrograms:
    """Log-mel spectrograms of the segments of labelled clips."""

    mel: Tensor  # (N, T, F)
    labels: Tensor  # (N,) class numbers


@torch.no_grad()
def spectrograms(model: APNet, clips: Sequence[Clip]) -> Spectrograms:
    """Log-mel spectrograms of whole segments, and of the first one of clips that are shorter, as the model prepares sound."""
    config, found, labels = model.config, [], []
    for clip in clips:
        segments = list(
            iter_segments(
                clip.path,
                segment_samples=config.segment_samples,
                target_rate=config.sampling_rate,
                minimum_samples=config.hop_length,
                survey=Survey(model.preparation, config.segment_samples, config.sampling_rate),
            )
        )
        whole = [segment for segment in segments if segment.length == config.segment_samples] or segments[:1]
        found.append(model.spectrogram(torch.from_numpy(np.stack([segment.samples for segment in whole]))))
        labels += [model.labels.index(clip.label)] * len(whole)
    return Spectrograms(torch.cat(found), torch.tensor(labels))


class APNetObjective(nn.Module):
    """The three losses on spectrograms that stay in memory.

    Parameters
    ----------
    model : APNet
    data : Spectrograms
    """

    mel: Tensor
    labels: Tensor

    def __init__(self, model: APNet, data: Spectrograms) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mel", model.normalise(data.mel), persistent=False)
        self.register_buffer("labels", data.labels, persistent=False)

    def forward(self, rows: Tensor, context: StepContext) -> dict[str, Tensor]:
        """Losses and accuracy of the training segments `rows` [shape=(B,)]."""
        mel, labels = self.mel[rows], self.labels[rows]
        latent, indices = self.model.encode(mel)
        logits = self.model.linear(self.model.similarities(latent))
        class_loss = F.cross_entropy(logits, labels)
        distances = self.model.band_distances(latent).mean(2)  # (B, M)
        near = distances.min(0).values.mean() + distances.min(1).values.mean()
        reconstruction = F.mse_loss(self.model.decode(latent, indices), mel)
        loss = CLASS_WEIGHT * class_loss + PROTOTYPE_WEIGHT * near + RECONSTRUCTION_WEIGHT * reconstruction
        accuracy = (logits.detach().argmax(1) == labels).float().mean()
        parts = {"classification": class_loss, "prototype": near, "reconstruction": reconstruction}
        return {"loss": loss, **parts, "accuracy": accuracy}


@kept_random_state()
def fit_apnet(model: APNet, data: Spectrograms, settings: TrainingSettings = APNET_SETTINGS) -> APNet:
    """Fit in place: prototypes begin at segments of their class, and remember the nearest one in the end.

    Parameters
    ----------
    model : APNet
    data : Spectrograms
        Every class needs as many segments as prototypes.
    settings : TrainingSettings

    Returns
    -------
    APNet
        The same, in evaluation mode.
    """
    draws = np.random.default_rng(settings.seed)
    model.mean.copy_(data.mel.mean())
    model.std.copy_(data.mel.std())
    count = model.config.prototypes_per_class
    rows = np.concatenate(
        [draws.choice(np.flatnonzero(data.labels.numpy() == label), count, replace=False) for label in range(len(model.labels))]
    )
    with torch.no_grad():
        model.prototypes.copy_(model.encode(model.normalise(data.mel[torch.from_numpy(rows)]))[0])

    def make_batch(context: StepContext) -> Tensor:
        drawn = context.draws.integers(len(data.mel), size=settings.batch_size)[context.rows]
        return torch.from_numpy(drawn).to(context.device)

    train(APNetObjective(model, data), make_batch, settings, None)
    model.cpu().eval()
    _remember_nearest(model, data)
    return model


@torch.no_grad()
def _remember_nearest(model: APNet, data: Spectrograms) -> None:
    """Keep, for each prototype, the training spectrogram of its class that is nearest to it."""
    distances = torch.cat(
        [model.band_distances(model.encode(model.normalise(part))[0]).mean(2) for part in data.mel.split(64)]
    )  # (N, M)
    other = data.labels[:, None] != model.prototype_labels
    model.nearest.copy_(data.mel[distances.masked_fill(other, torch.inf).argmin(0)])
