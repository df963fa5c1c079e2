"""Tables of labels and paths, as people and programs write them: CSV, TSV, JSON Lines, with columns under their usual names."""

import csv
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from pecmae.audio.segments import AUDIO_EXTENSIONS
from pecmae.data.collection import Clip, Collection
from pecmae.data.folders import listed
from pecmae.data.split_names import SPLITS, name_splits, split_order, split_word
from pecmae.errors import ConfigError

TABLE_EXTENSIONS = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson")
JSON_LINES = (".jsonl", ".ndjson")
# A table of this name in a folder of audio describes it (the Hub's audiofolder).
METADATA = ("metadata.csv", "metadata.tsv", "metadata.jsonl")
# What columns are called, the most telling first; the first that a table has is used.
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "genre", "instrument", "species", "target")
PATH_COLUMNS = (
    *("path", "file", "filename", "file_name", "filepath", "file_path", "audio", "audio_path", "audio_file", "slice_file_name"),
    *("wav", "wav_path", "location"),
)
SPLIT_COLUMNS = ("split", "subset", "partition", "fold", "set", "part", "usage")
# What must not be in two splits.
GROUP_COLUMNS = (
    *("group", "group_id", "artist", "artist_id", "artist_name", "performer", "singer", "speaker", "speaker_id", "album"),
    *("album_id", "recording", "recording_id", "session", "song", "song_id"),
)
# Features computed from an audio file of the same stem, as the published lists name them.
FEATURE_EXTENSIONS = (".npy", ".npz", ".pt", ".h5", ".json")
_DELIMITERS = ("\t", ",", ";", "|")


@dataclass(frozen=True)
class Row:
    """One row of a table, with the number of its line as an editor shows it."""

    line: int
    cells: list[str]


@dataclass(frozen=True)
class _Columns:
    """Places of a table's columns, and its rows below the header."""

    label: int
    path: int
    split: int | None
    group: int | None
    width: int
    rows: Sequence[Row]
    notes: tuple[str, ...] = ()


def from_tables(
    tables: str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]],
    *,
    root: str | os.PathLike[str] | None = None,
    name: str | None = None,
) -> Collection:
    """Describe audio by tables of labels and paths.

    Parameters
    ----------
    tables : path, or mapping of split to path
        Values separated by tabs, commas, semicolons or bars, or JSON Lines. Without a header there are two columns, label and
        path in either order; with one, a label (`LABEL_COLUMNS`) and a path (`PATH_COLUMNS`), and optionally a split
        (`SPLIT_COLUMNS`) and a group (`GROUP_COLUMNS`). A path that names features (.npy) stands for the audio file of the
        same stem.
    root : path, optional
        What paths are relative to; each table's own folder by default.
    name : str, optional
        Of the collection; that of the folder by default.

    Raises
    ------
    FileNotFoundError, ConfigError
        A table is missing, is empty, or has a row that cannot be understood.
    """
    given = tables if isinstance(tables, Mapping) else {None: tables}
    splits: dict[str, list[Clip]] = {}
    notes: list[str] = []
    for split, table in given.items():
        table = Path(table).expanduser()
        rows, more = _clips(table, Path(root).expanduser() if root is not None else table.parent)
        notes += more
        for line, row_split, clip in rows:
            if row_split and split and row_split != split:
                raise ConfigError(f"{table}, row {line}: says split {row_split!r} but the table is for {split!r}; correct one.")
            splits.setdefault(row_split or split or "train", []).append(clip)
    if not splits:
        raise ConfigError(f"{', '.join(map(str, given.values()))}: no rows; expected a label and a path in each.")
    first = Path(next(iter(given.values()))).expanduser()
    ordered = {split: tuple(splits[split]) for split in sorted(splits, key=split_order)}
    notes += [
        f"{first}: the split {split!r} is none of train, validation and test; its {len(clips)} clip(s) are not used unless "
        "it is asked for."
        for split, clips in ordered.items()
        if split not in SPLITS
    ]
    return Collection(name or first.resolve().parent.name, ordered, notes=tuple(notes))


def find_tables(folder: Path) -> Path | dict[str, Path] | None:
    """The tables that describe a folder of audio: one for each split, or the Hub's metadata in it or in its splits' folders.

    Raises
    ------
    ConfigError
        Two tables are for one split.
    """
    found = _by_split(folder, {p: word for p in _tables_in(folder) if (word := split_word(p.stem))})
    if "train" in found:
        return found
    if table := _metadata(folder):
        return table
    folders = {path: path.name for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")}
    inside = {split: table for split, path in _by_split(folder, folders).items() if (table := _metadata(path))}
    return inside or None


def _by_split(folder: Path, named: Mapping[Path, str]) -> dict[str, Path]:
    """Split → path, of paths with names that may stand for one."""
    meant = name_splits(named.values())
    found: dict[str, Path] = {}
    for path, name in named.items():
        if not (split := meant.get(name)):
            continue
        if split in found:
            raise ConfigError(f"{folder}: {found[split].name} and {path.name} are both for {split}; keep one of them.")
        found[split] = path
    return found


def _tables_in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in TABLE_EXTENSIONS and not p.name.startswith("."))


