"""What a model's directory may hold beyond its weights: how its prototypes lie among the training segments.

Shapes: N training segments, D width, C classes, M prototypes, E sampled embeddings, n nearest segments of each prototype.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pecmae.core.configs import FORMAT_VERSION, config_from_dict, model_sha256, read_json_config
from pecmae.core.files import atomic_write
from pecmae.core.weights import WEIGHTS_FILE, same_weights
from pecmae.errors import CheckpointError, ConfigError
from pecmae.hub.resolve import COMPANION_FILE
from pecmae.prototypes.config import PrototypeHeadConfig
from pecmae.prototypes.head import PrototypeHead
from pecmae.prototypes.measures import NAMED, NEIGHBOURS, nearest_segments, segment_distances

COMPANION_VERSION = 1
# Of distances, seconds and counts.
LARGEST_VALUE = 1e12

_ARRAYS = (
    *("nearest_track", "nearest_label", "nearest_offset", "nearest_distance"),
    *("wins", "sample_z", "sample_labels"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Neighbours:
    """Training segments as the prototypes see them."""

    # Names of the tracks that `nearest_track` points to.
    track_names: tuple[str, ...]
    # The training segments nearest to each prototype, the nearest first [shape=(M, n)]: track (index into track_names),
    # class, first second in the track, and distance as the head measures it.
    nearest_track: np.ndarray
    nearest_label: np.ndarray
    nearest_offset: np.ndarray
    nearest_distance: np.ndarray
    # Training segments that each prototype is the closest of all to [shape=(M,)].
    wins: np.ndarray
    # Some training embeddings [shape=(E, D), float16] and their classes [shape=(E,)].
    sample_z: np.ndarray
    sample_labels: np.ndarray
    # Training segments in all, N.
    num_segments: int

    def nearest(self, prototype: int, count: int = NAMED) -> list[dict[str, Any]]:
        """The training segments nearest to a prototype: track, label (class number), offset (s), distance."""
        return [
            {
                "track": self.track_names[int(self.nearest_track[prototype, rank])],
                "label": int(self.nearest_label[prototype, rank]),
                "offset": float(self.nearest_offset[prototype, rank]),
                "distance": float(self.nearest_distance[prototype, rank]),
            }
            for rank in range(min(count, self.nearest_track.shape[1]))
        ]

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write it into the directory of the model it belongs to, whole or not at all; returns the file."""
        from safetensors.numpy import save

        directory = Path(directory)
        metadata = {
            "format_version": str(COMPANION_VERSION),
            "model_sha256": model_sha256(directory),
            "num_segments": str(self.num_segments),
            "track_names": json.dumps(list(self.track_names)),
        }
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        with atomic_write(directory / COMPANION_FILE) as partial:
            # save_file would make a file that only its owner may read.
            partial.write_bytes(save(arrays, metadata))
        return directory / COMPANION_FILE

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> "Neighbours | None":
        """Read it from a model's directory; None where there is none.

        Raises
        ------
        CheckpointError
            It is damaged, of a newer version, or describes other weights than those in the directory.
        """
        from safetensors import SafetensorError, safe_open

        path = Path(directory) / COMPANION_FILE
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                version = int(metadata["format_version"])
                if version > COMPANION_VERSION:
                    raise CheckpointError(f"{path}: format version {version} is newer than this pecmae reads; upgrade it.")
                arrays = {name: file.get_tensor(name) for name in _ARRAYS}
                names, count = json.loads(metadata["track_names"]), int(metadata["num_segments"])
        except CheckpointError:
            raise
        except (SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
            raise CheckpointError(f"{path}: cannot be read ({error}); write it again or delete it.") from None
        config = read_json_config(Path(directory) / "config.json", format_version=FORMAT_VERSION)
        if metadata.get("model_sha256") != config.get("sha256", {}).get(WEIGHTS_FILE):
            raise CheckpointError(f"{path}: describes other weights than those beside it; write it again or delete it.")
        head = config_from_dict(PrototypeHeadConfig, config.get("head", {}), f"{directory}: head")
        if wrong := _what_is_wrong(arrays, names, count, head):
            raise CheckpointError(f"{path}: {wrong}; write it again or delete it.")
        return cls(track_names=tuple(names), num_segments=count, **arrays)


def _what_is_wrong(arrays: Mapping[str, np.ndarray], names: Any, count: int, head: PrototypeHeadConfig) -> str | None:
    """Why arrays do not describe the segments around the prototypes of a head, if they do not."""
    nearest, embedded = arrays["nearest_track"].shape, arrays["sample_z"].shape
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return "track_names is no list of names"
    if len(nearest) != 2 or len(embedded) != 2:
        return f"nearest_track has the shape {nearest} and sample_z {embedded}"
    shapes = {
        **{name: (head.num_prototypes, nearest[1]) for name in _ARRAYS if name.startswith("nearest_")},
        "wins": (head.num_prototypes,),
        "sample_z": (embedded[0], head.embedding_dim),
        "sample_labels": (embedded[0],),
    }
    # The smallest value that each may hold, and the largest.
    most = {"nearest_track": len(names) - 1, "nearest_label": head.num_classes - 1, "sample_labels": head.num_classes - 1}
    for name, array in arrays.items():
        whole = name in most or name == "wins"
        if array.shape != shapes[name] or array.dtype.kind not in ("iu" if whole else "f"):
            return f"{name} has the shape {array.shape} and the type {array.dtype}, not {shapes[name]}"
        least = -LARGEST_VALUE if name == "sample_z" else 0
        if array.size and not (float(array.min()) >= least and float(array.max()) <= most.get(name, LARGEST_VALUE)):  # NaN too
            return f"{name} holds values that cannot be"
    if count < 0 or int(arrays["wins"].sum()) > max(count, 0):
        return f"num_segments is {count}"
    return None


def carry_neighbours(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> bool:
    """Copy a model's neighbours into a directory where the same head was saved, in whatever precision.

    Parameters
    ----------
    source, target : path
        Model directories with `config.json` and `model.safetensors`.

    Returns
    -------
    bool
        Whether there is one that describes the head in `target`, up to the rounding of the coarser of the two stored types.
    """
    source, target = Path(source), Path(target)
    if not (source / COMPANION_FILE).is_file():
        return False
    if model_sha256(source) == model_sha256(target):
        shutil.copyfile(source / COMPANION_FILE, target / COMPANION_FILE)
        return True
    same = same_weights(source / WEIGHTS_FILE, target / WEIGHTS_FILE)
    neighbours = Neighbours.load(source) if same else None
    if neighbours is not None:
        neighbours.save(target)
    return neighbours is not None


@torch.no_grad()
def describe_neighbours(
    head: PrototypeHead,
    z: torch.Tensor,
    tracks: torch.Tensor,
    track_names: Sequence[str],
    track_labels: torch.Tensor,
    *,
    segment_seconds: float,
    offsets: torch.Tensor | None = None,
    nearest: int = NEIGHBOURS,
    sample: int = 500,
    seed: int = 0,
) -> Neighbours:
    """Describe the training data as a model's prototypes see it.

    Parameters
    ----------
    head : PrototypeHead
    z : Tensor [shape=(N, D)]
        Embeddings of the training segments, those of a track in order (as `pecmae.data.tracks.EmbeddedTracks` holds them).
    tracks : Tensor [shape=(N,), int64]
        Number of the track that each is of.
    track_names : sequence of str
        What people should read; stored with the model.
    track_labels : Tensor [shape=(tracks,), int64]
        Class numbers.
    segment_seconds : float
        Length of a segment.
    offsets : Tensor [shape=(N,)], optional
        Where each segment begins in its track, in seconds; by default those of a track follow each other without a gap.
    nearest : int
        Training segments to name for each prototype, each of another track.
    sample : int
        Embeddings to store, drawn at random.
    seed : int
        Of that draw.

    Raises
    ------
    ConfigError
        Shapes do not fit each other.
    """
    if len(z) != len(tracks) or len(track_names) != len(track_labels) or not len(z) or int(tracks.max()) >= len(track_names):
        raise ConfigError(
            f"{len(z)} embeddings, {len(tracks)} track numbers, {len(track_names)} names and {len(track_labels)} labels "
            "do not belong together; give one number a segment, and one name and label a track."
        )
    distances = segment_distances(head, z)  # (N, M)
    labels = track_labels[tracks]  # (N,)
    rows = nearest_segments(distances, tracks, nearest)  # (M, n)
    smallest = distances.gather(0, rows.T).T  # (M, n)
    used, renumbered = torch.unique(tracks[rows], return_inverse=True)
    if offsets is None:
        offsets = _places(tracks) * segment_seconds
    chosen = np.sort(np.random.default_rng(seed).permutation(len(z))[:sample])
    return Neighbours(
        track_names=tuple(str(track_names[index]) for index in used.tolist()),
        nearest_track=renumbered.numpy().astype(np.int32),
        nearest_label=labels[rows].numpy().astype(np.int32),
        nearest_offset=offsets[rows].numpy().astype(np.float32),
        nearest_distance=smallest.numpy().astype(np.float32),
        wins=torch.bincount(distances.argmin(1), minlength=distances.shape[1]).numpy(),
        sample_z=z[chosen].cpu().numpy().astype(np.float16),
        sample_labels=labels[chosen].numpy().astype(np.int32),
        num_segments=len(z),
    )


def _places(tracks: torch.Tensor) -> torch.Tensor:
    """How many segments of the same track stand before each [shape=(N,)]."""
    order = torch.argsort(tracks, stable=True)
    counts = torch.bincount(tracks)
    starts = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    places = torch.empty_like(tracks)
    places[order] = torch.arange(len(tracks)) - starts
    return places
