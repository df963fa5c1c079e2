"""APNet (Zinemanas et al. 2021, Electronics 10(7):850): prototypes in the latent space of a mel-spectrogram autoencoder.

Shapes: B segments, T frames, F mel bands, H channels, M prototypes, C classes; latent maps are (H, T/4, F/4).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pecmae.audio.mel import mel_bank
from pecmae.audio.preparation import PREPARED, Preparation, Survey
from pecmae.audio.segments import AudioSource, iter_segments
from pecmae.core.configs import check_numbers
from pecmae.errors import ConfigError
from pecmae.prototypes.explanations import Explanation
from pecmae.prototypes.outputs import Prediction, weighted_mean

# What max pooling took from where, of both poolings.
Indices: TypeAlias = tuple[Tensor, Tensor]
GRIFFIN_LIM_STEPS = 32
_FLOOR = 1e-5


@dataclass(frozen=True, kw_only=True)
class APNetConfig:
    """Sizes; the defaults have as many parameters as the PECMAE paper says of its APNet-5."""

    num_classes: int
    prototypes_per_class: int = 5
    sampling_rate: int = 24_000
    segment_frames: int = 80  # T: four seconds
    hop_length: int = 1200
    n_fft: int = 2048
    num_mels: int = 120  # F
    channels: tuple[int, int, int] = (128, 240, 32)  # of the three convolutions; the last is H

    def __post_init__(self) -> None:
        check_numbers(self, at_most={})
        if self.segment_frames % 4 or self.num_mels % 4:
            raise ConfigError(
                f"{self.segment_frames} frames by {self.num_mels} mel bands cannot be halved twice; give multiples of 4."
            )

    @property
    def num_prototypes(self) -> int:
        """M."""
        return self.num_classes * self.prototypes_per_class

    @property
    def segment_samples(self) -> int:
        """Length of a segment."""
        return self.segment_frames * self.hop_length

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(H, T/4, F/4)."""
        return self.channels[2], self.segment_frames // 4, self.num_mels // 4


