"""One door to labelled audio: a folder, tables, or a data set known by name."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from pecmae.data.collection import Collection, similar_labels
from pecmae.data.folders import from_folder
from pecmae.data.gtzan import gtzan
from pecmae.data.medley_solos_db import medley_solos_db
from pecmae.data.tables import find_tables, from_tables
from pecmae.errors import ConfigError

DATASETS: Mapping[str, Callable[[str | os.PathLike[str]], Collection]] = {
    "gtzan": gtzan,
    "medley-solos-db": medley_solos_db,
}


def load_collection(
    data: str | os.PathLike[str],
    *,
    dataset: str | None = None,
    root: str | os.PathLike[str] | None = None,
    group_by: str | None = None,
    layout: str | None = None,
) -> Collection:
    """Describe labelled audio, whatever its layout.

    Parameters
    ----------
    data : path
        A folder `LABEL/…` or `SPLIT/LABEL/…`, see `pecmae.data.folders.from_folder`; a table of labels and paths, see
        `pecmae.data.tables.from_tables`; a folder of tables, one for each split, or with the Hub's metadata; or, with
        `dataset`, the folder that a data set was unpacked to.
    dataset : {"gtzan", "medley-solos-db"}, optional
        A data set in the layout it is distributed in; filtered and split as in the paper.
    root : path, optional
        What the paths of a table are relative to; the table's own folder by default.
    group_by, layout : str, optional
        For folders, see `pecmae.data.folders.from_folder`. A table says groups in a column.

    Raises
    ------
    FileNotFoundError
        There is no such folder or table.
    ConfigError
        It holds no labelled audio, a table cannot be read, or an option would have no effect.
    """
    path = Path(data).expanduser()
    for_tables: dict[str, object] = {"root": root}
    for_folders: dict[str, object] = {"group_by": group_by, "layout": layout}
    if dataset is not None:
        if dataset not in DATASETS:
            raise ConfigError(f"dataset={dataset!r} is not known; choose one of {', '.join(DATASETS)}, or leave it out.")
        _refuse(for_tables | for_folders, f"{path}: {dataset} has its own layout, splits and groups")
        found = DATASETS[dataset](path)
    elif tables := path if path.is_file() else find_tables(path) if path.is_dir() else None:
        _refuse(for_folders, f"{path}: a table says splits and groups in columns such as 'split' and 'artist'")
        found = from_tables(tables, root=root)
    else:
        _refuse(for_tables, f"{path}: there is no table whose paths could be relative to something")
        found = from_folder(path, group_by=group_by, layout=layout)
    same = similar_labels(found.labels)
    notes = [f"{found.name}: the classes {' and '.join(map(repr, labels))} are taken for different ones." for labels in same]
    return replace(found, notes=(*found.notes, *notes))


def _refuse(options: Mapping[str, object], why: str) -> None:
    """Refuse options that would have no effect."""
    if given := [f"{name}={value!r}" for name, value in options.items() if value is not None]:
        raise ConfigError(f"{why}; {given[0]} has no effect, leave it out.")
