"""A labelled audio collection: which file has which label, in which split; from a folder, from tables, or a known data set."""

import csv
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pecmae.audio import AUDIO_EXTENSIONS
from pecmae.data import SPLITS, LabelledFile, find_labelled_files
from pecmae.errors import ConfigError

# What splits are called elsewhere.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
TABLE_EXTENSIONS = (".csv", ".tsv", ".txt")
# Columns that can say what must not be in two splits; the first that a table has is used.
GROUP_COLUMNS = ("group", "artist", "album", "recording", "song_id")
PATH_COLUMNS = ("path", "file", "filename")


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
    """

    name: str
    splits: Mapping[str, tuple[Clip, ...]]
    description: str = ""

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
        return f"{self.name}: {len(self.labels)} classes, {len(self.clips)} clips ({sizes})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"name": self.name, "description": self.description, "labels": list(self.labels), "counts": self.counts}


def from_folder(root: str | os.PathLike[str], *, group_by: str | None = None) -> Collection:
    """A folder with a sub-folder for each class, or for each split; parameters and errors as for `load_collection`."""
    root = Path(root)
    group = _group_finder(group_by)
    found = find_labelled_files(root)
    has_splits = list(found) != ["train"] or (root / "train").is_dir()
    splits = {}
    for split, files in found.items():
        base = root / split if has_splits else root
        splits[split] = tuple(Clip(f.path, f.label, group(f.path.relative_to(base / f.label))) for f in files)
    return Collection(root.resolve().name, splits)


def _group_finder(group_by: str | None) -> Callable[[Path], str | None]:
    """From a path inside its class folder to the clip's group."""
    if group_by is None:
        return lambda inside: None
    if group_by == "subfolder":
        return lambda inside: inside.parts[0] if len(inside.parts) > 1 else None
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise ConfigError(f"group_by={group_by!r} is no regular expression ({error}); or write subfolder.") from None
    if pattern.groups < 1:
        raise ConfigError(f"group_by={group_by!r} has no group in parentheses; put them around what names the group.")
    return lambda inside: match[1] if (match := pattern.search(inside.name)) else None


def from_tables(
    tables: str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]],
    *,
    root: str | os.PathLike[str] | None = None,
    name: str | None = None,
) -> Collection:
    """Tables of labels and paths.

    Parameters
    ----------
    tables : path, or mapping of split to path
        Tab- or comma-separated. Without a header the columns are label and path, as in the published ground truth; with one,
        "label", "path", and optionally "split" and one of "group", "artist", "album", "recording". A path that names features
        (.npy) stands for the audio file of the same stem.
    root : path, optional
        What paths are relative to; each table's own folder by default.
    name : str, optional
        Of the collection; that of the folder by default.

    Raises
    ------
    FileNotFoundError, ConfigError
        A table is missing, is empty, or has a row that cannot be understood.
    """
    given = tables if isinstance(tables, Mapping) else {"train": tables}
    splits: dict[str, list[Clip]] = {}
    for split, table in given.items():
        table = Path(table).expanduser()
        base = Path(root).expanduser() if root is not None else table.parent
        for row_split, clip in _rows(table, base):
            if row_split and isinstance(tables, Mapping) and row_split != split:
                raise ConfigError(f"{table}: a row says split {row_split!r} but the table is for {split!r}; correct one.")
            splits.setdefault(row_split or split, []).append(clip)
    if not any(splits.values()):
        raise ConfigError(f"{', '.join(map(str, given.values()))}: no rows; expected a label and a path in each.")
    first = Path(next(iter(given.values()))).expanduser()
    order = {split: tuple(splits[split]) for split in sorted(splits, key=split_order)}
    return Collection(name or first.resolve().parent.name, order)


def split_order(split: str) -> tuple[int, str]:
    """A key to sort names of splits by: those of `SPLITS` first, in their order."""
    return (SPLITS.index(split), "") if split in SPLITS else (len(SPLITS), split)


def split_tables(folder: Path) -> dict[str, Path]:
    """Tables of a folder whose names say their split, such as groundtruth_val.tsv; none unless one is for training."""
    found: dict[str, Path] = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in TABLE_EXTENSIONS and not p.name.startswith(".")):
        words = [SPLIT_NAMES[word] for word in re.split(r"[^a-z]+", path.stem.lower()) if word in SPLIT_NAMES]
        if len(words) != 1:
            continue
        if words[0] in found:
            raise ConfigError(f"{folder}: {found[words[0]].name} and {path.name} are both for {words[0]}; keep one of them.")
        found[words[0]] = path
    return found if "train" in found else {}


def _rows(table: Path, base: Path) -> list[tuple[str | None, Clip]]:
    """Split (None where the table does not say) and clip of every row."""
    lines = read_table(table)
    header = [cell.strip().lower() for cell in lines[0]] if lines else []
    if "label" in header and (named := [name for name in PATH_COLUMNS if name in header]):
        label, path = header.index("label"), header.index(named[0])
        split = header.index("split") if "split" in header else None
        group = next((header.index(name) for name in GROUP_COLUMNS if name in header), None)
        first, width = 1, len(header)
    else:
        label, path, split, group, first, width = 0, 1, None, None, 0, 2
    rows = []
    for number, cells in enumerate(lines[first:], first + 1):
        if len(cells) != width or not cells[label].strip() or not cells[path].strip():
            raise ConfigError(
                f"{table}, row {number}: {cells!r} is not a label and a path; write two columns, or a header with "
                "'label' and 'path'."
            )
        group_name = cells[group].strip() or None if group is not None else None
        split_name = cells[split].strip().lower() if split is not None else ""
        clip = Clip(find_listed(base / cells[path].strip()), cells[label].strip(), group_name)
        rows.append((SPLIT_NAMES.get(split_name, split_name) or None, clip))
    return rows


def read_table(table: Path) -> list[list[str]]:
    """Cells of a tab- or comma-separated file; blank lines are left out."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FileNotFoundError(f"{table}: no such table; check the path.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{table}: is not UTF-8 text; save the table as UTF-8.") from None
    lines = [line for line in text.splitlines() if line.strip()]
    delimiter = "\t" if lines and "\t" in lines[0] else ","
    return list(csv.reader(lines, delimiter=delimiter))


def find_listed(path: Path) -> Path:
    """The audio file that a list means: `path`, or the one of its stem where the list names features or another format."""
    if path.exists():
        return path
    for extension in AUDIO_EXTENSIONS:
        if (candidate := path.with_suffix(extension)).exists():
            return candidate
    # The file is reported as missing, under a name that could be audio.
    return path if path.suffix.lower() in AUDIO_EXTENSIONS else path.with_suffix(".wav")


def with_splits(collection: Collection, splits: Mapping[str, Sequence[Clip]]) -> Collection:
    """The same collection with other splits."""
    return replace(collection, splits={split: tuple(clips) for split, clips in splits.items()})
