"""A head between two edits: its prototypes where they are compared with audio, and how they speak for classes.

Shapes: D width, C classes, M prototypes, class-major.
"""

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch

from pecmae.core.random_state import kept_random_state
from pecmae.errors import ConfigError
from pecmae.prototypes.config import PrototypeHeadConfig
from pecmae.prototypes.head import PrototypeHead


@dataclass(frozen=True, eq=False)
class Draft:
    """What an edit takes and returns; nothing in it is changed in place.

    The adaptor only matters while a head learns. Here it was applied once, so a prototype can be put wherever one likes.
    """

    labels: tuple[str, ...]
    # Numbers that prototypes keep through all edits [length M]; at first their rows.
    ids: tuple[int, ...]
    next_id: int
    prototypes: np.ndarray  # (M, D) float32, normalised as the head compares them
    prototype_labels: np.ndarray  # (M,) int64
    weight: np.ndarray  # (C, M) float32
    bias: np.ndarray  # (C,) float32
    # Of the head that it began as: distance, kernel, loss and normalisation are not edited.
    config: PrototypeHeadConfig
    mean: float
    std: float

    @classmethod
    @torch.no_grad()
    def of(cls, head: PrototypeHead, labels: Sequence[str]) -> Self:
        """The draft that editing begins with."""
        # In float64: whatever the threads and the machine, the sums round to the same float32.
        exact = copy.deepcopy(head).cpu().double()
        return cls(
            labels=tuple(labels),
            ids=tuple(range(head.config.num_prototypes)),
            next_id=head.config.num_prototypes,
            prototypes=exact.adaptor(exact.prototypes).float().numpy(),
            prototype_labels=exact.prototype_labels.numpy(),
            weight=exact.linear.weight.float().numpy(),
            bias=exact.linear.bias.float().numpy(),
            config=head.config,
            mean=float(head.mean),
            std=float(head.std),
        )

    def head(self) -> PrototypeHead:
        """The head as it stands, without adaptor."""
        counts = tuple(np.bincount(self.prototype_labels, minlength=len(self.labels)).tolist())
        config = replace(self.config, num_classes=len(self.labels), prototypes_per_class=counts, adaptor=False)
        with kept_random_state(), torch.no_grad():
            head = PrototypeHead(config, mean=self.mean, std=self.std)
            head.prototypes.copy_(torch.from_numpy(self.prototypes))
            head.linear.weight.copy_(torch.from_numpy(self.weight))
            head.linear.bias.copy_(torch.from_numpy(self.bias))
        return head.requires_grad_(False).eval()

    def row(self, prototype: int) -> int:
        """Where a prototype stands among all M.

        Raises
        ------
        ConfigError
            There is no prototype of this number, or no more.
        """
        if prototype not in self.ids:
            raise ConfigError(f"There is no prototype {prototype} in this model (any more); see Editor.draft.ids.")
        return self.ids.index(prototype)

    def label_index(self, label: str) -> int:
        """Number of a class.

        Raises
        ------
        ConfigError
            There is no such class.
        """
        if label not in self.labels:
            raise ConfigError(f"{label!r} is not a class of this model; choose from {', '.join(self.labels)}.")
        return self.labels.index(label)

    def name(self, prototype: int) -> str:
        """Class of a prototype and its place within the class, from 1 on, such as "jazz 3"."""
        row = self.row(prototype)
        label = int(self.prototype_labels[row])
        return f"{self.labels[label]} {row - int(np.searchsorted(self.prototype_labels, label)) + 1}"

    def normalised(self, z: np.ndarray) -> np.ndarray:
        """z [shape=(…, D)] of audio as prototypes are kept.

        Raises
        ------
        ConfigError
            It has another width, or holds NaN or infinity.
        """
        z = np.array(z, np.float32)
        width = self.config.embedding_dim
        if z.shape[-1:] != (width,) or not np.isfinite(z).all():
            raise ConfigError(f"z of shape {z.shape} should hold {width} finite numbers; take what model.embed returns.")
        # As the head computes it, in float32.
        return ((torch.from_numpy(z) - self.mean) / (2 * self.std)).numpy()

    def z(self, prototype: int) -> np.ndarray:
        """A prototype in z's own space [shape=(D,)], ready to be decoded."""
        return (torch.from_numpy(self.prototypes[self.row(prototype)]) * (2 * self.std) + self.mean).numpy()

    def without(self, row: int) -> Self:
        """The draft without a prototype.

        Raises
        ------
        ConfigError
            It is the last one of its class.
        """
        label = self.prototype_labels[row]
        if (self.prototype_labels == label).sum() == 1:
            raise ConfigError(f"{self.labels[label]!r} has no other prototype; a class needs one. Add another one first.")
        return replace(
            self,
            ids=self.ids[:row] + self.ids[row + 1 :],
            prototypes=np.delete(self.prototypes, row, 0),
            prototype_labels=np.delete(self.prototype_labels, row),
            weight=np.delete(self.weight, row, 1),
        )

    def with_prototype(self, prototype: int, position: np.ndarray, label: int, column: np.ndarray) -> Self:
        """The draft with one more prototype, the last of its class.

        Parameters
        ----------
        prototype : int
            Its number, which no other has.
        position : np.ndarray [shape=(D,)]
            Normalised.
        label : int
        column : np.ndarray [shape=(C,)]
            What it speaks for each class.
        """
        row = int(np.searchsorted(self.prototype_labels, label, side="right"))
        return replace(
            self,
            ids=(*self.ids[:row], prototype, *self.ids[row:]),
            next_id=max(self.next_id, prototype + 1),
            prototypes=np.insert(self.prototypes, row, position, 0),
            prototype_labels=np.insert(self.prototype_labels, row, label),
            weight=np.insert(self.weight, row, column, 1),
        )

    @property
    def digest(self) -> str:
        """A hash of all that it answers by."""
        config = self.config
        choices = [config.distance_reduction, config.kernel_scale, config.classification_loss, config.temperature]
        facts = [self.labels, choices, self.mean, self.std, self.ids, self.prototype_labels.tolist()]
        digest = hashlib.sha256(json.dumps(facts).encode())
        for array in (self.prototypes, self.weight, self.bias):
            digest.update(np.ascontiguousarray(array, "<f4").tobytes())
        return digest.hexdigest()
