"""Which files a model was trained, validated and tested on, known by their content: evaluation asks it instead of guessing."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pecmae.core.files import atomic_write, content_hash
from pecmae.data.collection import Clip, Collection
from pecmae.data.folders import listed
from pecmae.errors import CheckpointError, ConfigError
from pecmae.hub.resolve import SPLITS_FILE

FORMAT_VERSION = 1
ALL = "all"
# In the order in which a file of several splits counts: what was trained on is known to the model, whatever else it is.
_COUNTS_FIRST = ("train", "validation", "calibration", "test")


@dataclass(frozen=True)
class SplitRecord:
    """SHA-256 of the files of each split."""

    splits: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, collection: Collection) -> Self:
        """The splits of a collection whose files exist."""
        return cls({split: frozenset(content_hash(clip.path) for clip in clips) for split, clips in collection.splits.items()})

    def split_of(self, clip: Clip) -> str | None:
        """The split that a file of this content was in; None where it was in none, or is not there."""
        if not clip.path.is_file():
            return None
        digest = content_hash(clip.path)
        order = sorted(
            self.splits, key=lambda split: _COUNTS_FIRST.index(split) if split in _COUNTS_FIRST else len(_COUNTS_FIRST)
        )
        return next((split for split in order if digest in self.splits[split]), None)

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write it into a model's directory, whole or not at all; returns the file."""
        path = Path(directory) / SPLITS_FILE
        values = {"format_version": FORMAT_VERSION, "splits": {split: sorted(found) for split, found in self.splits.items()}}
        with atomic_write(path) as partial:
            partial.write_text(json.dumps(values, indent=0) + "\n")
        return path

    @classmethod
    def load(cls, directory: str | os.PathLike[str] | None) -> "SplitRecord | None":
        """Read it from a model's directory; None where there is none, or no directory.

        Raises
        ------
        CheckpointError
            It is damaged, or of a newer version.
        """
        if directory is None or not (path := Path(directory) / SPLITS_FILE).is_file():
            return None
        try:
            values = json.loads(path.read_text())
            version, splits = values["format_version"], values["splits"]
            if version > FORMAT_VERSION:
                raise CheckpointError(f"{path}: format version {version} is newer than this pecmae reads; upgrade it.")
            return cls({str(split): frozenset(map(str, found)) for split, found in splits.items()})
        except CheckpointError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"{path}: cannot be read ({error}); fit the model again, or delete the file.") from None


@dataclass(frozen=True)
class ChosenClips:
    """What a model is measured on."""

    clips: tuple[Clip, ...]
    # Of a collection's clips those that the model was trained on, if there is a record.
    training: tuple[Clip, ...]
    # Sentences on clips that were left out or that the model knows.
    notes: tuple[str, ...] = ()


def choose_clips(collection: Collection, split: str, record: SplitRecord | None) -> ChosenClips:
    """The clips of a split that a model can be measured on; splits are taken from the model's record and never made anew.

    Parameters
    ----------
    collection : Collection
        As it was loaded, with the splits that it has of its own.
    split : str
        "train", "validation", "test", a further split of the collection, or "all".
    record : SplitRecord, optional
        Of the model.

    Raises
    ------
    ConfigError
        There are no such clips: neither the collection nor the record says which they are.
    """
    name, splits = collection.name, collection.splits
    recorded = {clip: record.split_of(clip) for clip in collection.clips} if record is not None else {}
    given = set(splits) != {"train"}  # where a collection has no splits of its own, all of it is in "train"
    trained = tuple(clip for clip, found in recorded.items() if found == "train")
    if record is None and given:
        trained = splits.get("train", ())
    if split == ALL:
        return ChosenClips(collection.clips, trained, _seen(name, collection.clips, recorded, left_out=False))
    if split in splits and given:
        wanted = splits[split]
        kept = tuple(clip for clip in wanted if recorded.get(clip) in (None, split))
        if not kept:
            raise ConfigError(f"{name}: the model was fitted on all clips of {split!r}; take clips that it has not seen.")
        left_out = {clip: recorded[clip] for clip in wanted if clip not in set(kept)}
        return ChosenClips(kept, trained, _seen(name, wanted, left_out, left_out=True))
    if record is None:
        has = f"it has {', '.join(splits)}" if given else "nor does the model say which clips it was fitted on"
        raise ConfigError(f"{name}: there is no split {split!r}; {has}. Use --split all to measure on all of it.")
    kept = tuple(clip for clip, found in recorded.items() if found == split)
    unknown = [clip.path for clip in splits.get("train", ()) if recorded[clip] is None]
    if not kept:
        raise ConfigError(
            f"{name}: none of its {len(recorded)} clips was in the split {split!r} of the model's data, {len(unknown)} were in "
            "none of its splits; use --split all to measure on all."
        )
    told = f"{name}: {len(unknown)} of {len(recorded)} clips were in none of the model's splits, they are left out"
    return ChosenClips(kept, trained, (f"{told} ({listed(unknown)}).",) if unknown else ())


def _seen(name: str, clips: tuple[Clip, ...], recorded: Mapping[Clip, str | None], *, left_out: bool) -> tuple[str, ...]:
    """Sentences on clips that the model was fitted on."""
    seen = [clip.path for clip in clips if recorded.get(clip) in ("train", "validation", "calibration")]
    if not seen:
        return ()
    then = "they are left out" if left_out else "figures on them say little about others"
    return (f"{name}: {len(seen)} of {len(clips)} clips were seen in training ({listed(seen)}); {then}.",)
