"""A codec decoder that ends in an inverse short-time Fourier transform: features to magnitudes and phases, and those to sound.

The work is done at the features' own rate and a multiple of it, not sample by sample (Vocos, arXiv 2306.00814): ConvNeXt
blocks, then a spectrum for every hop.

Shapes: B batch, N time steps, T codec frames, F codec features, C channels, W samples of a window.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pecmae.autoencoder.codec import as_image, as_sequence
from pecmae.autoencoder.config import AutoencoderConfig

KERNEL = 7
EXPANSION = 3  # hidden width of a block over its width
OVERLAP = 4  # hops in a window
SCALE = 0.1  # of what a block adds, before training
LARGEST_LOG_MAGNITUDE = 6.0  # of a bin, in nepers: louder than any sound within full scale


class ConvNeXtBlock(nn.Module):
    """A depthwise convolution over time and a feed-forward, added to the input.

    Parameters
    ----------
    dim : int
        Channels, C.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(dim, dim, (1, KERNEL), padding=(0, KERNEL // 2), groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, EXPANSION * dim)
        self.contract = nn.Linear(EXPANSION * dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """From [shape=(B, N, C)] to the same shape."""
        hidden = self.norm(as_sequence(self.convolution(as_image(x))))
        return x + self.scale * self.contract(F.gelu(self.expand(hidden)))


class ISTFTDecoder(nn.Module):
    """Features to a waveform by magnitudes and phases.

    Parameters
    ----------
    config : AutoencoderConfig
        Half of `istft_num_layers` work at the rate of the features with `istft_dim` channels, the others at `istft_upsampling`
        times that rate with two thirds of them.
    """

    window: Tensor

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        dim, upsampling = config.istft_dim, config.istft_upsampling
        coarse = config.istft_num_layers // 2
        self.hop_length = config.hop_length // upsampling
        self.fine_dim = 2 * dim // 3
        self.embed = nn.Conv2d(config.feature_dim, dim, (1, KERNEL), padding=(0, KERNEL // 2))
        self.embed_norm = nn.LayerNorm(dim)
        self.coarse = nn.Sequential(*(ConvNeXtBlock(dim) for _ in range(coarse)))
        self.upsample = nn.Linear(dim, upsampling * self.fine_dim)
        self.fine = nn.Sequential(*(ConvNeXtBlock(self.fine_dim) for _ in range(config.istft_num_layers - coarse)))
        self.norm = nn.LayerNorm(self.fine_dim)
        self.spectrum = nn.Linear(self.fine_dim, OVERLAP * self.hop_length + 2)
        self.register_buffer(
            "window", torch.hann_window(OVERLAP * self.hop_length, dtype=torch.float32, device="cpu"), persistent=False
        )

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.spectrum.weight.dtype

    def forward(self, features: Tensor) -> Tensor:
        """Waveform [shape=(B, T · hop_length)] of `features` [shape=(B, T, F)]."""
        hidden = self.embed_norm(as_sequence(self.embed(as_image(features))))
        hidden = self.upsample(self.coarse(hidden))  # (B, T, upsampling · C)
        hidden = hidden.unflatten(2, (-1, self.fine_dim)).flatten(1, 2)  # (B, N, C), N = T · upsampling
        log_magnitude, phase = self.spectrum(self.norm(self.fine(hidden))).float().chunk(2, -1)  # (B, N, W / 2 + 1)
        magnitude = log_magnitude.clamp(max=LARGEST_LOG_MAGNITUDE).exp()
        return self.overlap_add(torch.fft.irfft(torch.polar(magnitude, phase))).to(self.dtype)

    def overlap_add(self, frames: Tensor) -> Tensor:
        """Sound [shape=(B, N · hop)] of frames [shape=(B, N, W)], one a hop, each centred on its hop.

        Frames are windowed, added, and divided by what the squared window adds up to, as if they had been windowed before.
        """
        window = self.window.float()
        added = _overlapped(frames * window, self.hop_length)
        weight = _overlapped(window.square().expand(1, *frames.shape[1:]), self.hop_length)
        # A window reaches beyond its hop by as much on either side.
        beyond = (OVERLAP - 1) * self.hop_length // 2
        inside = slice(beyond, beyond + frames.shape[1] * self.hop_length)
        return added[:, inside] / weight[:, inside]


def _overlapped(frames: Tensor, hop: int) -> Tensor:
    """Sum [shape=(B, (N + OVERLAP - 1) · hop)] of frames [shape=(B, N, W)] that begin a hop after one another."""
    parts = frames.unflatten(2, (OVERLAP, hop)).unbind(2)  # OVERLAP of (B, N, hop)
    padded = [F.pad(part, (0, 0, index, OVERLAP - 1 - index)) for index, part in enumerate(parts)]
    return torch.stack(padded).sum(0).flatten(1)
