"""Embeddings with their labels: made of labelled audio, or given as arrays and names.

Shapes: N segments, D width.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pecmae.autoencoder.embedding import embed_tracks
from pecmae.core.progress import progress_bar
from pecmae.data.collection import Collection
from pecmae.data.load import load_collection
from pecmae.data.splits import complete_splits
from pecmae.data.tracks import EmbeddedTracks
from pecmae.errors import ConfigError
from pecmae.interop.encoders import CallableEncoder

Embeddings = Tensor | np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledEmbeddings:
    """What `fit_embeddings` takes, made of labelled audio by `embed_collection`."""

    z: Tensor  # (N, D)
    labels: tuple[str, ...]  # of each segment
    tracks: tuple[str, ...]  # of each segment
    splits: tuple[str, ...]  # of each segment
    offsets: np.ndarray  # (N,) seconds
    audio: Mapping[str, Path]  # of each track
    # Path → what was wrong with it, of files that were left out.
    failed: Mapping[str, str]


def embed_collection(
    encoder: Any, data: str | os.PathLike[str] | Collection, *, seed: int = 0, progress: bool = False
) -> LabelledEmbeddings:
    """Embed labelled audio with any encoder.

    Parameters
    ----------
    encoder : callable
        See `CallableEncoder`; it says its `sampling_rate` and `segment_seconds`.
    data : path or Collection
        As `pecmae.fit` takes it. Splits that are missing are made from the seed.
    seed : int
    progress : bool
        Show a progress bar on standard error.

    Raises
    ------
    ConfigError
        The encoder is none, or no file can be read.
    """
    made = CallableEncoder.of(encoder)
    collection = complete_splits(data if isinstance(data, Collection) else load_collection(data), seed=seed)
    clips = [(split, clip) for split, found in collection.splits.items() for clip in found]
    found = embed_tracks(made, [clip.path for _, clip in clips])
    parts: list[Tensor] = []
    rows: list[tuple[str, str, str, float]] = []
    failed: dict[str, str] = {}
    for (split, clip), track in zip(progress_bar(clips, "embedding", progress), found, strict=True):
        if isinstance(track, Exception):
            failed[str(clip.path)] = str(track)
            continue
        parts.append(track.z)
        rows += [(clip.label, str(clip.path), split, offset / track.sampling_rate) for offset in track.offsets.tolist()]
    if not parts:
        raise ConfigError(f"{collection.name}: none of its {len(clips)} files could be read; give audio files.")
    labels, tracks, splits, offsets = zip(*rows, strict=True)
    return LabelledEmbeddings(
        z=torch.cat(parts),
        labels=labels,
        tracks=tracks,
        splits=splits,
        offsets=np.array(offsets),
        audio={track: Path(track) for track in tracks},
        failed=failed,
    )


def embedded_tracks(
    z: Embeddings,
    labels: Sequence[str],
    classes: Sequence[str],
    *,
    tracks: Sequence[Any] | None = None,
    offsets: Sequence[float] | np.ndarray | None = None,
) -> EmbeddedTracks:
    """Embeddings with names as the record that everything here works on, those of a track together.

    Parameters
    ----------
    z : Tensor or np.ndarray [shape=(N, D)]
    labels : sequence of str [length N]
    classes : sequence of str
        All classes, in the order of their numbers.
    tracks : sequence [length N], optional
        Which track each is of, by any names; by default each is a track of its own.
    offsets : sequence of float [length N], optional
        Where each begins in its track, in seconds.

    Raises
    ------
    ConfigError
        Lengths differ, z is not finite, a class is not known, or segments of one track have different labels.
    """
    values = torch.as_tensor(np.asarray(z)).float() if not isinstance(z, Tensor) else z.detach().cpu().float()
    if values.ndim != 2 or not len(values):
        raise ConfigError(f"z has the shape {tuple(values.shape)}; give one row a segment: (segments, width).")
    if not bool(values.isfinite().all()):
        bad = int((~values.isfinite().all(1)).nonzero()[0, 0])
        raise ConfigError(f"z holds NaN or infinity, first in row {bad}; embed that segment again or leave it out.")
    names = [str(track) for track in (range(len(values)) if tracks is None else tracks)]
    for what, given in (("labels", labels), ("tracks", names), ("offsets", offsets)):
        if given is not None and len(given) != len(values):
            raise ConfigError(f"{len(given)} {what} for {len(values)} embeddings; give one for each.")
    if unknown := sorted({str(label) for label in labels} - set(classes)):
        raise ConfigError(f"{unknown[0]!r} is no class of the model; it has {', '.join(classes)}.")
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    of_rows = np.array([numbers[name] for name in names])
    label_rows = np.array([classes.index(str(label)) for label in labels])
    track_labels = np.zeros(len(numbers), np.int64)
    track_labels[of_rows] = label_rows
    if (differs := np.flatnonzero(track_labels[of_rows] != label_rows)).size:
        raise ConfigError(f"The segments of track {names[differs[0]]!r} have different labels; give each track one.")
    order = np.argsort(of_rows, kind="stable")
    return EmbeddedTracks(
        values[torch.from_numpy(order)],
        torch.from_numpy(of_rows[order]),
        torch.from_numpy(track_labels),
        tuple(numbers),
        None if offsets is None else torch.from_numpy(np.asarray(offsets, np.float32)[order]),
    )