def _metadata(folder: Path) -> Path | None:
    """The Hub's table of a folder, if it says labels: it may hold captions alone."""
    for path in (folder / name for name in METADATA):
        if path.is_file() and (rows := read_rows(path)) and not _names(rows[0]).isdisjoint(LABEL_COLUMNS):
            return path
    return None


def _names(header: Row) -> set[str]:
    return set(map(_column, header.cells))


def _column(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().casefold())


def _clips(table: Path, base: Path) -> tuple[list[tuple[int, str | None, Clip]], list[str]]:
    """Line, split (None where the table has no such column) and clip of every row; sentences about the table."""
    rows = read_rows(table)
    if not rows:
        return [], []
    columns = _columns(table, rows, base)
    splits = name_splits(row.cells[columns.split].strip() for row in columns.rows) if columns.split is not None else {}
    found: list[tuple[int, str | None, Clip]] = []
    substituted: list[str] = []
    for row in columns.rows:
        label, path = row.cells[columns.label].strip(), row.cells[columns.path].strip()
        split = None
        if columns.split is not None and not (split := row.cells[columns.split].strip()):
            raise ConfigError(f"{table}, row {row.line}: the split is empty; write train, validation or test.")
        group = row.cells[columns.group].strip() or None if columns.group is not None else None
        audio = find_listed(base, path)
        if audio.suffix.lower() != Path(path).suffix.lower() and Path(path).suffix.lower() in AUDIO_EXTENSIONS:
            substituted.append(f"{Path(path).name} by {audio.name}")
        found.append((row.line, splits.get(split, split.casefold()) if split else None, Clip(audio, label, group)))
    notes = [*columns.notes]
    if substituted:
        notes.append(f"{table}: {len(substituted)} file(s) are there in another format alone: {listed(substituted)}.")
    return found, notes


def _columns(table: Path, rows: Sequence[Row], base: Path) -> _Columns:
    """Find out which column is which, and that every row has them."""
    names = [_column(cell) for cell in rows[0].cells]
    labels = [name for name in LABEL_COLUMNS if name in names]
    paths = [name for name in PATH_COLUMNS if name in names]
    if labels and paths:
        columns = _from_header(table, names, labels[0], paths[0], rows[1:])
    elif labels or paths or _is_header(rows, base):
        lacking = ("path", PATH_COLUMNS) if not paths else ("label", LABEL_COLUMNS)
        raise ConfigError(
            f"{table}: of the columns {', '.join(map(repr, rows[0].cells))} none is called {lacking[0]!r} (or "
            f"{', '.join(lacking[1][1:6])}); rename the one that is."
        )
    else:
        _check_rows(table, rows, 2, (0, 1))
        swapped = _path_comes_first(rows, base)
        columns = _Columns(int(swapped), int(not swapped), None, None, 2, rows)
    _check_rows(table, columns.rows, columns.width, (columns.label, columns.path))
    labelled = [row.cells[columns.label] for row in columns.rows]
    listed_paths = [row.cells[columns.path] for row in columns.rows]
    if columns.rows and all(map(_is_file, labelled)) and not any(map(_is_file, listed_paths)):
        raise ConfigError(f"{table}: the labels are names of files and the paths are not; swap the two columns.")
    return columns


def _from_header(table: Path, names: list[str], label: str, path: str, rows: Sequence[Row]) -> _Columns:
    named = [name for name in names if name]
    if repeated := sorted({name for name in named if named.count(name) > 1}):
        raise ConfigError(f"{table}: the column {repeated[0]!r} is there more than once; keep one of them.")
    whole = [row for row in rows if len(row.cells) == len(names)]  # others are refused with their number
    split = _split_column(table, names, whole)
    group = next((name for name in GROUP_COLUMNS if name in names), None)
    used = {"label": label, "path": path, "split": split, "group": group}
    unread = [name for name in named if name not in used.values()]
    notes = [f"{role} from {name!r}" for role, name in used.items() if name and name != role]
    notes += [f"not read: {', '.join(map(repr, unread))}"] if unread else []
    places = {role: names.index(name) for role, name in used.items() if name}
    return _Columns(
        places["label"], places["path"], places.get("split"), places.get("group"), len(names), rows,
        (f"{table}: {'; '.join(notes)}.",) if notes else (),
    )  # fmt: skip


def _split_column(table: Path, names: list[str], rows: Sequence[Row]) -> str | None:
    """The column that says splits: it is called so, and its cells are names of splits."""
    candidates = [name for name in SPLIT_COLUMNS if name in names]
    cells = {name: {row.cells[names.index(name)].strip() for row in rows} for name in candidates}
    telling = [name for name in candidates if name_splits(cells[name])]
    if len(telling) > 1:
        raise ConfigError(f"{table}: the columns {telling[0]!r} and {telling[1]!r} both say splits; keep one of them.")
    if telling or not candidates:
        return telling[0] if telling else None
    name = candidates[0]
    raise ConfigError(
        f"{table}: the column {name!r} says {listed(sorted(cells[name]))}, not which of them train and which test; write "
        "train, validation and test in a column 'split', or take the column out."
    )


