"""What the commands show: results as a table, JSON or CSV on standard output; messages and progress on standard error."""

import csv
import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TextIO

from rich.console import Console
from rich.table import Table

from pecmae.core.files import atomic_write
from pecmae.errors import AudioWarning

Format = Literal["table", "json", "csv"]

# Wide enough for long paths where there is no terminal to ask.
_WIDTH_WITHOUT_TERMINAL = 160


def _console(**options: Any) -> Console:
    # Paths and labels hold brackets and colons of their own: they are not markup.
    console = Console(markup=False, emoji=False, highlight=False, **options)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH_WITHOUT_TERMINAL
    return console


def say(text: str, kind: Literal["", "warning", "error"] = "") -> None:
    """Write one line on standard error."""
    style = {"warning": "yellow", "error": "red", "": None}[kind]
    console = _console(stderr=True)
    console.print(f"{kind}: {text}" if kind else text, style=style, soft_wrap=True)


def sentence(error: BaseException) -> str:
    """Return an error's message; one of the operating system's own gets the file's name before it."""
    if isinstance(error, OSError) and error.errno and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    return " ".join(str(error).split())


@contextmanager
def audio_warnings_as_lines() -> Iterator[None]:
    """Show each `AudioWarning` inside the block as one line; other warnings stay as they are."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def showwarning(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, AudioWarning):
                say(str(message), "warning")
            else:
                show(message, category, filename, lineno, file, line)

        warnings.simplefilter("always", AudioWarning)
        warnings.showwarning = showwarning
        yield


@contextmanager
def spinner(text: str) -> Iterator[None]:
    """Turn on a terminal while the block runs."""
    console = _console(stderr=True)
    if not console.is_terminal:
        yield
        return
    from rich.live import Live
    from rich.spinner import Spinner

    with Live(Spinner("dots", f"{text} …"), console=console, transient=True, redirect_stdout=False):
        yield


@contextmanager
def progress_bar(text: str, total: int) -> Iterator[Callable[[], None]]:
    """Yield a function that moves a bar on by one; there is no bar where standard error is no terminal."""
    from rich import progress as rich

    columns = (rich.SpinnerColumn(), rich.TextColumn("{task.description}", markup=False), rich.BarColumn())
    numbers = (rich.MofNCompleteColumn(), rich.TimeElapsedColumn(), rich.TextColumn("left"), rich.TimeRemainingColumn())
    console = _console(stderr=True)
    # Standard output is not redirected: rich would send it to standard error with the bar.
    bar = rich.Progress(*columns, *numbers, console=console, transient=True, redirect_stdout=False)
    bar.disable = not console.is_terminal
    with bar:
        task = bar.add_task(text, total=total)
        yield lambda: bar.advance(task)


def render_results(rows: Sequence[dict[str, Any]], labels: Sequence[str], layout: Format, top: int | None) -> str:
    """Format classified files as text.

    Parameters
    ----------
    rows : sequence of dict
        `path` with a `Prediction.to_dict()`, or `path` and `error`.
    labels : sequence of str
        All classes: the columns of CSV.
    layout : "table", "json" or "csv"
    top : int, optional
        How many classes to show of each file; by default 3 in a table, all elsewhere.
    """
    if layout == "table":
        return _results_table(rows, top or 3)
    rows = [{**row, "scores": dict(list(row["scores"].items())[:top])} if "scores" in row else row for row in rows]
    if layout == "json":
        return as_json(rows)
    text = io.StringIO()
    fields = ["path", "label", "score", "duration", "num_segments", *(f"score_{label}" for label in labels), "error"]
    writer = csv.DictWriter(text, fields, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        flat = {key: value for key, value in row.items() if key != "scores"}
        writer.writerow(flat | {f"score_{label}": score for label, score in row.get("scores", {}).items()})
    return text.getvalue()


def as_json(value: Any) -> str:
    """Format plain values; ASCII alone, so that any path survives any terminal's encoding."""
    return json.dumps(value, indent=2) + "\n"


def _results_table(rows: Sequence[dict[str, Any]], top: int) -> str:
    table = Table(box=None, pad_edge=False)
    table.add_column("file", overflow="fold")
    table.add_column("label")
    table.add_column("score", justify="right")
    if top > 1:
        table.add_column("then")
    table.add_column("length", justify="right")
    for row in rows:
        if "error" in row:
            table.add_row(row["path"], "failed", style="red")
            continue
        others = ", ".join(f"{label} {score:.2f}" for label, score in list(row["scores"].items())[1:top])
        cells = [row["path"], row["label"], f"{row['score']:.2f}", *([others] if top > 1 else []), f"{row['duration']:.1f} s"]
        table.add_row(*cells)
    return render_table(table)


def render_zoo(rows: Sequence[dict[str, Any]]) -> str:
    """Format what can be loaded by name as a table, what there is before what nobody has published."""
    table = Table(box=None, pad_edge=False)
    for name in ("name", "kind", "state", "segment", "classes", "licence", "description"):
        table.add_column(name, overflow="fold", no_wrap=name in ("name", "state"))
    for row in sorted(rows, key=lambda row: row["state"] == "not published"):
        cells = (f"{row['segment_seconds']:g} s", str(len(row["labels"]) or "–"), row["license"], row["description"])
        table.add_row(row["name"], row["kind"], row["state"], *cells, style="dim" if row["state"] == "not published" else None)
    return render_table(table)


def render_table(table: Table) -> str:
    """Format a table as text, in colour where standard output is a terminal."""
    console = _console()
    with console.capture() as capture:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def deliver(text: str, output: Path | None) -> None:
    """Write text to a file, whole or not at all, or to standard output."""
    if output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    if output.exists() and not output.is_file():  # /dev/null, a pipe: a file must not take its place
        output.write_text(text, encoding="utf-8", errors="backslashreplace")
        return
    with atomic_write(output) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    say(f"wrote {output}")
