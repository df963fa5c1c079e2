"""Prototypes over any embeddings: from z and labels to a model, in one call.

Shapes: N segments, S segments of a track, D width.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch

from pecmae.audio.preparation import PREPARED, Survey
from pecmae.audio.segments import iter_segments
from pecmae.core.options import refuse_unknown
from pecmae.data.collection import Clip, Collection
from pecmae.data.split_names import SPLITS
from pecmae.data.splits import CALIBRATION, CALIBRATION_SHARE, complete_splits, hold_out_calibration
from pecmae.data.tracks import EmbeddedTracks
from pecmae.errors import AudioError, ConfigError
from pecmae.interop.embedding_model import EmbeddingModel
from pecmae.interop.encoders import CallableEncoder
from pecmae.interop.labelled_embeddings import Embeddings, embedded_tracks
from pecmae.prototypes.calibration import MINIMUM_TRACKS, calibrate
from pecmae.prototypes.example_sounds import KEPT, ExampleSounds
from pecmae.prototypes.fitting import HEAD_SETTINGS, HeadFit, HeadOptions, fit_head
from pecmae.prototypes.head import PrototypeHead
from pecmae.prototypes.neighbours import Neighbours, describe_neighbours
from pecmae.training.settings import TrainingSettings

# Fewer steps than for `pecmae.fit`: embeddings are often wide, and validation chooses the best head anyway.
EMBEDDING_SETTINGS = replace(HEAD_SETTINGS, steps=1000)
# Of audio that stands for embeddings whose encoder nobody gave.
AUDIO_RATE = 24_000


def fit_embeddings(
    z: Embeddings,
    labels: Sequence[str],
    *,
    tracks: Sequence[Any] | None = None,
    splits: Sequence[str] | None = None,
    audio: Mapping[Any, str | os.PathLike[str]] | Sequence[str | os.PathLike[str]] | None = None,
    offsets: Sequence[float] | np.ndarray | None = None,
    encoder: Any = None,
    sampling_rate: int | None = None,
    segment_seconds: float | None = None,
    head: HeadFit | None = None,
    settings: TrainingSettings = EMBEDDING_SETTINGS,
    calibration_share: float = CALIBRATION_SHARE,
    progress: bool = False,
    **options: Unpack[HeadOptions],
) -> EmbeddingModel:
    """Fit prototypes to embeddings that any model made.

    Parameters
    ----------
    z : Tensor or np.ndarray [shape=(N, D)]
        A row for each segment, of whatever model: MERT, CLAP, MAEST, a table of features. Of features on very different scales,
        standardise the columns first.
    labels : sequence of str [length N]
    tracks : sequence [length N], optional
        Which track each segment is of, by any names: a track is in one split and gets one answer. By default each segment is
        one.
    splits : sequence of str [length N], optional
        "train", "validation", "calibration", "test" of each; what is in test is not touched. Without it, some tracks of each
        class are held out for validation and, where there are enough, calibration.
    audio : mapping of track to path, or sequence of path [length N], optional
        The recordings, so that prototypes can be heard by the training segments nearest to them.
    offsets : sequence of float [length N], optional
        Where each segment begins in its recording, in seconds; by default those of a track follow each other.
    encoder : callable, optional
        What made z, so that the model takes sound; see `pecmae.interop.encoders.CallableEncoder`.
    sampling_rate, segment_seconds : optional
        Of the encoder, where it does not say them itself; with `audio` and no encoder, at which rate and how long segments are
        heard (24 kHz by default; the length has no default).
    head : HeadFit, optional
        What head to make and how to fit it.
    settings : TrainingSettings
    calibration_share : float
        As for `pecmae.fit`.
    progress : bool
        Show progress bars on standard error.
    **options
        Fields of `HeadFit`, in the place of those of `head`.

    Returns
    -------
    EmbeddingModel

    Raises
    ------
    ConfigError
        Something is wrong with the data or with an option.
    TrainingError
        Training diverged.
    TypeError
        There is no such option.
    """
    own = [name for name, found in signature(fit_embeddings).parameters.items() if found.kind is Parameter.KEYWORD_ONLY]
    refuse_unknown("fit_embeddings", options, HeadOptions.__annotations__, own)
    head = (head or HeadFit()).changed(options)
    classes = tuple(sorted({str(label) for label in labels}))
    made = _encoder(encoder, sampling_rate, segment_seconds, audio)
    whole = embedded_tracks(z, labels, classes, tracks=tracks, offsets=offsets)
    if len(classes) < 2:
        raise ConfigError(f"one class alone ({classes[0]!r}); a classifier needs at least two.")
    paths = _paths(audio, whole, tracks)
    parts = _split(whole, classes, splits, tracks, calibration_share, settings.seed)
    train = parts["train"]
    _require_segments(train, classes, head.prototypes_per_class)
    fitted, _ = fit_head(
        train,
        head.config(train.z.shape[1], len(classes)),
        settings,
        validation=parts.get("validation"),
        evaluate_every=min(head.evaluate_every, max(1, settings.steps // 10)),
        class_loss_weight=head.class_loss_weight,
        own_weights=head.own_weights,
        project=head.project,
        refit_penalty=head.refit_penalty,
        progress=progress,
    )
    held_out = parts.get(CALIBRATION)
    enough = held_out is not None and len(held_out.track_labels) >= MINIMUM_TRACKS
    neighbours = describe_neighbours(
        fitted,
        *(train.z, train.tracks, train.names, train.track_labels),
        segment_seconds=1.0 if made is None else made.segment_seconds,
        offsets=train.offsets,
    )
    return EmbeddingModel(
        fitted,
        classes,
        encoder=made,
        calibration=calibrate(fitted, held_out, train) if held_out is not None and enough else None,
        example_sounds=None if made is None or not paths else _example_sounds(fitted, neighbours, paths, made),
        neighbours=neighbours,
    )


def _encoder(encoder: Any, rate: int | None, seconds: float | None, audio: Any) -> CallableEncoder | None:
    if encoder is not None:
        return CallableEncoder.of(encoder, sampling_rate=rate, segment_seconds=seconds)
    if audio is None:
        return None
    if seconds is None:
        raise ConfigError("With audio=… and no encoder, segment_seconds=… says how long a segment is heard; give it.")
    return CallableEncoder(None, sampling_rate=AUDIO_RATE if rate is None else rate, segment_seconds=seconds)


def _paths(audio: Any, whole: EmbeddedTracks, tracks: Sequence[Any] | None) -> dict[str, Path]:
    """The recording of each track, by its name."""
    if audio is None:
        return {}
    if isinstance(audio, Mapping):
        return {str(track): Path(path) for track, path in audio.items()}
    if len(audio) != len(whole.z):
        raise ConfigError(
            f"{len(audio)} paths for {len(whole.z)} embeddings; give one for each, or a mapping of track to path."
        )
    names = map(str, range(len(audio)) if tracks is None else tracks)
    return {name: Path(path) for name, path in zip(names, audio, strict=True)}


def _split(
    whole: EmbeddedTracks,
    classes: tuple[str, ...],
    splits: Sequence[str] | None,
    tracks: Sequence[Any] | None,
    calibration_share: float,
    seed: int,
) -> dict[str, EmbeddedTracks]:
    """Parts of the tracks, by the names of their splits."""
    given = None if splits is None else _given_splits(whole, splits, tracks)
    clips = [Clip(Path(name), classes[label]) for name, label in zip(whole.names, whole.track_labels.tolist(), strict=True)]
    if given is None:
        # Nobody tests here: what is held out chooses the head.
        collection = complete_splits(Collection("embeddings", {"train": tuple(clips)}), test_share=0.0, seed=seed)
    else:
        by_split = {split: tuple(clip for clip, own in zip(clips, given, strict=True) if own == split) for split in set(given)}
        if not by_split.get("train"):
            raise ConfigError(f"splits: no track is in 'train'; there are {', '.join(sorted(by_split))}.")
        collection = Collection("embeddings", by_split)
    collection = hold_out_calibration(collection, calibration_share, at_least=MINIMUM_TRACKS, seed=seed)
    place = {clip.path: split for split, found in collection.splits.items() for clip in found}
    of_tracks = np.array([place[clip.path] for clip in clips])
    return {split: whole.chosen(torch.from_numpy(of_tracks == split)) for split in collection.splits}


def _given_splits(whole: EmbeddedTracks, splits: Sequence[str], tracks: Sequence[Any] | None) -> list[str]:
    """Split of each track, in the order of the tracks."""
    if len(splits) != len(whole.z):
        raise ConfigError(f"{len(splits)} splits for {len(whole.z)} embeddings; give one for each.")
    known = (*SPLITS, CALIBRATION)
    if unknown := sorted(set(splits) - set(known)):
        raise ConfigError(f"splits: {unknown[0]!r} is none; give {', '.join(known)}.")
    names = map(str, range(len(splits)) if tracks is None else tracks)
    found: dict[str, str] = {}
    for name, split in zip(names, splits, strict=True):
        if found.setdefault(name, split) != split:
            raise ConfigError(
                f"The segments of track {name!r} are in {found[name]!r} and {split!r}; give each track one split."
            )
    return [found[name] for name in whole.names]


def _require_segments(train: EmbeddedTracks, classes: tuple[str, ...], prototypes_per_class: int) -> None:
    counts = torch.bincount(train.labels, minlength=len(classes)).tolist()
    for name, count in zip(classes, counts, strict=True):
        if count < prototypes_per_class:
            raise ConfigError(
                f"{name!r} has {count} segments to learn from, fewer than its {prototypes_per_class} prototypes; give more, or "
                "ask for fewer (prototypes_per_class)."
            )


def _example_sounds(
    head: PrototypeHead, neighbours: Neighbours, paths: Mapping[str, Path], encoder: CallableEncoder
) -> ExampleSounds | None:
    """The nearest training segments of each prototype whose recording is at hand."""
    found: dict[int, tuple[np.ndarray, ...]] = {}
    for prototype in range(head.config.num_prototypes):
        kept: list[np.ndarray] = []
        for near in neighbours.nearest(prototype, count=neighbours.nearest_track.shape[1]):
            if len(kept) < KEPT and near["track"] in paths:
                kept.append(_segment_at(paths[near["track"]], near["offset"], encoder))
        if kept:
            found[prototype] = tuple(kept)
    return ExampleSounds(found, encoder.sampling_rate) if found else None


def _segment_at(path: Path, offset: float, encoder: CallableEncoder) -> np.ndarray:
    """The segment that begins nearest to a second of a recording [shape=(samples,)]."""
    survey = Survey(PREPARED, encoder.segment_samples, encoder.sampling_rate)
    best: np.ndarray | None = None
    for segment in iter_segments(
        path, segment_samples=encoder.segment_samples, target_rate=encoder.sampling_rate, survey=survey
    ):
        if best is None or segment.offset / encoder.sampling_rate <= offset + encoder.segment_seconds / 2:
            best = segment.samples[: segment.length].copy()
        else:
            break
    if best is None:  # iter_segments says what is wrong with a file that holds nothing
        raise AudioError(f"{path}: holds no audio.")
    return best
