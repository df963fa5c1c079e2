"""From a track to z of its segments: the one place where tracks are cut, padded, masked and batched.

Shapes: S segments, N samples, D width.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pecmae.audio.segments import AudioSource, Segment, iter_segments
from pecmae.autoencoder.model import Autoencoder
from pecmae.core.batches import BatchSize
from pecmae.core.devices import answering
from pecmae.errors import PecmaeError


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


def embed_track(
    autoencoder: Autoencoder, source: AudioSource, *, sampling_rate: int | None = None, batch_size: int | None = None
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
    batch_size : int, optional
        Segments that are encoded together: what suits the device by default, halved when memory runs out.

    Raises
    ------
    FileNotFoundError, AudioError
        There is no such file; or it holds no usable audio.
    """
    (result,) = embed_tracks(autoencoder, [source], sampling_rate=sampling_rate, batch_size=batch_size)
    if isinstance(result, Exception):
        raise result
    return result


def embed_tracks(
    autoencoder: Autoencoder, sources: Iterable[AudioSource], *, sampling_rate: int | None = None, batch_size: int | None = None
) -> Iterator[TrackEmbedding | PecmaeError | OSError]:
    """Embed many tracks, segments of different tracks in one batch, so that short clips fill it.

    Parameters are those of `embed_track`.

    Yields
    ------
    TrackEmbedding, or the exception that says what is wrong with a track
        One for each source, in order, as soon as it is whole.
    """
    waiting: list[_Track] = []
    pieces = _pieces(autoencoder, sources, sampling_rate, waiting)
    rows = BatchSize.of_segments(autoencoder.device, batch_size)
    while batch := list(islice(pieces, rows.size)):
        for (track, segment), z in zip(batch, _encode(autoencoder, [segment for _, segment in batch], rows), strict=True):
            track.add(segment, z)
        while waiting and waiting[0].complete:
            yield waiting.pop(0).result(autoencoder.sampling_rate)
    while waiting:
        yield waiting.pop(0).result(autoencoder.sampling_rate)


@dataclass(eq=False)
class _Track:
    """A track on its way: how many segments were cut, and what has been encoded of them."""

    cut: int = 0
    ended: bool = False
    error: PecmaeError | OSError | None = None
    z: list[Tensor] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    num_samples: int = 0

    @property
    def complete(self) -> bool:
        return self.ended and len(self.z) == self.cut

    def add(self, segment: Segment, z: Tensor) -> None:
        self.z.append(z)
        self.offsets.append(segment.offset)
        self.num_samples = segment.offset + segment.length

    def result(self, sampling_rate: int) -> TrackEmbedding | PecmaeError | OSError:
        if self.error is not None:
            return self.error
        return TrackEmbedding(torch.stack(self.z), np.array(self.offsets), self.num_samples, sampling_rate)


def _pieces(
    autoencoder: Autoencoder, sources: Iterable[AudioSource], sampling_rate: int | None, waiting: list[_Track]
) -> Iterator[tuple[_Track, Segment]]:
    """All segments of all tracks; a track joins `waiting` when it is opened."""
    config = autoencoder.config
    for source in sources:
        track = _Track()
        waiting.append(track)
        try:
            for segment in iter_segments(
                source,
                segment_samples=config.segment_samples,
                target_rate=config.sampling_rate,
                sampling_rate=sampling_rate,
                minimum_samples=config.hop_length,
            ):
                track.cut += 1
                yield track, segment
        except (PecmaeError, OSError) as error:
            track.error = error
        track.ended = True


def _encode(autoencoder: Autoencoder, segments: list[Segment], rows: BatchSize) -> Tensor:
    """z of segments [shape=(B, D)], float32, on the CPU."""
    wav = torch.from_numpy(np.stack([segment.samples for segment in segments]))  # (B, N)
    lengths = torch.tensor([segment.length for segment in segments])  # (B,)
    with answering(autoencoder.device):
        parts = rows.run(lambda part: autoencoder.encode(wav[part], lengths[part]).cpu(), len(segments))
        return torch.cat(list(parts))
