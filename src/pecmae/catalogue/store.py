"""A catalogue on disk: Parquet files in folders that pandas, DuckDB, polars and Hugging Face's datasets open as they are.

A part is up to three files of one name, in `tracks/`, `segments/` and `embeddings/`, each written whole; the one in `tracks/`
comes last and makes it count. What was written of a part that was cut off before is removed by the next writer.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from pecmae.catalogue.schema import SCHEMA_VERSION, SEGMENTS, TRACKS, Rows, as_table, embeddings_schema
from pecmae.core.configs import read_json
from pecmae.core.files import atomic_write, user_path
from pecmae.errors import ConfigError

if TYPE_CHECKING:
    import pandas

FACTS_FILE = "_catalogue.json"
TABLES = ("tracks", "segments", "embeddings")
WHAT = ("labels", "reasons", "embeddings")


@dataclass(frozen=True, kw_only=True)
class CatalogueFacts:
    """What all parts of a catalogue share: `_catalogue.json`."""

    model: str  # as it was asked for
    model_sha256: str
    labels: tuple[str, ...]
    what: tuple[str, ...]
    embedding_dim: int
    version: str  # of pecmae, when it was begun

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "schema_version": SCHEMA_VERSION,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "labels": list(self.labels),
            "what": list(self.what),
            "embedding_dim": self.embedding_dim,
            "version": self.version,
        }

    def same_as(self, other: "CatalogueFacts") -> str | None:
        """Why rows of the other cannot stand beside rows of this one; None where they can."""
        if self.model_sha256 != other.model_sha256:
            return f"the model {other.model}"
        if set(self.what) != set(other.what):
            return f"--what {','.join(other.what)}"
        return None


class Catalogue:
    """A catalogue that is there.

    Parameters
    ----------
    directory : path

    Raises
    ------
    ConfigError
        The folder holds none, or one of a newer version.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = user_path(directory)
        path = self.directory / FACTS_FILE
        if not path.is_file():
            raise ConfigError(f"{directory}: this is no catalogue ({FACTS_FILE} is missing); give the folder of one.")
        values = read_json(path, "restore it, or make the catalogue again.")
        try:
            if values["schema_version"] > SCHEMA_VERSION:
                raise ConfigError(f"{path}: written by a newer pecmae; upgrade it.")
            self.facts = CatalogueFacts(
                model=values["model"],
                model_sha256=values["model_sha256"],
                labels=tuple(values["labels"]),
                what=tuple(values["what"]),
                embedding_dim=values["embedding_dim"],
                version=values["version"],
            )
        except (KeyError, TypeError) as error:
            raise ConfigError(f"{path}: cannot be read ({error}); make the catalogue again.") from None

    def dataset(self, table: str = "tracks") -> ds.Dataset:
        """One of `TABLES` as Arrow has it, read when it is asked; of the parts that are whole.

        Raises
        ------
        ConfigError
            The catalogue holds no such table.
        """
        if table not in TABLES or (table != "tracks" and _NEEDED[table] not in self.facts.what):
            raise ConfigError(f"{self.directory}: holds no {table}; make it with --what {_NEEDED.get(table, 'labels')}.")
        paths = [str(self.directory / table / part) for part in self.parts()]
        return ds.dataset([path for path in paths if Path(path).is_file()], schema=self.schema(table), format="parquet")

    def schema(self, table: str) -> pa.Schema:
        """Columns of a table."""
        return {"tracks": TRACKS, "segments": SEGMENTS}.get(table) or embeddings_schema(self.facts.embedding_dim)

    def to_arrow(self, table: str = "tracks") -> pa.Table:
        """All of a table in memory."""
        return self.dataset(table).to_table()

    def to_pandas(self, table: str = "tracks") -> "pandas.DataFrame":
        """All of a table as a frame."""
        return self.to_arrow(table).to_pandas()

    def parts(self) -> list[str]:
        """Names of the parts that are whole."""
        return sorted(path.name for path in (self.directory / "tracks").glob("*.parquet"))

    def errors(self) -> list[tuple[str, str]]:
        """Path of each track that failed, and what was wrong with it."""
        found = self.dataset().to_table(["path", "error"], filter=pc.field("error").is_valid())
        return list(zip(found["path"].to_pylist(), found["error"].to_pylist(), strict=True))

    def __len__(self) -> int:
        return int(self.dataset().count_rows())

    def __repr__(self) -> str:
        return f"Catalogue: {len(self)} tracks in {self.directory}, by {self.facts.model}"


