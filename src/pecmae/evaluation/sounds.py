"""What becomes of sound that a model makes: prototypes, codec and autoencoder, heard again.

Shapes: N samples, D width, C classes, M prototypes, R seeds.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pecmae.audio.preparation import Segment
from pecmae.audio.segments import iter_segments
from pecmae.autoencoder.embedding import new_survey
from pecmae.autoencoder.model import Autoencoder
from pecmae.core.batches import BatchSize
from pecmae.data.collection import LabelledFile
from pecmae.explain.sounds import PrototypeSounds
from pecmae.model import PECMAE
from pecmae.training.spectral_loss import MAGNITUDE_FLOOR, SpectralLoss

SILENT_RMS = 1e-3
CLIPPED = 0.999
# Of the distance of two waveforms in spectra (n_fft); the hop is a quarter.
STFT_RESOLUTIONS = (512, 1024, 2048)


class SoundClassifier(Protocol):
    """Somebody who tells a sound's class."""

    def hear(self, waves: np.ndarray) -> np.ndarray:
        """Class number of each sound [shape=(B,)], from samples [shape=(B, N)]."""
        ...


@dataclass(frozen=True, eq=False)
class SonificationCheck:
    """What becomes of prototypes that are decoded to sound and classified again."""

    labels: tuple[str, ...]
    # Class that the model hears in each sound, as an index into labels [shape=(M, R)].
    heard_as: np.ndarray
    # Prototype of each sound's largest similarity [shape=(M, R)].
    nearest: np.ndarray
    # Root mean square and peak of each sound, full scale 1 [shape=(M, R)].
    rms: np.ndarray
    peak: np.ndarray
    # z of each sound [shape=(M, R, D)].
    z: np.ndarray
    # Class that other listeners hear, by their name [shape=(M, R)].
    listeners: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def _own(self) -> np.ndarray:
        return np.arange(len(self.heard_as)) // (len(self.heard_as) // len(self.labels))

    def hits(self, listener: str | None = None) -> np.ndarray:
        """Whether each sound is heard as its prototype's class [shape=(M, R)], by the model or by another listener."""
        heard = self.heard_as if listener is None else self.listeners[listener]
        return heard == self._own[:, None]

    @property
    def own_class(self) -> float:
        """Share of sounds that the model classifies as their prototype's class."""
        return float(self.hits().mean())

    @property
    def own_class_by_prototype(self) -> np.ndarray:
        """`own_class` of each prototype [shape=(M,)]."""
        return self.hits().mean(1)

    def own_class_by_label(self, listener: str | None = None) -> dict[str, float]:
        """Share of each class's sounds that are heard as it."""
        hits = self.hits(listener)
        return {name: float(hits[self._own == index].mean()) for index, name in enumerate(self.labels)}

    def placed_right(self, listener: str) -> dict[str, int]:
        """Prototypes of each class that a listener hears as it in more than half of their sounds."""
        right = self.hits(listener).mean(1) > 0.5
        return {name: int(right[self._own == index].sum()) for index, name in enumerate(self.labels)}

    @property
    def same_prototype(self) -> float:
        """Share of sounds that are most similar to the prototype they were made from."""
        return float((self.nearest == np.arange(len(self.nearest))[:, None]).mean())

    @property
    def seed_share(self) -> float:
        """Share of the variance of the sounds' z that lies between seeds: 0 where a prototype sounds one way only."""
        within = np.square(self.z - self.z.mean(1, keepdims=True)).mean()
        total = np.square(self.z - self.z.mean((0, 1))).mean()
        return float(within / total) if total else 0.0

    @property
    def levels(self) -> np.ndarray:
        """Root mean square of each sound in dB of full scale [shape=(M, R)]."""
        return 20 * np.log10(np.maximum(self.rms, 1e-6))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        levels = self.levels
        return {
            "own_class": self.own_class,
            "own_class_by_label": self.own_class_by_label(),
            "same_prototype": self.same_prototype,
            "num_sounds": self.heard_as.size,
            "num_seeds": self.heard_as.shape[1],
            "seed_share_of_variance": self.seed_share,
            "silent": float((self.rms < SILENT_RMS).mean()),
            "clipped": float((self.peak > CLIPPED).mean()),
            "median_rms": float(np.median(self.rms)),
            "level_db": {"lowest": float(levels.min()), "median": float(np.median(levels)), "highest": float(levels.max())},
            "level_spread_db": float(np.median(levels.std(1))),
            "listeners": {
                name: {
                    "own_class": float(self.hits(name).mean()),
                    "own_class_by_label": self.own_class_by_label(name),
                    "prototypes_placed_right": self.placed_right(name),
                }
                for name in self.listeners
            },
        }


