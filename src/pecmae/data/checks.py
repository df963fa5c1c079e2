"""What is wrong with a collection, found before any work: one report of missing, unreadable, repeated and misplaced clips."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from pecmae.audio.segments import iter_segments
from pecmae.core.files import content_hash
from pecmae.core.progress import progress_bar
from pecmae.data.collection import Clip, Collection, with_splits
from pecmae.data.splits import complete_splits
from pecmae.errors import ConfigError, PecmaeError

# A class with fewer training clips than this is named.
MINIMUM_CLIPS = 2
# Entries of one kind that a report prints; the JSON has all.
SHOWN = 8
# What is decoded of a file to see whether it can be read: its first block.
PROBE_SAMPLES, PROBE_RATE = 8000, 8000
# Where a clip that lies in two splits stays: learning from a test clip is worse than learning from one clip less.
_KEPT_FIRST = ("test", "validation", "train")


@dataclass(frozen=True)
class CollectionReport:
    """What `check_collection` found; every list is empty for a collection that is as it should be."""

    collection: Collection
    # Files that are listed but not there.
    missing: tuple[Path, ...] = ()
    # File → why it cannot be read.
    unreadable: dict[Path, str] = field(default_factory=dict)
    # Files of the same content within a split, or listed twice.
    duplicates: tuple[tuple[Path, ...], ...] = ()
    # Files of the same content in several splits.
    shared: tuple[tuple[Path, ...], ...] = ()
    # Files of the same content with different labels.
    conflicts: tuple[tuple[Path, ...], ...] = ()
    # Group → the splits it lies in, where there is more than one.
    crossing_groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # Class → clips to train on, where there are too few.
    small_classes: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        files = self.missing, self.unreadable, self.duplicates, self.shared, self.conflicts
        return not any((*files, self.crossing_groups, self.small_classes))

    def __str__(self) -> str:
        if self.ok:
            return "\n".join([f"{self.collection.describe()}. Nothing is wrong with it.", *self.collection.notes])
        groups = [f"{group}: {', '.join(splits)}" for group, splits in self.crossing_groups.items()]
        classes = [f"{label}: {count}" for label, count in self.small_classes.items()]
        parts = [
            _section("missing", "file(s) that are listed but do not exist", [str(path) for path in self.missing]),
            _section("unreadable", "file(s) that cannot be read", [*self.unreadable.values()]),
            _section("duplicates", "set(s) of files with the same content", _joined(self.duplicates)),
            _section("shared", "set(s) of files with the same content in different splits", _joined(self.shared)),
            _section("conflicts", "set(s) of files with the same content and different labels", _joined(self.conflicts)),
            _section("groups", "group(s) in more than one split", groups),
            _section("classes", "class(es) with too few clips to train on", classes),
        ]
        return "\n".join([self.collection.describe(), *self.collection.notes, *(part for part in parts if part)])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **self.collection.to_dict(),
            "missing": [str(path) for path in self.missing],
            "unreadable": {str(path): reason for path, reason in self.unreadable.items()},
            "duplicates": [[str(path) for path in paths] for paths in self.duplicates],
            "shared": [[str(path) for path in paths] for paths in self.shared],
            "conflicts": [[str(path) for path in paths] for paths in self.conflicts],
            "crossing_groups": {group: list(splits) for group, splits in self.crossing_groups.items()},
            "small_classes": self.small_classes,
        }

    def usable(self) -> Collection:
        """The collection without the clips that are wrong.

        Of files with the same content one stays, in the test split if one lies there; of those with different labels none. A
        group that lies in several splits stays in one of them, in the test split if it can.
        """
        left_out = {*self.missing, *self.unreadable, *(path for paths in self.conflicts for path in paths)}
        twin = {path: paths[0] for paths in (*self.duplicates, *self.shared) for path in paths}
        kept: dict[str, list[Clip]] = {split: [] for split in self.collection.splits}
        seen: set[Path] = set()
        home: dict[str, str] = {}
        for split in sorted(kept, key=lambda name: _KEPT_FIRST.index(name) if name in _KEPT_FIRST else len(_KEPT_FIRST)):
            for clip in self.collection.splits[split]:
                representative = twin.get(clip.path, clip.path)
                if clip.path in left_out or representative in seen:
                    continue
                if clip.group and home.setdefault(clip.group, split) != split:
                    continue
                seen.add(representative)
                kept[split].append(clip)
        return with_splits(self.collection, kept)

    def require(self) -> Collection:
        """The collection, if nothing is wrong with it.

        Raises
        ------
        ConfigError
            With the whole report.
        """
        if not self.ok:
            raise ConfigError(f"{self}\nCorrect these, or leave the clips in question out (skip_bad, --skip-bad).")
        return self.collection


def _section(title: str, what: str, entries: Sequence[str]) -> str:
    if not entries:
        return ""
    lines = [f"{title}: {len(entries)} {what}", *(f"  {entry}" for entry in entries[:SHOWN])]
    return "\n".join([*lines, f"  … and {len(entries) - SHOWN} more"] if len(entries) > SHOWN else lines)


def _joined(sets: Iterable[Sequence[Path]]) -> list[str]:
    return [" = ".join(map(str, paths)) for paths in sets]


def check_collection(collection: Collection, *, minimum_clips: int = MINIMUM_CLIPS, progress: bool = False) -> CollectionReport:
    """Look at every file of a collection, without changing anything.

    A file counts as readable when its first block can be decoded; damage further in is found, and named, when it is embedded.

    Parameters
    ----------
    collection : Collection
    minimum_clips : int
        Clips to train on that every class should have.
    progress : bool
        Show a progress bar on standard error.
    """
    missing: list[Path] = []
    unreadable: dict[Path, str] = {}
    by_content: dict[str, list[tuple[str, Clip]]] = {}
    placed = [(split, clip) for split, clips in collection.splits.items() for clip in clips]
    for split, clip in progress_bar(placed, "checking", progress):
        if not clip.path.exists():
            missing.append(clip.path)
        elif reason := _why_unreadable(clip.path):
            unreadable[clip.path] = reason
        else:
            by_content.setdefault(content_hash(clip.path), []).append((split, clip))
    bad = {*missing, *unreadable}
    duplicates, shared, conflicts = _repeated(by_content.values())
    counts = dict.fromkeys(collection.labels, 0)
    for clip in collection.splits.get("train", ()):
        counts[clip.label] += clip.path not in bad
    return CollectionReport(
        collection,
        tuple(dict.fromkeys(missing)),
        unreadable,
        duplicates,
        shared,
        conflicts,
        _crossing(placed),
        {label: count for label, count in counts.items() if count < minimum_clips},
    )


def _why_unreadable(path: Path) -> str:
    try:
        list(islice(iter_segments(path, segment_samples=PROBE_SAMPLES, target_rate=PROBE_RATE), 1))
    except (PecmaeError, OSError) as error:
        return str(error)
    return ""


def _repeated(found: Iterable[list[tuple[str, Clip]]]) -> tuple[tuple[tuple[Path, ...], ...], ...]:
    """Sets of files with the same content: within a split, across splits, with different labels."""
    duplicates, shared, conflicts = [], [], []
    for placed in found:
        if len(placed) < 2:
            continue
        paths = tuple(clip.path for _, clip in placed)
        if len({clip.label for _, clip in placed}) > 1:
            conflicts.append(paths)
        elif len({split for split, _ in placed}) > 1:
            shared.append(paths)
        else:
            duplicates.append(paths)
    return tuple(duplicates), tuple(shared), tuple(conflicts)


def _crossing(placed: Iterable[tuple[str, Clip]]) -> dict[str, tuple[str, ...]]:
    splits: dict[str, dict[str, None]] = {}
    for split, clip in placed:
        if clip.group:
            splits.setdefault(clip.group, {})[split] = None
    return {group: tuple(found) for group, found in splits.items() if len(found) > 1}


def prepare_collection(
    collection: Collection,
    *,
    minimum_clips: int = MINIMUM_CLIPS,
    check: bool = True,
    skip_bad: bool = False,
    seed: int = 0,
    progress: bool = False,
) -> tuple[Collection, CollectionReport]:
    """Check a collection and give it the splits it lacks.

    Parameters
    ----------
    collection : Collection
    minimum_clips : int
        Clips to train on that every class needs.
    check : bool
        Look at the files; without it the report is empty.
    skip_bad : bool
        Leave bad clips out instead of stopping.
    seed : int
        Of the splits.
    progress : bool
        Show a progress bar on standard error.

    Raises
    ------
    ConfigError
        Something is wrong with the collection; the message is the report.
    """
    report = CollectionReport(collection)
    if check:
        report = check_collection(collection, minimum_clips=minimum_clips, progress=progress)
    if not skip_bad:
        return complete_splits(report.require(), seed=seed), report
    usable = report.usable()
    remaining = {label: sum(clip.label == label for clip in usable.splits.get("train", ())) for label in collection.labels}
    if small := {label: count for label, count in remaining.items() if count < minimum_clips}:
        few = f"{', '.join(small)} have fewer than {minimum_clips} clips left"
        raise ConfigError(f"{report}\nWithout the bad clips {few}; add some, or take the class out.")
    return complete_splits(usable, seed=seed), report
