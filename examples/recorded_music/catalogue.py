"""The catalogue: which tracks there are, whose they are, which style they are in, and which split each belongs to."""

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeVar

from pecmae.core.files import atomic_write
from pecmae.errors import PecmaeError

__all__ = [
    "CATALOGUE",
    "SPLITS",
    "CatalogueError",
    "Track",
    "attribution",
    "check_splits",
    "read_catalogue",
    "read_rows",
    "write_catalogue",
]

CATALOGUE = Path(__file__).with_name("catalogue.csv")
SPLITS = ("train", "validation", "test")

Row = TypeVar("Row")


class CatalogueError(PecmaeError):
    """A table cannot be read, or its splits share a package or an artist."""


@dataclass(frozen=True)
class Track:
    """One track of a package."""

    # Debian package that holds it, and the path inside; what lies in a zip archive there is ARCHIVE!/PATH.
    package: str
    source: str
    seconds: float
    # The file's own tags; empty where it has none.
    artist: str
    title: str
    genre_tag: str
    # What MusiCNN hears (`recorded_music.styles`), and how many times as likely as the next of the styles; none: it is sure.
    heard: str
    clearness: float | None
    # Short name, from the package's copyright file.
    licence: str
    split: str

    @property
    def path(self) -> Path:
        """Where its decoded sound lies below the output folder: SPLIT/PACKAGE/PATH.wav, PATH being that below /usr/share."""
        inside = Path(self.source.replace("!/", "/"))
        return Path(self.split, self.package, *inside.parts[2:]).with_suffix(".wav")


def read_rows(kind: type[Row], path: Path) -> list[Row]:
    """Read a table into dataclasses, a column for each field.

    Raises
    ------
    CatalogueError
        A column is missing, or a number is none.
    """
    columns = fields(kind)  # type: ignore[arg-type]
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if missing := [column.name for column in columns if column.name not in (reader.fieldnames or ())]:
            raise CatalogueError(f"{path}: the column {missing[0]!r} is missing; restore the table.")
        rows = list(reader)
    try:
        return [kind(**{column.name: _value(row[column.name], column.type) for column in columns}) for row in rows]
    except ValueError as error:
        raise CatalogueError(f"{path}: {error}; restore the table.") from None


def _value(cell: str, kind: object) -> str | float | None:
    if kind is str:
        return cell
    return None if cell == "" and kind is not float else float(cell)


def read_catalogue(path: Path = CATALOGUE) -> list[Track]:
    """Read a catalogue, ``catalogue.csv`` beside this file by default.

    Raises
    ------
    CatalogueError
        It cannot be read, or `check_splits` refuses it.
    """
    tracks = read_rows(Track, path)
    for track in tracks:
        if track.split not in SPLITS:
            raise CatalogueError(f"{path}: {track.source} has the split {track.split!r}; it is one of {', '.join(SPLITS)}.")
    check_splits(tracks)
    return tracks


def write_catalogue(tracks: Iterable[Track], path: Path) -> None:
    """Write tracks as a table, with the `path` of each one's decoded sound as its first column."""
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["path", *(field.name for field in fields(Track))], lineterminator="\n")
        writer.writeheader()
        writer.writerows({"path": track.path.as_posix(), **asdict(track)} for track in tracks)


def check_splits(tracks: Iterable[Track]) -> None:
    """Refuse tracks of which two splits share a package or an artist.

    Raises
    ------
    CatalogueError
        Naming what is shared, and by which splits.
    """
    homes: dict[tuple[str, str], str] = {}
    for track in tracks:
        artist = " ".join(track.artist.casefold().split())
        for kind, name in (("package", track.package), ("artist", artist)):
            if name and homes.setdefault((kind, name), track.split) != track.split:
                raise CatalogueError(f"The {kind} {name} stands in {homes[kind, name]} and in {track.split}; one split only.")


def attribution(tracks: Iterable[Track]) -> str:
    """Whose the music is and under which licences it stands, package by package, in Markdown."""
    packages: dict[str, list[Track]] = {}
    for track in tracks:
        packages.setdefault(track.package, []).append(track)
    rows = []
    for name, found in sorted(packages.items()):
        licences, artists = _listed(track.licence for track in found), _listed(track.artist for track in found)
        rows.append(f"| `{name}` | {len(found)} | {licences} | {artists} |")
    return "\n".join(
        [
            "# Whose music it is",
            "",
            "Each Debian package says in its copyright file who holds the rights; the artists here are those that the files'",
            "own tags name. `catalogue.csv` has the licence of every track.",
            "",
            "| package | tracks | licences | artists |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _listed(names: Iterable[str]) -> str:
    """Different names, each once."""
    found = sorted({" ".join(name.split()) for name in names if name.strip()}, key=str.casefold)
    return ", ".join(found).replace("|", "\\|") or "see the package"
