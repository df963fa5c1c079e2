"""From prototypes to sound, as many together as the device likes.

Shapes: B sounds, N samples, D width.
"""

from collections.abc import Iterator, Sequence
from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from pecmae.autoencoder.model import Autoencoder, SamplingOptions
from pecmae.core.batches import BatchSize
from pecmae.core.devices import answering

# Sound that would clip is scaled down to this peak.
PEAK = 0.99


def sonified(
    autoencoder: Autoencoder, z: Tensor, sounds: Sequence[tuple[int, int]], **options: Unpack[SamplingOptions]
) -> Iterator[np.ndarray]:
    """Decode prototypes batch by batch.

    The noise that a prototype starts from depends on the seed and on its number alone, so it sounds the same whichever
    others it is decoded with.

    Parameters
    ----------
    autoencoder : Autoencoder
    z : Tensor [shape=(M, D)]
        Of all prototypes.
    sounds : sequence of (int, int)
        Number of the prototype, 0 … M-1, and seed of each sound.
    **options
        As for `Autoencoder.generate`.

    Yields
    ------
    np.ndarray [shape=(N,)]
        One sound after the other, float32. Sound that would clip is scaled down.
    """

    def decode(rows: slice) -> np.ndarray:
        chosen = sounds[rows]
        noise = torch.cat([autoencoder.draw_latents(1, _generator(seed, number)) for number, seed in chosen])
        with answering(autoencoder.device):
            decoded = autoencoder.decode(z[[number for number, _ in chosen]], latents=noise, **options)  # (B, N)
        audio = decoded.float().cpu().numpy()
        peaks = np.abs(audio).max(axis=1, keepdims=True)
        return audio * np.minimum(1.0, PEAK / np.maximum(peaks, PEAK)).astype(np.float32)

    for part in BatchSize.of_latents(autoencoder.device).run(decode, len(sounds)):
        yield from part


def _generator(seed: int, number: int) -> torch.Generator:
    """Noise of one prototype under one seed."""
    entropy = np.random.SeedSequence([seed, number]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(entropy[0]) << 31 | int(entropy[1]) >> 1)
