"""A folder of labelled audio, LABEL/… or SPLIT/LABEL/…, with all else that people have in it: nothing is left out unsaid."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pecmae.audio.segments import AUDIO_EXTENSIONS, SYSTEM_FOLDERS, find_audio_files
from pecmae.data.collection import Clip, Collection
from pecmae.data.split_names import SPLITS, name_splits, split_order
from pecmae.errors import ConfigError

LAYOUTS = ("classes", "splits")
# Written by archivers, file servers and systems for themselves.
# Names that number the parts of a cross-validation.
_FOLD = re.compile(r"(cv|folds?|parts?|splits?)[\W_]*\d+", re.IGNORECASE)
# Names that a sentence lists.
SHOWN = 4


@dataclass(frozen=True)
class _Folder:
    """A sub-folder and the audio in it, at any depth."""

    path: Path
    files: tuple[Path, ...]

    @property
    def name(self) -> str:
        return self.path.name

    @cached_property
    def classes(self) -> dict[str, list[Path]]:
        """Sub-folders with their files: the classes, were this a split."""
        found: dict[str, list[Path]] = {}
        for file in self.files:
            if len(parts := file.relative_to(self.path).parts) > 1:
                found.setdefault(parts[0], []).append(file)
        return found

    @property
    def loose(self) -> list[Path]:
        """Files that lie in it directly."""
        return [file for file in self.files if file.parent == self.path]


def from_folder(root: str | os.PathLike[str], *, group_by: str | None = None, layout: str | None = None) -> Collection:
    """Describe a folder with a sub-folder for each class, or for each split.

    Parameters
    ----------
    root : path
        `root/LABEL/…`, where all of it is "train", or `root/SPLIT/LABEL/…` with splits under any of their usual names. A
        further folder beside splits that holds their classes is a split of its own name, used only if it is asked for.
    group_by : str, optional
        "subfolder" where `LABEL/GROUP/…` keeps an artist, album or recording together, or a regular expression whose first
        group is found in the file name.
    layout : {"classes", "splits"}, optional
        How to read folders that can be read as both, such as a class called "train" beside others.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    ConfigError
        It holds no labelled audio, can be read in two ways, or holds nothing that `group_by` finds.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; give a folder with one sub-folder for each class.")
    if layout is not None and layout not in LAYOUTS:
        raise ConfigError(f"layout={layout!r} is not known; choose one of {', '.join(LAYOUTS)}, or leave it out.")
    group = _group_finder(group_by)
    folders, notes = _folders(root)
    parts = _split_folders(root, folders, layout)
    if parts:
        notes += _beside(folders, parts)
        notes += [
            f"{folder.path}: {listed(folder.loose)} in no class folder; left out." for folder in parts.values() if folder.loose
        ]
        classes = {split: folder.classes for split, folder in sorted(parts.items(), key=lambda item: split_order(item[0]))}
        bases = {split: folder.path for split, folder in parts.items()}
    else:
        notes += [f"{root}: {name!r} is taken for a class, not for a split." for name in name_splits(f.name for f in folders)]
        classes, bases = {"train": {folder.name: list(folder.files) for folder in folders}}, {"train": root}
    if not any(classes.values()):
        raise ConfigError(f"{root}: no audio files in class folders; expected {root}/LABEL/*.wav or {root}/train/LABEL/*.wav.")
    splits = {
        split: tuple(
            Clip(file, label, group(file.relative_to(bases[split] / label))) for label, files in found.items() for file in files
        )
        for split, found in classes.items()
    }
    if group_by is not None:
        notes += _group_notes(root, group_by, [clip for clips in splits.values() for clip in clips])
    return Collection(root.resolve().name, splits, notes=tuple(notes))


def listed(items: Iterable[str | Path]) -> str:
    """The first of some files or folders for a sentence, and how many more there are."""
    names = [item.name if isinstance(item, Path) else item for item in items]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _folders(root: Path) -> tuple[list[_Folder], list[str]]:
    """Sub-folders that hold audio, and sentences about the others and about audio beside them."""
    folders, notes, loose = [], [], []
    for child in sorted(path for path in root.iterdir() if not path.name.startswith(".")):
        if not child.is_dir():
            loose += [child] if child.suffix.lower() in AUDIO_EXTENSIONS else []
        elif child.name.casefold() in SYSTEM_FOLDERS:
            continue
        elif _is_output(child):
            notes.append(f"{child}: holds a run or a model of pecmae's; passed over.")
        elif files := _audio_below(child):
            folders.append(_Folder(child, files))
        else:
            notes.append(f"{child}: holds no audio files; it is taken for no class.")
    if loose:
        notes.append(f"{root}: {listed(loose)} in no class folder; left out.")
    if folders and all(_FOLD.fullmatch(folder.name) for folder in folders):
        raise ConfigError(
            f"{root}: {listed(folder.path for folder in folders)} number folds and are no classes; give a table of "
            "labels, paths and splits instead."
        )
    return folders, notes


