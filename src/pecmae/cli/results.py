"""Rows of labelled files as text, one after the other: a table, CSV, JSON or JSON Lines."""

import csv
import io
import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from rich.cells import cell_len
from rich.table import Table

from pecmae.cli import console
from pecmae.core.files import without_nan
from pecmae.core.tables import spreadsheet_cell

Layout = Literal["table", "csv", "json", "jsonl"]
Row = Mapping[str, Any]  # `path` with `Prediction.to_dict()`, or `path` and `error`

# What the name of a file asks for.
SUFFIXES: dict[str, Layout] = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".txt": "table"}

_TOP_OF_TABLE = 3
_SCORE, _LENGTH = 5, 9  # characters of "0.92" and "12345.6 s", with one to spare
_LEAST_FILE, _GAP = 16, 2


def layout_of(output: Path | None, asked: Layout | None) -> Layout:
    """What is asked for by an option, or by the suffix of the file; a table on standard output.

    Raises
    ------
    ValueError
        The two contradict each other, or the suffix says nothing that can be written.
    """
    if output in (None, console.STREAM) or (output is not None and output.exists() and not output.is_file()):
        return asked or "table"
    assert output is not None
    named = SUFFIXES.get(output.suffix.lower())
    if named is None and asked is None:
        raise ValueError(f"{output}: results are written as {', '.join(SUFFIXES)}; give a name that ends in one of them.")
    if named and asked and named != asked:
        raise ValueError(f"{output}: its name says {named} and --{asked} another; drop one of them.")
    return asked or named or "table"


class Writer(Protocol):
    """What turns rows into text, one after the other."""

    @property
    def head(self) -> str:
        """Text before the first row."""
        ...

    @property
    def tail(self) -> str:
        """Text after the last row."""
        ...

    def row(self, row: Row) -> str:
        """Text of the next row."""
        ...


def writer_of(
    layout: Layout,
    files: Sequence[str],
    labels: Sequence[str],
    top: int | None,
    output: Path | None,
    *,
    calibrated: bool = False,
) -> Writer:
    """A writer of one layout.

    Parameters
    ----------
    layout : "table", "csv", "json" or "jsonl"
    files : sequence of str
        All that will come: a table is as wide as they are, or as the terminal.
    labels : sequence of str
        All classes: the columns of CSV.
    top : int, optional
        How many classes to show of each file; by default 3 in a table, all elsewhere.
    output : Path, optional
        Where the text goes; None or "-" is standard output.
    calibrated : bool
        Whether rows say how likely a label is, and when to doubt it: a table then shows that.
    """
    if layout == "table":
        shown = output in (None, console.STREAM) and sys.stdout is not None and sys.stdout.isatty()
        return TableWriter(files, labels, top or _TOP_OF_TABLE, terminal=shown, calibrated=calibrated)
    if layout == "csv":
        return CSVWriter(labels, top)
    return JSONWriter(top) if layout == "json" else JSONLinesWriter(top)


class CSVWriter:
    """One row a file; a cell that begins with =, +, - or @ gets an apostrophe: spreadsheets would run it as a formula."""

    def __init__(self, labels: Sequence[str], top: int | None) -> None:
        scores = [f"score_{label}" for label in labels]
        self._fields = [
            *("path", "label", "score", "probability", "unsure", "unknown"),
            *("duration", "audible_duration", "num_segments", *scores, "notes", "error"),
        ]
        self._top = top
        self.head, self.tail = self._line(dict(zip(self._fields, self._fields, strict=True))), ""

    def row(self, row: Row) -> str:
        """A line."""
        row = _topped(row, self._top)
        flat = {key: spreadsheet_cell(value) for key, value in row.items() if key != "scores"}
        flat["notes"] = "; ".join(row.get("notes", ()))
        return self._line(flat | {f"score_{label}": score for label, score in row.get("scores", {}).items()})

    def _line(self, cells: Mapping[str, Any]) -> str:
        text = io.StringIO(newline="")
        # With this line end a carriage return in a cell is quoted.
        csv.DictWriter(text, self._fields, restval="", lineterminator="\r\n").writerow(cells)
        return text.getvalue().removesuffix("\r\n") + "\n"