@torch.no_grad()
def check_sonification(
    model: PECMAE,
    seeds: Sequence[int] = range(8),
    *,
    listeners: Mapping[str, SoundClassifier] | None = None,
    sounds: PrototypeSounds | None = None,
    advance: Callable[[], None] = lambda: None,
) -> SonificationCheck:
    """Decode every prototype with every seed, and classify what is heard.

    Parameters
    ----------
    model : PECMAE
    seeds : sequence of int
    listeners : mapping, optional
        Others who hear the sounds, by name.
    sounds : PrototypeSounds, optional
        Where sounds are kept, so that a run that was cut off continues; without it they are made in batches and not kept.
    advance : callable
        Called after each seed.
    """
    count = model.head.config.num_prototypes
    rows = BatchSize.of_segments(model.autoencoder.device)
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("z", "rms", "peak", *(listeners or {}))}
    for seed in seeds:
        waves = model.sonify(seed=seed) if sounds is None else sounds.get_all(seed)
        found["rms"].append(np.sqrt(np.square(waves).mean(1)))
        found["peak"].append(np.abs(waves).max(1))
        heard = torch.from_numpy(model.preparation.centre(waves))
        found["z"].append(_embedded(model, heard, rows).numpy())
        for name, listener in (listeners or {}).items():
            found[name].append(listener.hear(waves))
        advance()
    columns = {name: np.stack(values, 1) for name, values in found.items()}
    z = torch.from_numpy(columns["z"]).flatten(0, 1).to(model.head.prototypes.device)
    similarities = model.head.similarities(z)
    shape = count, len(seeds)
    return SonificationCheck(
        labels=model.labels,
        heard_as=model.head.linear(similarities).argmax(1).cpu().numpy().reshape(shape),
        nearest=similarities.argmax(1).cpu().numpy().reshape(shape),
        rms=columns["rms"],
        peak=columns["peak"],
        z=columns["z"],
        listeners={name: columns[name] for name in listeners or {}},
    )


