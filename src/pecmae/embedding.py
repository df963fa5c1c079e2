"""From a track to the z of its segments: the one place where tracks are cut, padded, masked and batched.

Shapes: S segments, N samples, D width.
"""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pecmae.audio import AudioSource, Segment, iter_segments
from pecmae.autoencoder import Autoencoder


class TrackEmbedding(NamedTuple):
    """The embedded segments of a track."""

    z: Tensor  # (S, D) float32, on the CPU
    offsets: np.ndarray  # (S,) first sample of each segment, at the autoencoder's rate
    num_samples: int  # of the track, at the autoencoder's rate
    sampling_rate: int

    @property
    def duration(self) -> float:
        """Of the track, in seconds."""
        return self.num_samples / self.sampling_rate


@torch.no_grad()
def embed_track(
    autoencoder: Autoencoder, source: AudioSource, *, sampling_rate: int | None = None, batch_size: int = 16
) -> TrackEmbedding:
    """Embed the non-overlapping segments of one track, streamed: memory does not grow with its duration.

    The last segment is padded with zeros that nothing attends to; one too short to fill a codec frame is left out, unless it
    is the only one.

    Parameters
    ----------
    autoencoder : Autoencoder
    source : path or array [shape=(samples,) or (channels, samples)]
    sampling_rate : int, optional
        Of an array, in Hz.
    batch_size : int
        Segments that are encoded together.

    Raises
    ------
    FileNotFoundError, AudioError
        There is no such file; or it holds no usable audio.
    """
    parts, offsets, num_samples = [], [], 0
    for batch in _segment_batches(autoencoder, source, sampling_rate, batch_size):
        wav = torch.from_numpy(np.stack([segment.samples for segment in batch]))  # (B, N)
        lengths = torch.tensor([segment.length for segment in batch])  # (B,)
        parts.append(autoencoder.encode(wav, lengths).float().cpu())
        offsets += [segment.offset for segment in batch]
        num_samples = batch[-1].offset + batch[-1].length
    return TrackEmbedding(torch.cat(parts), np.array(offsets), num_samples, autoencoder.sampling_rate)


def _segment_batches(
    autoencoder: Autoencoder, source: AudioSource, sampling_rate: int | None, batch_size: int
) -> Iterator[tuple[Segment, ...]]:
    config = autoencoder.config
    segments = iter_segments(
        source,
        segment_samples=config.segment_samples,
        target_rate=config.sampling_rate,
        sampling_rate=sampling_rate,
        minimum_samples=config.hop_length,
    )
    while batch := tuple(islice(segments, batch_size)):
        yield batch
