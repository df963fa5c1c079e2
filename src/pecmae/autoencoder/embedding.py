"""From a track to z of its segments: the one place where tracks are cut, padded, masked and batched.

Shapes: S segments, N samples, D width.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice, repeat
from typing import NamedTuple, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from pecmae.audio.preparation import PREPARED, Preparation, Segment, Survey
from pecmae.audio.segments import AudioSource, is_samples, iter_segments
from pecmae.core.ahead import ahead
from pecmae.core.batches import BatchSize
from pecmae.core.devices import answering
from pecmae.core.files import display_name
from pecmae.errors import AudioError, PecmaeError


class SegmentEncoder(Protocol):
    """What makes z of segments: the autoencoder, or another model of sound."""

    @property
    def sampling_rate(self) -> int:
        """Of the segments, in Hz."""
        ...

    @property
    def segment_samples(self) -> int:
        """Samples of a segment, N."""
        ...

    @property
    def minimum_samples(self) -> int:
        """The fewest real samples that a segment can be encoded from."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    def encode(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        """z [shape=(B, D)], float32, of segments [shape=(B, N)] with so many real samples [shape=(B,)], zeros behind them."""
        ...


class TrackEmbedding(NamedTuple):
    """The embedded segments of a track."""

    z: Tensor  # (S, D) float32, on the CPU
    offsets: np.ndarray  # (S,) first sample of each segment, at the encoder's rate
    num_samples: int  # of the track, at the encoder's rate
    sampling_rate: int
    weights: np.ndarray  # (S,) what each segment is worth beside the others, in [0, 1], float32
    audible_duration: float  # of what is not silent, in seconds
    notes: tuple[str, ...] = ()  # what people should know of the track, each as the rest of a sentence

    @property
    def duration(self) -> float:
        """Of the track, in seconds."""
        return self.num_samples / self.sampling_rate


def embed_track(
    encoder: SegmentEncoder,
    source: AudioSource,
    *,
    sampling_rate: int | None = None,
    batch_size: int | None = None,
    preparation: Preparation = PREPARED,
    name: str | None = None,
) -> TrackEmbedding:
    """Embed the non-overlapping segments of one track, streamed: memory does not grow with its duration.

    The last segment is padded with zeros that nothing attends to; one too short to fill a codec frame is left out, unless it
    is the only one.

    Parameters
    ----------
    encoder : SegmentEncoder
    source : path or array [shape=(samples,) or (channels, samples)]
    sampling_rate : int, optional
        Of an array, in Hz.
    batch_size : int, optional
        Segments that are encoded together: what suits the device by default, halved when memory runs out.
    preparation : Preparation
        What is put right in the sound before, and whether segments are worth the same.
    name : str, optional
        What messages call the source; by default its path, or "array".

    Raises
    ------
    FileNotFoundError, AudioError
        There is no such file; or it holds no usable audio.
    """
    (result,) = embed_tracks(
        encoder,
        [source],
        sampling_rate=sampling_rate,
        batch_size=batch_size,
        preparation=preparation,
        names=["array" if name is None and is_samples(source) else name],
    )
    if isinstance(result, Exception):
        raise result
    return result


def embed_tracks(
    encoder: SegmentEncoder,
    sources: Iterable[AudioSource],
    *,
    sampling_rate: int | None = None,
    batch_size: int | None = None,
    preparation: Preparation = PREPARED,
    names: Iterable[str | None] | None = None,
) -> Iterator[TrackEmbedding | PecmaeError | OSError]:
    """Embed many tracks, segments of different tracks in one batch, so that short clips fill it.

    Parameters are those of `embed_track`; arrays are called by their place, "array 0" and so on, unless there are `names`.

    Yields
    ------
    TrackEmbedding, or the exception that says what is wrong with a track
        One for each source, in order, as soon as it is whole.
    """
    waiting: list[_Track] = []
    named = zip(sources, repeat(None) if names is None else names, strict=names is not None)
    rows = BatchSize.of_segments(encoder.device, batch_size)
    # The next batch is decoded and resampled while this one is encoded.
    pieces = ahead(_pieces(encoder, named, sampling_rate, preparation, waiting), rows.size + 1)
    with closing(pieces):
        while batch := list(islice(pieces, rows.size)):
            for (track, segment), z in zip(batch, _encode(encoder, [segment for _, segment in batch], rows), strict=True):
                track.add(segment, z)
            while waiting and waiting[0].complete:
                yield waiting.pop(0).result(encoder.sampling_rate)
        while waiting:
            yield waiting.pop(0).result(encoder.sampling_rate)


def cut_segments(
    encoder: SegmentEncoder,
    source: AudioSource,
    *,
    survey: Survey,
    sampling_rate: int | None = None,
    name: str | None = None,
) -> Iterator[Segment]:
    """The pieces of a track that an encoder takes, as `survey` (from `new_survey`) has them prepared."""
    return iter_segments(
        source,
        segment_samples=encoder.segment_samples,
        target_rate=encoder.sampling_rate,
        sampling_rate=sampling_rate,
        minimum_samples=encoder.minimum_samples,
        survey=survey,
        name=name,
    )


def new_survey(encoder: SegmentEncoder, preparation: Preparation = PREPARED) -> Survey:
    """What prepares and judges the segments of one track for an encoder."""
    return Survey(preparation, encoder.segment_samples, encoder.sampling_rate)


@dataclass(eq=False)
class _Track:
    """A track on its way: how many segments were cut, and what has been encoded of them."""

    name: str
    survey: Survey
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
        z, survey = torch.stack(self.z), self.survey
        if not z.isfinite().all():
            reason = "the samples are too large or the model's weights are damaged or of too small a type (try dtype='float32')"
            return AudioError(f"{self.name}: its embedding is no number; {reason}.")
        facts = (survey.weights, survey.audible_seconds, tuple(survey.notes))
        return TrackEmbedding(z, np.array(self.offsets), self.num_samples, sampling_rate, *facts)


def _pieces(
    encoder: SegmentEncoder,
    named: Iterable[tuple[AudioSource, str | None]],
    sampling_rate: int | None,
    preparation: Preparation,
    waiting: list[_Track],
) -> Generator[tuple[_Track, Segment]]:
    """All segments of all tracks; a track joins `waiting` when it is opened."""
    for place, (source, given) in enumerate(named):
        name = f"array {place}" if given is None and is_samples(source) else given
        track = _Track(name or display_name(cast(str, source)), new_survey(encoder, preparation))
        waiting.append(track)
        try:
            for segment in cut_segments(encoder, source, survey=track.survey, sampling_rate=sampling_rate, name=name):
                track.cut += 1
                yield track, segment
        except (PecmaeError, OSError) as error:
            track.error = error
        track.ended = True


def _encode(encoder: SegmentEncoder, segments: list[Segment], rows: BatchSize) -> Tensor:
    """z of segments [shape=(B, D)], float32, on the CPU."""
    wav = torch.from_numpy(np.stack([segment.samples for segment in segments]))  # (B, N)
    lengths = torch.tensor([segment.length for segment in segments])  # (B,)
    with answering(encoder.device):
        parts = rows.run(lambda part: encoder.encode(wav[part], lengths[part]).cpu(), len(segments))
        return torch.cat(list(parts))
