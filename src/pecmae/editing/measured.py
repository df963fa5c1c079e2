"""Labelled tracks that drafts are measured on; what did not change between two drafts is not computed again.

Shapes: N segments, T tracks, D width, C classes, M prototypes.
"""

import hashlib
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pecmae.data.tracks import EmbeddedTracks
from pecmae.editing.draft import Draft
from pecmae.evaluation.tracks import Evaluation
from pecmae.prototypes.head import scores_of, similarities_of, squared_distances
from pecmae.prototypes.measures import BATCH


@dataclass(eq=False)
class Measured:
    """Tracks and their similarities to every prototype that they met.

    A similarity depends on a position alone. So an edit costs as many columns as it moves prototypes, and the logits of tracks
    are one small product: averaging over segments and the linear layer can change places.
    """

    tracks: EmbeddedTracks
    # By a hash of the position: similarities of the segments (N,), and their averages over tracks (T,).
    _of_segments: dict[bytes, Tensor] = field(default_factory=dict)
    _of_tracks: dict[bytes, Tensor] = field(default_factory=dict)
    _normalised: Tensor | None = None

    @torch.no_grad()
    def similarities(self, draft: Draft) -> Tensor:
        """Of the segments to each prototype [shape=(N, M)]."""
        keys = self._computed(draft)
        return torch.stack([self._of_segments[key] for key in keys], 1)

    @torch.no_grad()
    def averages(self, draft: Draft) -> Tensor:
        """Of the tracks to each prototype [shape=(T, M)]."""
        keys = self._computed(draft)
        return torch.stack([self._of_tracks[key] for key in keys], 1)

    def evaluate(self, draft: Draft) -> Evaluation:
        """What the draft answers for the tracks."""
        logits = self.averages(draft) @ torch.from_numpy(draft.weight).T + torch.from_numpy(draft.bias)  # (T, C)
        predicted = logits.argmax(1)
        scores = scores_of(logits, draft.config).gather(1, predicted[:, None])[:, 0]
        names = self.tracks.names or tuple(map(str, range(len(logits))))
        true = self.tracks.track_labels.numpy()
        return Evaluation(draft.labels, names, true, predicted.numpy(), scores.numpy(), {})

    def _computed(self, draft: Draft) -> list[bytes]:
        keys = [hashlib.blake2b(position.tobytes(), digest_size=16).digest() for position in draft.prototypes]
        missing = {key: row for row, key in enumerate(keys) if key not in self._of_tracks}
        if missing:
            similarities = self._compared(draft, draft.prototypes[list(missing.values())])  # (N, new)
            averages = self.tracks.average(similarities)  # (T, new)
            for column, key in enumerate(missing):
                self._of_segments[key] = similarities[:, column].contiguous()
                self._of_tracks[key] = averages[:, column].contiguous()
        return keys

    @torch.no_grad()
    def _compared(self, draft: Draft, positions: np.ndarray) -> Tensor:
        """Similarities of the segments to some positions [shape=(N, new)]."""
        if self._normalised is None:  # of all drafts the same
            self._normalised = torch.from_numpy(draft.normalised(self.tracks.z.float().cpu().numpy()))
        distances = [
            squared_distances(part, torch.from_numpy(positions), draft.config) for part in self._normalised.split(BATCH)
        ]
        return similarities_of(torch.cat(distances), draft.config)
