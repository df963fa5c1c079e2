"""Tracks that sound alike: nearest neighbours in the space of z, whose common part is taken off first.

Shapes: T tracks, S segments, D width.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pecmae.catalogue.store import Catalogue
from pecmae.errors import ConfigError

# Segments that are compared at a time.
BLOCK = 65_536


@dataclass(frozen=True)
class SimilarTrack:
    """A track and how like the one that was asked for it is."""

    id: str
    path: str
    label: str | None
    # Cosine of the centred embeddings, -1 to 1: strangers lie around 0.
    similarity: float


class TrackEmbeddings:
    """One vector for each track of a catalogue: the mean of its segments by their weights, centred, of length 1.

    Raw cosines say little, for all music has much in common: what is common, the mean over tracks, is taken off.

    Parameters
    ----------
    catalogue : Catalogue
        With embeddings.

    Raises
    ------
    ConfigError
        It has none.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.ids, means = _track_means(catalogue)
        if not len(self.ids):
            raise ConfigError(f"{catalogue.directory}: no track in it has embeddings.")
        self.centre = means.mean(0)
        self.vectors = unit(means - self.centre)  # (T, D)
        self._rows = {name: row for row, name in enumerate(self.ids)}
        table = catalogue.dataset().to_table(["id", "path", "label"]).to_pydict()
        self._facts = {
            name: (path, label) for name, path, label in zip(table["id"], table["path"], table["label"], strict=True)
        }

    def of(self, name: str) -> np.ndarray | None:
        """The vector of a track by id or path [shape=(D,)]; None where it is not there."""
        row = self._rows.get(name)
        if row is None:
            row = next((self._rows[key] for key, (path, _) in self._facts.items() if path == name and key in self._rows), None)
        return None if row is None else self.vectors[row]

    def vector(self, z: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """The vector [shape=(D,)] of a track that is not there, from its z [shape=(S, D)]."""
        return unit(np.average(z, axis=0, weights=weights)[None] - self.centre)[0]

    def nearest(self, vector: np.ndarray, count: int = 10, *, but: str | None = None) -> list[SimilarTrack]:
        """The tracks nearest to a vector [shape=(D,)], the nearest first; `but` leaves out a path. Exact: all are compared."""
        similarity = np.concatenate([self.vectors[start : start + BLOCK] @ vector for start in range(0, len(self.ids), BLOCK)])
        best = np.argpartition(-similarity, min(count + 1, len(similarity)) - 1)[: count + 1]
        found = []
        for row in best[np.argsort(-similarity[best], kind="stable")]:
            path, label = self._facts[self.ids[row]]
            if but not in (path, self.ids[row]):
                found.append(SimilarTrack(self.ids[row], path, label, float(similarity[row])))
        return found[:count]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors [shape=(T, D)] of length 1; those of length 0 stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def similar_tracks(catalogue: Catalogue, track: str, count: int = 10) -> list[SimilarTrack]:
    """The tracks of a catalogue nearest to one of its own, by id or path.

    Raises
    ------
    ConfigError
        The catalogue holds no embeddings, or none of that track.
    """
    embeddings = TrackEmbeddings(catalogue)
    vector = embeddings.of(track)
    if vector is None:
        raise ConfigError(f"{track}: the catalogue {catalogue.directory} holds no such track; give an id or a path of one.")
    return embeddings.nearest(vector, count, but=track)


def _track_means(catalogue: Catalogue) -> tuple[list[str], np.ndarray]:
    """Ids and mean z of all tracks [shape=(T, D)], float32, read block by block."""
    numbers: dict[str, int] = {}
    sums: list[np.ndarray] = []
    worth: list[float] = []
    for names, z, weights in _blocks(catalogue):
        for name in names:
            if name not in numbers:
                numbers[name] = len(numbers)
                sums.append(np.zeros(z.shape[1], np.float32))
                worth.append(0.0)
        rows = np.array([numbers[name] for name in names])
        starts = np.flatnonzero(np.append(True, rows[1:] != rows[:-1]))  # segments of a track lie together
        added, total = np.add.reduceat(z * weights[:, None], starts), np.add.reduceat(weights, starts)
        for row, vector, weight in zip(rows[starts], added, total, strict=True):
            sums[row] += vector
            worth[row] += float(weight)
    if not sums:
        return [], np.zeros((0, catalogue.facts.embedding_dim), np.float32)
    means = np.stack(sums) / np.maximum(np.array(worth, np.float32), 1e-9)[:, None]
    return list(numbers), means


def _blocks(catalogue: Catalogue) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
    """Ids, z and weights of some segments; where all of a track are silent they count alike."""
    for batch in catalogue.dataset("embeddings").to_batches(columns=["id", "z", "weight"], batch_size=BLOCK):
        if batch.num_rows:
            flat = batch.column("z")
            z = np.asarray(pa.compute.list_flatten(flat)).reshape(batch.num_rows, -1).astype(np.float32)
            weights = np.maximum(np.asarray(batch.column("weight"), np.float32), 1e-6)
            yield batch.column("id").to_pylist(), z, weights
