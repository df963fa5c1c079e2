"""One door to labelled audio: a folder, tables, or a data set known by name."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from pecmae.collection import Collection, from_folder, from_tables, split_tables
from pecmae.datasets import gtzan, medley_solos_db
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
) -> Collection:
    """Describe labelled audio, whatever its layout.

    Parameters
    ----------
    data : path
        A folder `LABEL/…` or `SPLIT/LABEL/…`; a table (.csv, .tsv) of labels and paths; a folder of tables, one for each split;
        or, with `dataset`, the folder that a data set was unpacked to.
    dataset : {"gtzan", "medley-solos-db"}, optional
        A data set in the layout it is distributed in; filtered and split as in the paper.
    root : path, optional
        What the paths of a table are relative to; the table's own folder by default.
    group_by : str, optional
        For folders: "subfolder" where `LABEL/GROUP/…` keeps an artist, album or recording together, or a regular expression
        whose first group is found in the file name.

    Raises
    ------
    FileNotFoundError
        There is no such folder or table.
    ConfigError
        It holds no labelled audio, or a table cannot be read.
    """
    if dataset is not None:
        if dataset not in DATASETS:
            raise ConfigError(f"dataset={dataset!r} is not known; choose one of {', '.join(DATASETS)}, or leave it out.")
        return DATASETS[dataset](data)
    path = Path(data).expanduser()
    if path.is_file():
        return from_tables(path, root=root)
    if path.is_dir() and (tables := split_tables(path)):
        return from_tables(tables, root=root or path)
    return from_folder(path, group_by=group_by)