class APNet(nn.Module):
    """Classify segments by the distance of their latent maps to those of prototypes, weighted along frequency.

    Parameters
    ----------
    config : APNetConfig
    labels : sequence of str
        Names of the classes.
    preparation : Preparation
        How sound is prepared before.
    """

    mel: Tensor
    mean: Tensor
    std: Tensor
    nearest: Tensor

    def __init__(self, config: APNetConfig, labels: Sequence[str], preparation: Preparation = PREPARED) -> None:
        super().__init__()
        self.config, self.labels, self.preparation = config, tuple(labels), preparation
        first, second, last = config.channels
        self.encoder = nn.ModuleList(nn.Conv2d(a, b, 5, padding=2) for a, b in ((1, first), (first, second), (second, last)))
        self.decoder = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 5, padding=2) for a, b in ((last, second), (second, first), (first, 1))
        )
        bands = config.latent_shape[2]
        self.prototypes = nn.Parameter(torch.rand(config.num_prototypes, *config.latent_shape))
        self.band_weights = nn.Parameter(torch.full((config.num_prototypes, bands), 1 / bands))
        self.linear = nn.Linear(config.num_prototypes, config.num_classes)
        with torch.no_grad():
            self.linear.weight.copy_(F.one_hot(self.prototype_labels, config.num_classes).T)
            self.linear.bias.zero_()
        bank = mel_bank(config.n_fft, config.num_mels, config.sampling_rate)
        self.register_buffer("mel", torch.from_numpy(bank).float(), persistent=False)  # (bins, F)
        # Of the log-mel spectrograms it was trained on.
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("std", torch.tensor(1.0))
        # The training spectrogram nearest to each prototype, whose pooling indices decode it.
        self.register_buffer("nearest", torch.zeros(config.num_prototypes, config.segment_frames, config.num_mels))

    @property
    def sampling_rate(self) -> int:
        """Of the audio taken and made, in Hz."""
        return self.config.sampling_rate

    @property
    def prototype_labels(self) -> Tensor:
        """Class of each prototype [shape=(M,), int64], class-major."""
        return torch.arange(self.config.num_classes).repeat_interleave(self.config.prototypes_per_class)

    def spectrogram(self, wav: Tensor) -> Tensor:
        """Log-mel spectrogram [shape=(B, T, F)] of segments [shape=(B, samples)], not yet normalised."""
        config = self.config
        window = torch.hann_window(config.n_fft, device=wav.device)
        amplitude = torch.stft(wav, config.n_fft, config.hop_length, window=window, return_complex=True).abs()
        frames = amplitude.transpose(1, 2)[:, : config.segment_frames]  # (B, T, bins)
        return (frames @ self.mel + _FLOOR).log()

    def normalise(self, mel: Tensor) -> Tensor:
        """Scale log-mel spectrograms to mean 0 and standard deviation 1 over the training data."""
        return (mel - self.mean) / self.std

    def encode(self, mel: Tensor) -> tuple[Tensor, Indices]:
        """Latent maps [shape=(B, H, T/4, F/4)] of normalised spectrograms [shape=(B, T, F)], and where maxima were."""
        first, second, last = self.encoder
        x, indices_1 = F.max_pool2d(F.leaky_relu(first(mel[:, None])), 2, return_indices=True)
        x, indices_2 = F.max_pool2d(F.leaky_relu(second(x)), 2, return_indices=True)
        return F.leaky_relu(last(x)), (indices_1, indices_2)

    def decode(self, latent: Tensor, indices: Indices) -> Tensor:
        """Normalised spectrograms [shape=(B, T, F)] of latent maps, un-pooled to where maxima were."""
        last, second, first = self.decoder
        x = F.max_unpool2d(F.leaky_relu(last(latent)), indices[1], [2, 2])
        x = F.max_unpool2d(F.leaky_relu(second(x)), indices[0], [2, 2])
        return first(x)[:, 0]

    def band_distances(self, latent: Tensor) -> Tensor:
        """Mean squared difference to each prototype in each latent band [shape=(B, M, F/4)], over channels and time."""
        flat = latent.permute(0, 3, 1, 2).flatten(2)  # (B, F/4, H · T/4)
        points = self.prototypes.permute(0, 3, 1, 2).flatten(2)  # (M, F/4, H · T/4)
        cross = torch.einsum("bfd,mfd->bmf", flat, points)
        squares = flat.square().sum(2)[:, None] + points.square().sum(2) - 2 * cross
        return squares.clamp_min(0) / flat.shape[2]

    def similarities(self, latent: Tensor) -> Tensor:
        """Similarity to each prototype [shape=(B, M)]: exp(-distance) of each band, weighted along frequency."""
        return (torch.exp(-self.band_distances(latent)) * self.band_weights).sum(2)

    @torch.no_grad()
    def predict(self, source: AudioSource, *, sampling_rate: int | None = None, batch_size: int = 32) -> Prediction:
        """Classify a track; parameters and errors as for `PECMAE.predict`."""
        config = self.config
        survey = Survey(self.preparation, config.segment_samples, config.sampling_rate)
        segments = list(
            iter_segments(
                source,
                segment_samples=config.segment_samples,
                target_rate=config.sampling_rate,
                sampling_rate=sampling_rate,
                minimum_samples=config.hop_length,
                survey=survey,
            )
        )
        wav = torch.from_numpy(np.stack([segment.samples for segment in segments])).to(self.mean.device)  # (S, samples)
        found = [self.similarities(self.encode(self.normalise(self.spectrogram(part)))[0]) for part in wav.split(batch_size)]
        similarities = torch.cat(found)  # (S, M)
        segment_logits = self.linear(similarities).cpu().numpy()  # (S, C)
        logits = weighted_mean(segment_logits, survey.weights).astype(np.float32)
        scores = torch.from_numpy(logits).softmax(0).numpy()
        order = np.argsort(-logits, kind="stable")
        return Prediction(
            label=self.labels[order[0]],
            score=float(scores[order[0]]),
            scores={self.labels[index]: float(scores[index]) for index in order},
            logits=logits,
            segment_logits=segment_logits,
            segment_similarities=similarities.cpu().numpy(),
            segment_weights=survey.weights,
            duration=(segments[-1].offset + segments[-1].length) / config.sampling_rate,
            audible_duration=survey.audible_seconds,
            notes=tuple(survey.notes),
        )

    def explain(self, source: AudioSource, *, sampling_rate: int | None = None) -> Explanation:
        """Tell what each prototype gave to each class's logit; parameters and errors as for `PECMAE.explain`."""
        prediction = self.predict(source, sampling_rate=sampling_rate)
        return Explanation(
            labels=self.labels,
            prototype_labels=self.prototype_labels.numpy(),
            segment_similarities=prediction.segment_similarities,
            segment_weights=prediction.segment_weights,
            weight=self.linear.weight.detach().cpu().numpy(),
            bias=self.linear.bias.detach().cpu().numpy(),
            logits=prediction.logits,
        )

    @torch.no_grad()
    def sonify(self, *, seed: int = 0) -> np.ndarray:
        """Decode all prototypes to sound [shape=(M, samples)]: un-pooled as the nearest training segment, then Griffin-Lim."""
        _, indices = self.encode(self.normalise(self.nearest))
        mel = (self.decode(self.prototypes, indices) * self.std + self.mean).exp()  # (M, T, F)
        amplitude = (mel @ torch.linalg.pinv(self.mel)).clamp_min(0)  # (M, T, bins)
        return griffin_lim(amplitude.transpose(1, 2), self.config, seed).cpu().numpy()


def griffin_lim(amplitude: Tensor, config: APNetConfig, seed: int = 0) -> Tensor:
    """Sound [shape=(B, samples)] whose spectrogram has these amplitudes [shape=(B, bins, T)], found by iteration."""
    window = torch.hann_window(config.n_fft, device=amplitude.device)
    # The last frame begins where the segment ends.
    amplitude = torch.cat([amplitude, amplitude[:, :, -1:]], 2)  # (B, bins, T + 1)
    generator = torch.Generator().manual_seed(seed)
    phase = 2 * torch.pi * torch.rand(amplitude.shape, generator=generator).to(amplitude)
    spectrum = torch.polar(amplitude, phase)
    for _ in range(GRIFFIN_LIM_STEPS):
        wav = torch.istft(spectrum, config.n_fft, config.hop_length, window=window, length=config.segment_samples)
        found = torch.stft(wav, config.n_fft, config.hop_length, window=window, return_complex=True)
        spectrum = torch.polar(amplitude, found.angle())
    return torch.istft(spectrum, config.n_fft, config.hop_length, window=window, length=config.segment_samples)