def _audio_below(folder: Path) -> tuple[Path, ...]:
    try:
        found = find_audio_files([folder])
    except FileNotFoundError:
        return ()
    parents = {path: path.relative_to(folder).parts[:-1] for path in found}
    return tuple(path for path in found if not any(part.casefold() in SYSTEM_FOLDERS for part in parents[path]))


def _is_output(folder: Path) -> bool:
    """Whether a run or a model was written there."""
    run = (folder / "settings.json").is_file() and (folder / "checkpoints").is_dir()
    return run or any(
        (place / "config.json").is_file() and (place / "model.safetensors").is_file() for place in (folder, folder / "model")
    )


def _split_folders(root: Path, folders: Sequence[_Folder], layout: str | None) -> dict[str, _Folder]:
    """Split → folder; empty where the folders are classes.

    Raises
    ------
    ConfigError
        They can be read in two ways, or two folders are for one split.
    """
    meant = name_splits(folder.name for folder in folders)
    if layout == "classes" or not meant:
        if layout == "splits":
            raise ConfigError(f"{root}: layout='splits', but no folder is called train, validation or test; rename them.")
        return {}
    named = [folder for folder in folders if folder.name in meant]
    others = [folder for folder in folders if folder.name not in meant]
    nested = [folder for folder in named if folder.classes]
    if layout is None and others and not nested:
        return {}  # all hold files alone, as classes do
    if layout is None and others and (len(set(meant.values())) == 1 or len(nested) < len(named)):
        raise ConfigError(
            f"{root}: {listed(f.path for f in named)} can be a split (with the classes {listed(nested[0].classes)}) or a class "
            f"beside {listed(f.path for f in others)}; say which with layout='splits' or layout='classes' (--layout)."
        )
    if flat := [folder for folder in named if not folder.classes]:
        raise ConfigError(
            f"{root}: {listed(f.path for f in flat)} is named like a split but holds no class folders; put its files into "
            "folders called after their classes, or say layout='classes' (--layout)."
        )
    found: dict[str, _Folder] = {}
    for folder in named:
        if twin := found.get(meant[folder.name]):
            raise ConfigError(f"{root}: {twin.name} and {folder.name} are both for {meant[folder.name]}; keep one of them.")
        found[meant[folder.name]] = folder
    known = {label for folder in found.values() for label in folder.classes}
    # Beside splits, a folder of the same classes is one more.
    return found | {folder.name: folder for folder in others if folder.classes and known >= set(folder.classes)}


def _beside(folders: Sequence[_Folder], parts: Mapping[str, _Folder]) -> list[str]:
    """Sentences about folders that are none of train, validation and test."""
    notes = [
        f"{folder.path}: is none of train, validation and test; its {len(folder.files)} clip(s) are not used unless the split "
        f"{split!r} is asked for."
        for split, folder in parts.items()
        if split not in SPLITS
    ]
    unused = [folder for folder in folders if folder not in parts.values()]
    return notes + [
        f"{folder.path}: is neither a split nor holds the classes of one; its {len(folder.files)} audio file(s) are left out."
        for folder in unused
    ]


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


def _group_notes(root: Path, group_by: str, clips: Sequence[Clip]) -> list[str]:
    """What `group_by` did not do; an error where it did nothing."""
    alone = [clip.path for clip in clips if not clip.group]
    if len(alone) == len(clips):
        what = (
            "no class folder has sub-folders" if group_by == "subfolder" else f"no file name matches, such as {alone[0].name}"
        )
        raise ConfigError(f"{root}: group_by={group_by!r} finds no group ({what}); correct it or leave it out.")
    if alone:
        return [
            f"{root}: group_by={group_by!r} finds no group for {len(alone)} of {len(clips)} clips, such as {alone[0].name}."
        ]
    if len({clip.group for clip in clips}) == len(clips):
        return [f"{root}: group_by={group_by!r} makes every clip a group of its own, which keeps nothing together."]
    return []
