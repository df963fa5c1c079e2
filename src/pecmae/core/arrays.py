"""Arrays on disk that are filled in order: a filling that was cut off continues."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pecmae.core.progress import progress_bar


class AppendableArray:
    """A two-level array on disk that is filled item by item and survives being cut off.

    Item i is a run of rows of one shape; an index line is written after its rows are, so rows without a line are discarded.

    Parameters
    ----------
    folder : Path
        Made when missing.
    row_shape : tuple of int
        Shape of a row; () for samples.
    dtype : str
        NumPy dtype of the file.
    """

    def __init__(self, folder: Path, row_shape: tuple[int, ...], dtype: str) -> None:
        self.folder, self.row_shape, self.dtype = folder, row_shape, np.dtype(dtype)
        self.row_bytes = self.dtype.itemsize * int(np.prod(row_shape, dtype=np.int64))
        folder.mkdir(parents=True, exist_ok=True)
        self.index_path, self.data_path = folder / "index.jsonl", folder / "data.bin"
        text = self.index_path.read_text() if self.index_path.exists() else ""
        self.counts = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def fill(self, items: Iterator[np.ndarray]) -> None:
        """Append the items that are missing; `items` starts at the first missing one."""
        with self.data_path.open("ab") as data, self.index_path.open("w") as index:
            data.truncate(sum(self.counts) * self.row_bytes)
            index.writelines(f"{count}\n" for count in self.counts)
            for item in items:
                data.write(np.ascontiguousarray(item, dtype=self.dtype).tobytes())
                data.flush()
                index.write(f"{len(item)}\n")
                index.flush()
                self.counts.append(len(item))

    @property
    def starts(self) -> np.ndarray:
        """First row of every item, and the number of rows (N + 1,)."""
        return np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])

    def rows(self) -> np.ndarray:
        """All rows as a read-only memory map (rows, *row_shape)."""
        return np.memmap(self.data_path, self.dtype, "r", shape=(sum(self.counts), *self.row_shape))


def _key(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def cached_rows(
    folder: str | os.PathLike[str],
    name: str,
    key: object,
    count: int,
    compute: Callable[[int, int], np.ndarray],
    *,
    row_shape: tuple[int, ...],
    dtype: str,
    batch_size: int = 32,
    progress: bool = False,
) -> np.ndarray:
    """Rows that a frozen model computes, once, into a memory map.

    Parameters
    ----------
    folder, name : path, str
        The cache lives in `folder/name-KEY`.
    key : JSON-able
        All that the rows depend on: the data's key, a hash of the weights, segment settings.
    count : int
        Rows in all.
    compute : callable
        `compute(start, stop)` → rows (stop − start, *row_shape).
    row_shape, dtype : tuple, str
        Of the rows on disk.
    batch_size : int
        Rows a call.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    np.ndarray
        (count, *row_shape), a read-only memory map.
    """
    array = AppendableArray(Path(folder) / f"{name}-{_key([key, count, row_shape, dtype, batch_size])}", row_shape, dtype)
    starts = range(sum(array.counts), count, batch_size)
    if len(starts):
        array.fill(compute(start, min(start + batch_size, count)) for start in progress_bar(starts, name, progress))
    return array.rows()
