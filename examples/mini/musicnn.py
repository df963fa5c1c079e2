"""MusiCNN (Pons and Serra, arXiv 1909.06654), a tagger of real music, as an ear: its features, in torch.

The weights are the variables of a checkpoint of the `musicnn` package (ISC licence) by their names, in a file of numpy's:
``numpy.savez("MSD_musicnn.npz", **{name: value})``. Nothing of it is part of this project.

Shapes: B patches, T frames of 16 ms (a patch has 187), 96 mel bands.
"""

from pathlib import Path

import numpy as np
import soxr
import torch
from torch import Tensor
from torch.nn import functional as F

SAMPLING_RATE = 16_000
N_FFT, HOP, BANDS = 512, 256, 96
PATCH = 187
LARGEST_FLOAT16 = 6e4
# Widths of the kernels that look along time only.
TEMPORAL = {2: 128, 3: 64, 4: 32}


class MusiCNN:
    """The network's penultimate layer.

    Parameters
    ----------
    weights : path
        Of the npz file.
    """

    def __init__(self, weights: Path) -> None:
        with np.load(weights) as stored:
            self._weights = {name: torch.from_numpy(stored[name].astype(np.float32)) for name in stored.files}
        self._filters = torch.from_numpy(mel_filters())

    @torch.inference_mode()
    def features(self, wave: np.ndarray, sampling_rate: int) -> np.ndarray:
        """Features [shape=(200,)] of a sound [shape=(samples,)], averaged over its patches, which overlap by half."""
        frames = self.log_mel(soxr.resample(np.asarray(wave, np.float32), sampling_rate, SAMPLING_RATE))
        frames = F.pad(frames, (0, 0, 0, max(0, PATCH - len(frames))))
        patches = torch.stack([frames[at : at + PATCH] for at in range(0, len(frames) - PATCH + 1, PATCH // 2)])
        return self(patches).mean(0).numpy()

    def log_mel(self, wave: np.ndarray) -> Tensor:
        """Log-mel spectrum [shape=(T, 96)] of a sound at 16 kHz, rounded to float16 as in training."""
        window = torch.hann_window(N_FFT)
        spectrum = torch.stft(torch.from_numpy(wave), N_FFT, HOP, window=window, pad_mode="reflect", return_complex=True)
        mel = (self._filters @ spectrum.abs().square()).T
        return (10_000 * mel.half().float().clamp_max(LARGEST_FLOAT16) + 1).log10()

    def __call__(self, patches: Tensor) -> Tensor:
        """Features [shape=(B, 200)] of patches [shape=(B, T, 96)]."""
        x = self._normalise(patches[:, None], 0)
        tall = F.pad(x, (0, 0, 3, 3))
        front = [self._normalise(self._convolve(tall, number), number + 1).amax(3) for number in (0, 1)]
        for number, width in TEMPORAL.items():
            long = F.pad(x, (0, 0, (width - 1) // 2, width - 1 - (width - 1) // 2))
            front.append(self._normalise(self._convolve(long, number), number + 1).amax(3))
        layers = [torch.cat(front, 1).transpose(1, 2)[:, None]]  # (B, 1, T, 561)
        for number in (5, 6, 7):
            x = self._convolve(F.pad(layers[-1], (0, 0, 3, 3)), number)
            x = self._normalise(x, number + 1).permute(0, 3, 2, 1)  # (B, 1, T, 64)
            layers.append(x if number == 5 else x + layers[-1])
        frames = torch.cat(layers, 3)[:, 0]  # (B, T, 753)
        pooled = torch.stack([frames.amax(1), frames.mean(1)], 2).flatten(1)
        hidden = F.relu(self._normalise(pooled, 9) @ self._weights["dense/kernel"] + self._weights["dense/bias"])
        return self._normalise(hidden, 10)

    def _convolve(self, x: Tensor, number: int) -> Tensor:
        name = _numbered("conv2d", number)
        kernel = self._weights[f"{name}/kernel"].permute(3, 2, 0, 1).contiguous()
        return F.relu(F.conv2d(x, kernel, self._weights[f"{name}/bias"]))

    def _normalise(self, x: Tensor, number: int) -> Tensor:
        name = _numbered("batch_normalization", number)
        mean, variance, gamma, beta = (
            self._weights[f"{name}/{part}"].reshape(-1, *[1] * (x.ndim - 2))
            for part in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        return (x - mean) / (variance + 1e-3).sqrt() * gamma + beta


def _numbered(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name


def mel_filters() -> np.ndarray:
    """Slaney's mel filters, each of area 1 [shape=(96, N_FFT / 2 + 1), float32]."""
    edges = _to_hertz(np.linspace(0, _to_mel(SAMPLING_RATE / 2), BANDS + 2))
    ramps = edges[:, None] - np.fft.rfftfreq(N_FFT, 1 / SAMPLING_RATE)
    widths = np.diff(edges)
    triangles = np.minimum(-ramps[:-2] / widths[:-1, None], ramps[2:] / widths[1:, None])
    return (np.maximum(0, triangles) * (2 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


_LOG_STEP = np.log(6.4) / 27  # above 1 kHz, where the scale is 15


def _to_mel(hertz: float) -> float:
    return 15 + np.log(hertz / 1000) / _LOG_STEP if hertz >= 1000 else hertz * 3 / 200


def _to_hertz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel >= 15, 1000 * np.exp(_LOG_STEP * (mel - 15)), mel * 200 / 3)
