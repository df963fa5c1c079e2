"""Distance of two waveforms in mel spectrograms.

Shapes: B batch.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pecmae.audio.mel import mel_bank

MEL_RESOLUTIONS = ((256, 20), (512, 40), (1024, 80), (2048, 128))  # (n_fft, mel bands)
MAGNITUDE_FLOOR = 2e-5  # of a full-scale amplitude of 1: -94 dB


class SpectralLoss(nn.Module):
    """Distance of two waveforms in mel spectrograms of several resolutions."""

    def __init__(self, sampling_rate: int) -> None:
        super().__init__()
        for n_fft, bands in MEL_RESOLUTIONS:
            bank = mel_bank(n_fft, bands, sampling_rate)
            bank = bank / np.maximum(bank.sum(0, keepdims=True), 1e-6)  # a band is a weighted mean of bins
            self.register_buffer(f"bank_{n_fft}", torch.from_numpy(bank).float(), persistent=False)
            self.register_buffer(f"window_{n_fft}", torch.hann_window(n_fft), persistent=False)

    def mel(self, wav: Tensor, n_fft: int) -> Tensor:
        """Mel-band amplitudes (B, frames, bands) of a waveform (B, samples); a full-scale sine is about 0.5."""
        window = getattr(self, f"window_{n_fft}")
        spectrum = torch.stft(wav, n_fft, n_fft // 4, window=window, return_complex=True, pad_mode="constant")
        power = spectrum.real.square() + spectrum.imag.square()
        amplitude = (power + 1e-12).sqrt() / window.sum()
        return amplitude.transpose(1, 2) @ getattr(self, f"bank_{n_fft}")

    def forward(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Three errors of `output` against `target`, both (B, samples), averaged over the resolutions.

        Returns
        -------
        tuple of Tensor
            Log-amplitude error (nepers); amplitude error relative to each clip's amplitude; error of the level (nepers) in
            cells of eight frames by four bands. The first two are least for a median, which is too quiet wherever the output
            cannot know the target's phase; the third sees that.
        """
        log_errors, errors, levels = [], [], []
        for n_fft, _ in MEL_RESOLUTIONS:
            found, wanted = self.mel(output, n_fft), self.mel(target, n_fft)
            log_errors.append(F.l1_loss((found + MAGNITUDE_FLOOR).log(), (wanted + MAGNITUDE_FLOOR).log()))
            errors.append(((found - wanted).abs().sum((1, 2)) / (wanted.sum((1, 2)) + 1e-3)).mean())
            levels.append(F.l1_loss(_cell_levels(found), _cell_levels(wanted)))
        return torch.stack(log_errors).mean(), torch.stack(errors).mean(), torch.stack(levels).mean()

    def dynamics(self, output: Tensor, target: Tensor) -> Tensor:
        """Nepers by which each mel band's loudness, and its changes, are distributed otherwise over time than in the target.

        Both are (B, samples). The log-amplitudes of a band are compared in order of size (the 1-D Wasserstein distance), and so
        are their absolute differences from frame to frame: peaks, the gaps between notes and the roughness of a held one count,
        but not when they are. The error of each frame is least for the median of what may come, which has none of them.
        """
        errors = []
        for n_fft, _ in MEL_RESOLUTIONS:
            found, wanted = ((self.mel(wav, n_fft) + MAGNITUDE_FLOOR).log() for wav in (output, target))
            levels = F.l1_loss(found.sort(1).values, wanted.sort(1).values)
            changes = F.l1_loss(found.diff(dim=1).abs().sort(1).values, wanted.diff(dim=1).abs().sort(1).values)
            errors.append(levels + changes)
        return torch.stack(errors).mean()


def _cell_levels(mel: Tensor) -> Tensor:
    """Log RMS of mel amplitudes (B, frames, bands) in cells of eight frames by four bands."""
    return (F.avg_pool2d(mel.square()[:, None], (8, 4)) + MAGNITUDE_FLOOR**2).log() / 2