@torch.no_grad()
def check_round_trip(model: PECMAE, files: Iterable[LabelledFile], *, seed: int = 0) -> dict[str, float]:
    """Encode, decode and encode again every whole segment of each file.

    Returns
    -------
    dict
        `label_survives`: share of segments that get the same label before and after; `clip_label_survives`: of files, whose
        logits are averaged; `cosine`: median cosine similarity of z; `num_segments`, `num_clips`.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = BatchSize.of_segments(model.autoencoder.device)
    pieces = ((clip, segment) for clip, file in enumerate(files) for segment in _segments(model, file))
    pairs: list[Tensor] = []
    clips: list[int] = []
    while batch := list(islice(pieces, rows.size)):
        wav = torch.from_numpy(np.stack([segment.samples for _, segment in batch]))  # (B, N)
        lengths = torch.tensor([segment.length for _, segment in batch])
        pairs.append(_there_and_back(model, wav, lengths, generator, rows))
        clips += [clip for clip, _ in batch]
    z = torch.cat(pairs, 1).to(model.head.prototypes.device)  # (2, S, D)
    logits = model.head(z.flatten(0, 1)).unflatten(0, z.shape[:2]).cpu()  # (2, S, C)
    of_clip = F.one_hot(torch.tensor(clips)).to(logits.dtype)  # (S, clips)
    clip_labels = (of_clip.T @ logits).argmax(2)  # (2, clips), of sums as of means
    return {
        "label_survives": float((logits.argmax(2)[0] == logits.argmax(2)[1]).float().mean()),
        "clip_label_survives": float((clip_labels[0] == clip_labels[1]).float().mean()),
        "cosine": float(F.cosine_similarity(z[0], z[1]).median()),
        "num_segments": len(clips),
        "num_clips": clip_labels.shape[1],
    }


def _embedded(model: PECMAE, wav: Tensor, rows: BatchSize) -> Tensor:
    """z of whole segments [shape=(B, D)], of samples [shape=(B, N)]; float32, on the CPU."""
    return torch.cat(list(rows.run(lambda part: model.autoencoder.encode(wav[part]).float().cpu(), len(wav))))


def _there_and_back(model: PECMAE, wav: Tensor, lengths: Tensor, generator: torch.Generator, rows: BatchSize) -> Tensor:
    """z of segments [shape=(B, N)], and of what is heard of it [shape=(2, B, D)]; float32, on the CPU."""

    def work(part: slice) -> Tensor:
        before = model.autoencoder.encode(wav[part], lengths[part]).float()
        heard = model.autoencoder.decode(before, generator=generator, scheduler=model.scheduler)
        heard = torch.from_numpy(model.preparation.centre(heard.cpu().numpy()))
        return torch.stack([before, model.autoencoder.encode(heard).float()]).cpu()

    return torch.cat(list(rows.run(work, len(wav))), 1)


def _segments(model: PECMAE, file: LabelledFile) -> Iterable[Segment]:
    config = model.autoencoder.config
    return iter_segments(
        file.path,
        segment_samples=config.segment_samples,
        target_rate=config.sampling_rate,
        minimum_samples=config.segment_samples,
        survey=new_survey(model.autoencoder, model.preparation),
    )


@torch.no_grad()
def check_codec(autoencoder: Autoencoder, waves: Iterable[Tensor]) -> dict[str, float]:
    """How far waveforms are from themselves after the codec alone, without quantisation and without diffusion.

    Parameters
    ----------
    autoencoder : Autoencoder
    waves : iterable of Tensor [shape=(N,)]

    Returns
    -------
    dict
        `stft_distance`: spectral convergence plus error of the log magnitude (nepers), means over three resolutions, as
        `stft_distance` computes it; `log_mel`: mean absolute error of log-mel amplitudes (nepers), over four resolutions;
        `level_db`: median difference of the level after and before; `num_segments`.
    """
    loss = SpectralLoss(autoencoder.sampling_rate)
    rows = []
    for wave in waves:
        before = wave[None]
        after = autoencoder.features_to_wav(autoencoder.extract_features(before)).float().cpu()[:, : len(wave)]
        level = 10 * torch.log10((after.square().mean() + 1e-12) / (before.square().mean() + 1e-12))
        rows.append((stft_distance(after, before), float(loss(after, before)[0]), float(level)))
    distance, log_mel, level_db = np.array(rows).T
    return {
        "stft_distance": float(distance.mean()),
        "log_mel": float(log_mel.mean()),
        "level_db": float(np.median(level_db)),
        "num_segments": len(rows),
    }


def stft_distance(output: Tensor, target: Tensor) -> float:
    """Multi-resolution STFT distance of `output` to `target`, both [shape=(B, N)] (Yamamoto et al. 2020, arXiv 1910.11480)."""
    values = []
    for n_fft in STFT_RESOLUTIONS:
        found, wanted = _magnitude(output, n_fft), _magnitude(target, n_fft)
        convergence = (found - wanted).norm() / wanted.norm().clamp_min(1e-9)
        logarithm = F.l1_loss((found + MAGNITUDE_FLOOR).log(), (wanted + MAGNITUDE_FLOOR).log())
        values.append(float(convergence + logarithm))
    return float(np.mean(values))


def _magnitude(wav: Tensor, n_fft: int) -> Tensor:
    window = torch.hann_window(n_fft)
    spectrum = torch.stft(wav, n_fft, n_fft // 4, window=window, return_complex=True, pad_mode="constant")
    return spectrum.abs() / window.sum()