class JSONWriter:
    """A list of objects."""

    head = "["
    _rows = 0

    def __init__(self, top: int | None) -> None:
        self._top = top

    @property
    def tail(self) -> str:
        """The end of the list."""
        return "\n]\n" if self._rows else "]\n"

    def row(self, row: Row) -> str:
        """An object, and the comma before it."""
        self._rows += 1
        text = json.dumps(without_nan(_topped(row, self._top)), indent=2, allow_nan=False)
        return ("," if self._rows > 1 else "") + "\n" + textwrap.indent(text, "  ")


class JSONLinesWriter:
    """An object a line."""

    head = tail = ""

    def __init__(self, top: int | None) -> None:
        self._top = top

    def row(self, row: Row) -> str:
        """A line."""
        return json.dumps(without_nan(_topped(row, self._top)), allow_nan=False) + "\n"


class TableWriter:
    """A table whose columns are known before its rows: as wide as what will stand in them, and never wider than the terminal.

    What does not fit is folded; where that would leave too little for the names of files, the classes after the first go, then
    the lengths.
    """

    tail = ""

    def __init__(
        self, files: Sequence[str], labels: Sequence[str], top: int, *, terminal: bool, calibrated: bool = False
    ) -> None:
        longest = sorted((cell_len(console.harmless(label)) for label in labels), reverse=True) or [0]
        widths = {
            "file": max((cell_len(console.quoted(file)) for file in files), default=4),
            "label": max(longest[0], len("failed")),
            "score": _SCORE,
            "probability": len("probability"),
            "doubt": len("unknown"),
            "then": sum(longest[: top - 1]) + len(" 0.00, ") * min(top - 1, len(longest)) - len(", "),
            "length": _LENGTH,
        }
        if top < 2:
            del widths["then"]
        if not calibrated:
            del widths["probability"], widths["doubt"]
        self._top, self._terminal = top, terminal
        if terminal:
            self._fit(widths, console.width())
        self._widths = widths
        self.head = self._rendered(None)

    @staticmethod
    def _fit(widths: dict[str, int], room: int) -> None:
        """Fit the columns into `room` characters, in place."""

        def left() -> int:
            return room - sum(width + _GAP for name, width in widths.items() if name != "file")

        widths["label"] = min(widths["label"], max(room // 3, len("failed")))
        for name in ("then", "length"):
            if left() < min(widths["file"], _LEAST_FILE) and name in widths:
                del widths[name]
        widths["file"] = max(1, min(widths["file"], left()))

    def row(self, row: Row) -> str:
        """A row, which may be several lines."""
        return self._rendered(row)

    def _rendered(self, row: Row | None) -> str:
        table = Table(box=None, pad_edge=False, show_header=row is None)
        for name, width in self._widths.items():
            right = name in ("score", "probability", "length")
            table.add_column(name, width=width, overflow="fold", justify="right" if right else "left")
        if row is not None:
            cells = self._cells(row)
            table.add_row(*(cells.get(name, "") for name in self._widths), style="red" if "error" in row else None)
        return console.render_table(table, terminal=self._terminal)

    def _cells(self, row: Row) -> dict[str, str]:
        if "error" in row:
            return {"file": console.quoted(row["path"]), "label": "failed"}
        others = list(row["scores"].items())[1 : self._top]
        return {
            "file": console.quoted(row["path"]),
            "label": console.harmless(row["label"]),
            "score": f"{row['score']:.2f}",
            "probability": f"{row['probability']:.2f}" if "probability" in row else "",
            "doubt": "unknown" if row.get("unknown") else "unsure" if row.get("unsure") else "",
            "then": ", ".join(f"{console.harmless(label)} {score:.2f}" for label, score in others),
            "length": f"{row['duration']:.1f} s",
        }


def _topped(row: Row, top: int | None) -> dict[str, Any]:
    return {**row, "scores": dict(list(row["scores"].items())[:top])} if "scores" in row else dict(row)
