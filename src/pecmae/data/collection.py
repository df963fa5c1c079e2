"""A labelled audio collection: which file has which label, in which split."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class LabelledFile:
    """An audio file and its class."""

    path: Path
    label: str


@dataclass(frozen=True)
class Clip(LabelledFile):
    """An audio file, its class, and what it must share a split with."""

    # An artist, an album, a recording; None: the clip stands alone.
    group: str | None = None


@dataclass(frozen=True)
class Collection:
    """Labelled clips by split.

    Parameters
    ----------
    name : str
        Of the data, as a model's card should call it.
    splits : mapping
        Split → clips; "train", "validation" and "test" mean what they say. All is in "train" where no split was given.
    description : str
        One sentence for a model's card.
    notes : tuple of str
        Sentences on what was left out, or understood in a way that a reader may not expect.
    """

    name: str
    splits: Mapping[str, tuple[Clip, ...]]
    description: str = ""
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """All classes, sorted."""
        return tuple(sorted({clip.label for clip in self.clips}))

    @property
    def clips(self) -> tuple[Clip, ...]:
        """All clips, split by split."""
        return tuple(clip for clips in self.splits.values() for clip in clips)

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Clips of each class in each split."""
        found = {split: Counter(clip.label for clip in clips) for split, clips in self.splits.items()}
        return {split: {label: count[label] for label in self.labels} for split, count in found.items()}

    def describe(self) -> str:
        """One line for a log."""
        sizes = ", ".join(f"{len(clips)} in {split}" for split, clips in self.splits.items())
        groups = {clip.group for clip in self.clips if clip.group}
        of_groups = f" of {len(groups)} groups" if groups else ""
        return f"{self.name}: {len(self.labels)} classes, {len(self.clips)} clips{of_groups} ({sizes})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "description": self.description,
            "labels": list(self.labels),
            "counts": self.counts,
            "notes": list(self.notes),
        }


def with_splits(collection: Collection, splits: Mapping[str, Sequence[Clip]]) -> Collection:
    """The same collection with other splits."""
    return replace(collection, splits={split: tuple(clips) for split, clips in splits.items()})


def similar_labels(labels: Iterable[str]) -> list[tuple[str, ...]]:
    """Sets of labels that differ by case, white space, hyphens or the way that accents are written alone."""
    found: dict[str, list[str]] = {}
    for label in labels:
        key = re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", label)).strip().casefold()
        found.setdefault(key, []).append(label)
    return [tuple(same) for same in found.values() if len(same) > 1]
