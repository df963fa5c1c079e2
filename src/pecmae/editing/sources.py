"""Labelled tracks to measure edits on: from a collection, or from what a model's directory keeps of its training data.

Shapes: E kept embeddings, M prototypes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch

from pecmae.core.files import cache_root
from pecmae.data.collection import Collection
from pecmae.data.embedding_cache import EmbeddingCache
from pecmae.data.splits import complete_splits
from pecmae.data.tracks import EmbeddedTracks, embed_files
from pecmae.editing.draft import Draft
from pecmae.errors import ConfigError
from pecmae.model import PECMAE
from pecmae.prototypes.neighbours import Neighbours, describe_neighbours


@dataclass(frozen=True, eq=False)
class Tracks:
    """Labelled tracks for an editor."""

    # What edits are measured on.
    measured: EmbeddedTracks
    # What the model learned from: linear layers are fitted on it, and choices are made by it. None: not known.
    training: EmbeddedTracks | None = None
    # Where they come from, in a sentence for people.
    about: str = ""
    # Path → what was wrong with it.
    failed: Mapping[str, str] | None = None
    # Files of the measured tracks, in their order; none: only z is known.
    paths: tuple[Path, ...] = ()
    kept: Neighbours | None = None

    @classmethod
    def of_collection(cls, model: PECMAE, collection: Collection, *, progress: bool = False) -> Self:
        """Tracks of a collection: measured on its validation split, with training from "train".

        A collection without a validation split is divided as `fit` divides it; z is cached.

        Raises
        ------
        ConfigError
            A class is none of the model's, or no file can be read.
        """
        if not collection.splits.get("validation") and collection.splits.get("train"):
            collection = complete_splits(collection)
        split = next((name for name in ("validation", "test", "train") if collection.splits.get(name)), None)
        if split is None:
            raise ConfigError(f"{collection.name}: there are no clips to measure edits on; give labelled audio.")
        cache = EmbeddingCache(cache_root() / "embeddings", model.autoencoder, model.preparation)
        clips = collection.splits[split]
        measured, failed = embed_files(cache, clips, model.labels, skip_bad=True, progress=progress)
        training, about = None, f"the {len(measured.track_labels)} tracks of {collection.name}'s {split} split"
        if split != "train" and collection.splits.get("train"):
            train = collection.splits["train"]
            training, more = embed_files(cache, train, model.labels, skip_bad=True, progress=progress)
            training, failed = training.whole(), failed | more
        paths = tuple(clip.path for clip in clips if str(clip.path) not in failed)
        return cls(measured, training, about, failed, paths)

    @classmethod
    def of_model(cls, model: PECMAE) -> Self:
        """The training segments whose z the model's directory keeps: every second one to measure on, the others to fit on.

        The model has seen all of them: what is measured is how an edit changes answers, not how good they are for new audio.

        Raises
        ------
        ConfigError
            It keeps none.
        """
        kept = None if model.directory is None else Neighbours.load(model.directory)
        if kept is None or len(kept.sample_z) < 2:
            raise ConfigError("The model's directory keeps none of its training data; give labelled audio.")
        halves = [_segments(kept, np.arange(start, len(kept.sample_z), 2)) for start in (0, 1)]
        about = f"{len(halves[0].z)} training segments that the model keeps (it has seen them: for new audio it is less right)"
        return cls(halves[0], halves[1], about, kept=kept)

    def describe(self, draft: Draft, original: Draft, segment_seconds: float) -> Neighbours:
        """How an edited head's prototypes lie among the training segments, or the measured ones if those are all."""
        head = draft.head()
        if self.kept is None:
            tracks = self.measured if self.training is None else self.training
            names = tracks.names or tuple(map(str, range(len(tracks.track_labels))))
            return describe_neighbours(
                head, tracks.z, tracks.tracks, names, tracks.track_labels,
                segment_seconds=segment_seconds, offsets=tracks.offsets,
            )  # fmt: skip
        tracks = _segments(self.kept, np.arange(len(self.kept.sample_z)))
        found = describe_neighbours(
            head, tracks.z, tracks.tracks, tracks.names, tracks.track_labels, segment_seconds=segment_seconds
        )
        return _with_known(found, self.kept, draft, original)


def _segments(kept: Neighbours, rows: np.ndarray) -> EmbeddedTracks:
    """Some of the kept segments, each as a track of its own."""
    return EmbeddedTracks(
        torch.from_numpy(kept.sample_z[rows].astype(np.float32)),
        torch.arange(len(rows)),
        torch.from_numpy(kept.sample_labels[rows].astype(np.int64)),
        tuple(f"training segment {row + 1}" for row in rows),
    )


def _with_known(found: Neighbours, kept: Neighbours, draft: Draft, original: Draft) -> Neighbours:
    """Neighbours with the nearest segments that are known, by name, of prototypes that stand where they stood."""
    count = min(found.nearest_track.shape[1], kept.nearest_track.shape[1])
    rows = [original.ids.index(number) if number in original.ids else -1 for number in draft.ids]
    same = [row >= 0 and np.array_equal(original.prototypes[row], draft.prototypes[m]) for m, row in enumerate(rows)]
    new, old = np.flatnonzero(same), np.array(rows)[np.flatnonzero(same)]
    arrays = {}
    for name in ("nearest_track", "nearest_label", "nearest_offset", "nearest_distance"):
        values = getattr(found, name)[:, :count].copy()
        shift = len(found.track_names) if name == "nearest_track" else 0
        values[new] = getattr(kept, name)[old, :count] + shift
        arrays[name] = values
    return replace(found, track_names=found.track_names + kept.track_names, **arrays)