_NEEDED = {"segments": "reasons", "embeddings": "embeddings"}


@dataclass(frozen=True)
class Known:
    """What a catalogue knows of a track."""

    size: int | None
    modified: int | None
    failed: bool


class CatalogueWriter:
    """Adds parts to a catalogue, which is begun where there is none; one at a time.

    Parameters
    ----------
    directory : path
    facts : CatalogueFacts

    Raises
    ------
    ConfigError
        There is a catalogue of another model or of other settings.
    """

    def __init__(self, directory: str | os.PathLike[str], facts: CatalogueFacts) -> None:
        self.directory, self.facts = user_path(directory), facts
        if (self.directory / FACTS_FILE).is_file():
            before = Catalogue(self.directory).facts
            if other := facts.same_as(before):
                raise ConfigError(f"{directory}: the catalogue there is of {other}; go on with that, or choose another folder.")
        else:
            self.directory.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.directory / FACTS_FILE) as partial:
                partial.write_text(json.dumps(facts.to_dict(), indent=1) + "\n", encoding="utf-8")
        for table in TABLES:
            (self.directory / table).mkdir(exist_ok=True)
        self._catalogue = Catalogue(self.directory)
        whole = set(self._catalogue.parts())
        for table in TABLES:
            for path in (self.directory / table).iterdir():
                if path.name not in whole:
                    path.unlink()

    def known(self) -> dict[str, Known]:
        """By id, all tracks that are there."""
        found = self._catalogue.dataset().to_table(["id", "size", "modified", "error"]).to_pydict()
        columns = zip(found["id"], found["size"], found["modified"], found["error"], strict=True)
        return {name: Known(size, modified, error is not None) for name, size, modified, error in columns}

    def write(self, rows: Rows) -> None:
        """Add a part, whole or not at all."""
        if rows.get("tracks"):
            self._write_part(
                f"{uuid4().hex}.parquet", {name: as_table(found, self._schema(name)) for name, found in rows.items()}
            )

    def remove(self, ids: Iterable[str]) -> None:
        """Take tracks out, with all that belongs to them."""
        gone = pa.array(sorted(set(ids)), pa.string())
        for part in self._catalogue.parts() if len(gone) else ():
            tables = {table: path for table in TABLES if (path := self.directory / table / part).is_file()}
            if not pc.any(pc.is_in(pq.read_table(tables["tracks"], columns=["id"])["id"], gone)).as_py():
                continue
            kept = {}
            for table, path in tables.items():
                found = pq.read_table(path, schema=self._schema(table))
                kept[table] = found.filter(pc.invert(pc.is_in(found["id"], gone)))
            if len(kept["tracks"]):
                self._write_part(part, kept)
            else:
                tables["tracks"].unlink()
                for table in tables.keys() - {"tracks"}:
                    tables[table].unlink()

    def _schema(self, table: str) -> pa.Schema:
        return self._catalogue.schema(table)

    def _write_part(self, part: str, tables: Mapping[str, pa.Table]) -> None:
        for table in reversed(TABLES):  # tracks come last
            if table in tables:
                with atomic_write(self.directory / table / part) as partial:
                    pq.write_table(tables[table], partial, compression="zstd")


def merged(rows: Sequence[Rows]) -> Rows:
    """Rows of many tracks together."""
    names: Iterator[str] = (name for found in rows for name in found)
    return {name: [row for found in rows for row in found.get(name, ())] for name in dict.fromkeys(names)}
