"""Labelled tracks as z of their segments: what a head is fitted on, and what its prototypes are compared with.

Shapes: N segments, D width.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pecmae.autoencoder.embedding import TrackEmbedding
from pecmae.data.collection import LabelledFile
from pecmae.data.embedding_cache import EmbeddingCache
from pecmae.errors import ConfigError, PecmaeError

# Bad files that an error names.
SHOWN = 8
# Share of a whole segment that one has to be worth for a head to learn from it.
LEAST_WORTH = 0.5


@dataclass(frozen=True, eq=False)
class EmbeddedTracks:
    """z of the non-overlapping segments of labelled tracks, those of a track in order."""

    z: Tensor  # (N, D)
    tracks: Tensor  # (N,) number of the track a segment is of
    track_labels: Tensor  # (tracks,) class numbers
    names: tuple[str, ...] = ()  # of the tracks, for people
    offsets: Tensor | None = None  # (N,) where a segment begins, in seconds
    weights: Tensor | None = None  # (N,) what a segment is worth beside the others of its track; none: all the same

    @property
    def labels(self) -> Tensor:
        """Class number of every segment (N,)."""
        return self.track_labels[self.tracks]

    @property
    def key(self) -> str:
        """A hash of the embeddings and labels, in their order."""
        digest = hashlib.sha256(self.z.numpy().tobytes())
        digest.update(self.labels.numpy().tobytes())
        if self.weights is not None:
            digest.update(self.weights.numpy().tobytes())
        return digest.hexdigest()[:16]

    @torch.no_grad()
    def average(self, values: Tensor) -> Tensor:
        """Mean over the segments of each track [shape=(tracks, …)], by their weights, of values of the segments [shape=(N, …)].

        Summed in float64: a day of radio has 21 600 segments.
        """
        weights = torch.ones(len(values)) if self.weights is None else self.weights
        column = (-1, *[1] * (values.ndim - 1))
        weighted = values.double() * weights.double().reshape(column)
        totals = weighted.new_zeros(len(self.track_labels), *values.shape[1:]).index_add_(0, self.tracks, weighted)
        worth = weighted.new_zeros(len(self.track_labels)).index_add_(0, self.tracks, weights.double())
        return (totals / worth.reshape(column)).to(values.dtype)

    def chosen(self, tracks: Tensor) -> "EmbeddedTracks":
        """Some of the tracks, in the order they stand in.

        Parameters
        ----------
        tracks : Tensor [shape=(tracks,), bool]
        """
        rows = tracks[self.tracks]
        numbers = tracks.cumsum(0) - 1
        return EmbeddedTracks(
            self.z[rows],
            numbers[self.tracks[rows]],
            self.track_labels[tracks],
            tuple(name for name, kept in zip(self.names, tracks.tolist(), strict=True) if kept) if self.names else (),
            None if self.offsets is None else self.offsets[rows],
            None if self.weights is None else self.weights[rows],
        )

    def whole(self, least: float = LEAST_WORTH) -> "EmbeddedTracks":
        """Only segments that are worth at least this share of a whole one, and the worthiest of each track in any case.

        What prototypes are made from: a rest of a segment, or silence, is no example of a class.
        """
        if self.weights is None:
            return self
        best = self.weights.new_zeros(len(self.track_labels)).scatter_reduce(0, self.tracks, self.weights, "amax")
        kept = (self.weights >= least) | (self.weights == best[self.tracks])
        offsets = None if self.offsets is None else self.offsets[kept]
        return replace(self, z=self.z[kept], tracks=self.tracks[kept], offsets=offsets, weights=self.weights[kept])


def embed_files(
    cache: EmbeddingCache,
    files: Sequence[LabelledFile],
    labels: Sequence[str],
    *,
    batch_size: int | None = None,
    skip_bad: bool = False,
    progress: bool = False,
) -> tuple[EmbeddedTracks, dict[str, str]]:
    """Embed labelled files, continuing a cache that was cut off.

    Parameters
    ----------
    cache : EmbeddingCache
    files : sequence of LabelledFile
    labels : sequence of str
        Names of the classes, in the order of their numbers.
    batch_size : int, optional
        Segments that are encoded together, of one file or of many.
    skip_bad : bool
        Leave out files that cannot be read instead of stopping; the others are in the cache either way.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    EmbeddedTracks
        In the order of the files.
    dict
        Path → what was wrong with it, for the files that were left out.

    Raises
    ------
    ConfigError
        A file's class is not among the labels, or files cannot be read.
    """
    if unknown := {file.label for file in files} - set(labels):
        raise ConfigError(
            f"Class {min(unknown)!r} is not among the classes {', '.join(labels)}; name the folders alike in all splits."
        )
    results = cache.embed([file.path for file in files], batch_size=batch_size, progress=progress)
    failed = {str(file.path): str(result) for file, result in zip(files, results, strict=True) if isinstance(result, Exception)}
    if failed and not skip_bad:
        raise ConfigError(
            f"{len(failed)} of {len(files)} files cannot be read; repair or remove them, or leave them out (skip_bad):\n"
            + "\n".join(f"  {reason}" for reason in list(failed.values())[:SHOWN])
        )
    return stack_tracks(files, results, labels), failed


def stack_tracks(
    files: Sequence[LabelledFile], results: Sequence[TrackEmbedding | PecmaeError | OSError], labels: Sequence[str]
) -> EmbeddedTracks:
    """Put embedded files together; those that hold an error are left out.

    Raises
    ------
    ConfigError
        None is left.
    """
    whole = [(file, track) for file, track in zip(files, results, strict=True) if isinstance(track, TrackEmbedding)]
    if not whole:
        raise ConfigError(f"None of the {len(files)} files could be read; give audio files.")
    counts = [len(track.z) for _, track in whole]
    return EmbeddedTracks(
        torch.cat([track.z for _, track in whole]),
        torch.from_numpy(np.repeat(np.arange(len(whole)), counts)),
        torch.tensor([labels.index(file.label) for file, _ in whole]),
        short_names([file.path for file, _ in whole]),
        torch.from_numpy(np.concatenate([track.offsets / track.sampling_rate for _, track in whole]).astype(np.float32)),
        torch.from_numpy(np.concatenate([track.weights for _, track in whole])),
    )


def short_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """Paths without the folders that all of them lie in; the file names at least."""
    parents = {os.path.abspath(path.parent) for path in paths}  # noqa: PTH100  # resolve() would follow links
    shared = os.path.commonpath(parents) if parents else ""
    return tuple(Path(os.path.abspath(path)).relative_to(shared).as_posix() for path in paths)  # noqa: PTH100