def _check_rows(table: Path, rows: Sequence[Row], width: int, needed: Sequence[int]) -> None:
    for row in rows:
        if len(row.cells) != width or not all(row.cells[place].strip() for place in needed):
            raise ConfigError(
                f"{table}, row {row.line}: {row.cells!r} is not a label and a path; write two columns, or a header with "
                "'label' and 'path'."
            )


def _is_file(cell: str) -> bool:
    """Whether it is called like a file of audio or of its features."""
    return Path(cell.strip()).suffix.lower() in (*AUDIO_EXTENSIONS, *FEATURE_EXTENSIONS)


def _is_header(rows: Sequence[Row], base: Path) -> bool:
    """Whether a column of files does not begin with one."""
    below = any(all(map(_is_file, column)) for column in zip(*(row.cells for row in rows[1:]), strict=False))
    return below and not any(_is_file(cell) or find_listed(base, cell).is_file() for cell in rows[0].cells)


def _path_comes_first(rows: Sequence[Row], base: Path) -> bool:
    """Whether the first of two columns holds the paths; where names do not tell, what exists does."""
    first, second = ([row.cells[place].strip() for row in rows] for place in (0, 1))
    called = [all(map(_is_file, cells)) for cells in (first, second)]
    if any(called):
        return called == [True, False]
    there = [all(find_listed(base, cell).is_file() for cell in cells) for cells in (first, second)]
    return there == [True, False]


def read_rows(table: Path) -> list[Row]:
    """Rows of a table of text; those without any cell are left out. Of JSON Lines, the first row is the header.

    Raises
    ------
    FileNotFoundError, ConfigError
        There is no such table, or it is no table of text.
    """
    try:
        text = table.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FileNotFoundError(f"{table}: no such table; check the path.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{table}: is not UTF-8 text; save the table as UTF-8.") from None
    if table.suffix.lower() in JSON_LINES or text.lstrip().startswith("{"):
        return _json_lines(table, text)
    if text.lstrip().startswith(("[{", "[\n")) or table.suffix.lower() == ".json":
        raise ConfigError(f"{table}: is one JSON value; write JSON Lines (an object a line, .jsonl) or a table (.csv).")
    return _separated(table, text)


def _separated(table: Path, text: str) -> list[Row]:
    """Rows of values with a delimiter: the first with which the first row has several cells and all others as many."""
    try:
        read = {delimiter: _parse(text, delimiter) for delimiter in _DELIMITERS if delimiter in text}
    except csv.Error as error:
        raise ConfigError(f"{table}: cannot be read as a table ({error}); check its quotes.") from None
    several = [rows for rows in read.values() if rows and len(rows[0].cells) > 1]
    even = [rows for rows in several if len({len(row.cells) for row in rows}) == 1]
    return next(iter([*even, *several, *read.values()]), None) or _parse(text, ",")


def _parse(text: str, delimiter: str) -> list[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows, line = [], 1
    for cells in reader:
        if any(cell.strip() for cell in cells):
            rows.append(Row(line, cells))
        line = reader.line_num + 1  # of the next row: cells may hold line breaks
    return rows


def _json_lines(table: Path, text: str) -> list[Row]:
    objects: list[tuple[int, dict[str, str]]] = []
    for line, part in enumerate(text.split("\n"), 1):
        if not part.strip():
            continue
        try:
            values = json.loads(part)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{table}, row {line}: is no JSON object ({error}); write one a line.") from None
        if not isinstance(values, dict):
            raise ConfigError(f"{table}, row {line}: is no JSON object; write one a line.")
        # A label or path that is a list or an object is none: it is refused as an empty cell.
        cells = {name: str(value) if isinstance(value, str | int | float) else "" for name, value in values.items()}
        objects.append((line, cells))
    if not objects:
        return []
    names = list(dict.fromkeys(name for _, values in objects for name in values))
    return [Row(0, names), *(Row(line, [values.get(name, "") for name in names]) for line, values in objects)]


def find_listed(base: Path, listed_path: str) -> Path:
    """The audio file that a list means, relative to `base`.

    It is the file of that name, with Windows' backslashes too. Where there is none, a name of features or of audio stands for
    the audio file of the same stem, and a name without such an extension for the file that it begins.
    """
    path = base / listed_path
    if not path.exists() and "\\" in listed_path:
        path = base.joinpath(*PureWindowsPath(listed_path).parts)
    if path.exists():
        return path
    suffix = path.suffix.lower()
    stem = path.with_suffix("") if suffix in AUDIO_EXTENSIONS or suffix in FEATURE_EXTENSIONS else path
    for extension in AUDIO_EXTENSIONS:
        if (candidate := stem.with_name(stem.name + extension)).exists():
            return candidate
    # The file is reported as missing, under a name that could be audio.
    return path if suffix in AUDIO_EXTENSIONS else stem.with_name(f"{stem.name}.wav")
