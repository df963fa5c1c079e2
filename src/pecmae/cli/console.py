"""What the commands show: results as a table, JSON or CSV on standard output; messages and progress on standard error."""

import errno
import io
import json
import os
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TextIO

from rich.console import Console
from rich.table import Table

from pecmae.core.files import atomic_write, without_nan
from pecmae.errors import AudioWarning

# What `--output` and a path call the standard streams.
STREAM = Path("-")

# No line of a file is folded; COLUMNS may say what no terminal is.
_WIDTH_OF_FILES, _LEAST_WIDTH, _USUAL_WIDTH = 100_000, 20, 80
# The progress bars that turn on standard error now.
_turning: list[Any] = []

# Characters that a terminal obeys instead of showing them, by Unicode's categories; and those that turn text around.
_OBEYED = {"Cc", "Cs", "Zl", "Zp"}
_TURNING = {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}
_ESCAPES = {"\n": r"\n", "\t": r"\t", "\r": r"\r"}


def _console(**options: Any) -> Console:
    # Paths and labels hold brackets and colons of their own: they are not markup.
    return Console(markup=False, emoji=False, highlight=False, **{"width": width(), **options})


def width() -> int:
    """Characters in a line of the terminal: what COLUMNS says, where that can be, or what the terminal itself says."""
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and _LEAST_WIDTH <= int(said) < _WIDTH_OF_FILES:
        return int(said)
    for stream in (sys.__stdout__, sys.__stderr__, sys.__stdin__):
        try:
            columns = os.get_terminal_size(stream.fileno()).columns if stream is not None else 0
        except (OSError, ValueError):  # it is no terminal, or closed
            continue
        if columns:
            return columns
    return _USUAL_WIDTH


def harmless(text: str) -> str:
    """Escape the characters of `text` that a terminal would obey, such as those of an odd file name."""
    return "".join(_escaped(character) if _is_obeyed(character) else character for character in text)


def quoted(name: str) -> str:
    """A name as it is; one that holds what a terminal would obey as ls and the shells quote it."""
    if not any(map(_is_obeyed, name)):
        return name
    return "$'" + harmless(name.replace("\\", r"\\").replace("'", r"\'")) + "'"


def _is_obeyed(character: str) -> bool:
    return unicodedata.category(character) in _OBEYED or character in _TURNING


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return _ESCAPES.get(character) or (f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}")


def say(text: str, kind: Literal["", "warning", "error"] = "") -> None:
    """Write one line on standard error."""
    if sys.stderr is None:  # closed
        return
    style = {"warning": "yellow", "error": "red", "": None}[kind]
    console = _console(stderr=True)
    text = harmless(text)
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

    with Live(Spinner("dots", f"{harmless(text)} …"), console=console, transient=True, redirect_stdout=False):
        yield


@contextmanager
def progress_bar(text: str, total: int | None) -> Iterator[Callable[[], None]]:
    """Yield a function that moves a bar on by one (None: nobody knows of how many); no terminal, no bar."""
    from rich import progress as rich

    columns = (rich.SpinnerColumn(), rich.TextColumn("{task.description}", markup=False), rich.BarColumn())
    numbers = (rich.MofNCompleteColumn(), rich.TimeElapsedColumn(), rich.TextColumn("left"), rich.TimeRemainingColumn())
    console = _console(stderr=True)
    # Standard output is not redirected: rich would send it to standard error with the bar, and fold its lines.
    bar = rich.Progress(*columns, *numbers, console=console, transient=True, redirect_stdout=False)
    bar.disable = not console.is_terminal
    with bar:
        task = bar.add_task(text, total=total)
        _turning.append(bar)
        try:
            yield lambda: bar.advance(task)
        finally:
            _turning.remove(bar)


def as_json(value: Any) -> str:
    """Format plain values; ASCII alone, so that any path survives any terminal's encoding. What is no number becomes null."""
    return json.dumps(without_nan(value), indent=2, allow_nan=False) + "\n"


def render_evaluation(values: Mapping[str, Any]) -> str:
    """Format the report of an evaluation for people: what matters, on a page."""
    tracks, reasons = values["tracks"], values["reasons"]
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_row("data", f"{values['data']}, {values['split']}: {tracks['num_tracks']} tracks")
    if tracks["interval_95"] is None:
        table.add_row("accuracy", "not measured: tracks of one class alone")
    else:
        low, high = tracks["interval_95"]
        table.add_row("accuracy", f"{tracks['accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f}), class-normalised")
    for label in tracks["labels"]:
        recall = tracks["recalls"].get(label)
        table.add_row(f"  {harmless(label)}", "not measured: no tracks" if recall is None else f"{recall:.3f}")
    for name, value in _confidence_rows(values["confidence"]):
        table.add_row(name, value)
    for name, value in reasons.items():
        table.add_row(name.replace("_", " "), f"{value:.3g}" if isinstance(value, float) else str(value))
    for source, one in values.get("unknown", {}).items():
        detected = f"AUROC {one['auroc']:.3f}, {one['false_positives']:.1%} accepted where 95 % of the known are"
        table.add_row(harmless(source), f"{one['refused']:.1%} of {one['sounds']} called unknown, {detected}")
    for name, value in _explanation_rows(values.get("explanations")):
        table.add_row(name, value)
    if "round_trip" in values:
        for name, value in values["round_trip"].items():
            table.add_row(f"round trip: {name.replace('_', ' ')}", f"{value:.3g}" if isinstance(value, float) else str(value))
    if "sonification" in values:
        table.add_row("prototypes heard as their class", f"{values['sonification']['own_class']:.3f} by the model itself")
    if tracks["failed"]:
        table.add_row("failed", f"{len(tracks['failed'])} files")
    return render_table(table)


def _confidence_rows(confidence: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What scores and calibrated probabilities are worth, one line for each figure."""
    for kind in ("scores", "probabilities"):
        if kind in confidence:
            found = confidence[kind]
            errors = f"{found['calibration_error']:.3f}, Brier {found['brier']:.3f}, NLL {found['negative_log_likelihood']:.3f}"
            yield f"calibration error of {kind}", f"{errors}, area under risk {found['area_under_risk']:.3f}"
    if "sets" not in confidence:
        yield "probabilities", "not calibrated: pecmae calibrate MODEL --data DATA"
        return
    sets, given = confidence["sets"], confidence["given"]
    yield f"sets at {sets['wanted']:.0%}", f"hold the true class in {sets['coverage']:.1%}, {sets['size']:.2f} classes each"
    wrong = "" if given["wrong"] is None else f", of which {given['wrong']:.1%} are wrong"
    yield "sure labels", f"{given['share']:.1%}{wrong}"
    yield "called unknown", f"{confidence['refused']:.1%}"


def _explanation_rows(found: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Whether reasons are true, one line for each figure; `gain` is over random orders."""
    if found is None:
        return
    for parts in ("prototypes", "segments"):
        for kind in ("deletion", "insertion") if found[parts] else ():
            curve = found[parts][kind]
            gain = "better by {value:+.3f} ({low:+.3f} to {high:+.3f})".format_map(curve["gain"])
            yield f"{kind} of {parts}", f"area {curve['area']:.3f}, at random {curve['random']:.3f}; {gain}"
    randomised = found["randomised"]
    shuffled = f"{randomised['weights']:+.3f} with other weights, {randomised['prototypes']:+.3f} with other prototypes"
    yield "reasons after shuffling", f"correlate {shuffled} (1: hang on neither)"
    if found["variety"]:
        variety = found["variety"]
        shared = f"share {variety['shared_first']:.1%} of their first reasons"
        yield "tracks of different labels", f"reasons correlate {variety['rank_correlation']:+.3f}; {shared}"
    for name, one in found["stability"].items():
        kept = f"label stays in {one['label']:.1%}, strongest prototype in {one['strongest']:.1%}, tau {one['tau']:.2f}"
        yield f"after {name}", kept
    if found["localisation"]:
        auc = "{value:.3f} ({low:.3f} to {high:.3f})".format_map(found["localisation"]["auc"])
        yield "time localisation", f"AUC {auc} on {found['localisation']['splices']} spliced tracks"
    for name, one in found["listens_to"].items():
        flagged = f"; flagged: {', '.join(map(harmless, one['flagged']))}" if one["flagged"] else ""
        yield f"similarity and {name}", f"correlate {one['strongest']:+.2f} at most ({harmless(one['prototype'])}){flagged}"


def render_zoo(rows: Sequence[dict[str, Any]]) -> str:
    """Format what can be loaded by name as a table, and below it, apart, what nobody has published."""
    waiting = [row for row in rows if row["state"] == "not published"]
    ready = [row for row in rows if row not in waiting]
    tables = [_zoo_table(ready)]
    if waiting:
        tables += [
            "\nTo be trained first: nobody has published their weights; --model NAME says the command.\n\n",
            _zoo_table(waiting),
        ]
    return "".join(tables)


def _zoo_table(rows: Sequence[dict[str, Any]]) -> str:
    table = Table(box=None, pad_edge=False)
    for name in ("name", "kind", "state", "segment", "classes", "licence", "description"):
        table.add_column(name, overflow="fold", no_wrap=name in ("name", "state"))
    for row in rows:
        cells = (f"{row['segment_seconds']:g} s", str(len(row["labels"]) or "–"), row["license"], row["description"])
        table.add_row(row["name"], row["kind"], row["state"], *cells, style="dim" if row["state"] == "not published" else None)
    return render_table(table)


def render_table(table: Table, *, terminal: bool | None = None) -> str:
    """Format a table as text: of the terminal's width and in colour where one shows it (None: where standard output is one).

    Elsewhere no line is folded.
    """
    if terminal is None:
        terminal = sys.stdout is not None and sys.stdout.isatty()
    console = _console() if terminal else _console(file=io.StringIO(), width=_WIDTH_OF_FILES, force_terminal=False)
    with console.capture() as capture:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


@contextmanager
def delivery(output: Path | None) -> Iterator[Callable[[str], object]]:
    """Yield what writes text to standard output at once (None, or "-"; nowhere, if that is closed), or into a file.

    A file appears at the end of the block, whole. One that is no regular file, such as a pipe or /dev/null, is written to.
    """
    if output in (None, STREAM):
        yield _write_to_standard_output
        return
    assert output is not None
    if output.exists() and not output.is_file():
        with output.open("w", encoding="utf-8", errors="backslashreplace") as file:
            yield file.write
        return
    with atomic_write(output) as temporary, temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
        yield file.write
    say(f"wrote {output}")


def deliver(text: str, output: Path | None) -> None:
    """Write text where `delivery` writes it."""
    with delivery(output) as write:
        write(text)


@contextmanager
def _bars_aside() -> Iterator[None]:
    """Take the progress bars off the terminal while standard output writes there."""
    bars = [bar for bar in _turning if not bar.disable and sys.stdout.isatty()]
    for bar in bars:
        bar.stop()
    try:
        yield
    finally:
        for bar in bars:
            bar.start()


def _write_to_standard_output(text: str) -> None:
    if sys.stdout is None:
        return
    try:
        with _bars_aside():
            sys.stdout.write(text)
            sys.stdout.flush()
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader has seen enough
            raise
        # What could not be written must not be tried again at the end of the process.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OSError(error.errno, error.strerror, "standard output") from None


def deliver_names(paths: Iterable[Path]) -> None:
    """Write the names of files that were made, one a line, to standard output; quoted where a terminal shows them."""
    shown = sys.stdout is not None and sys.stdout.isatty()
    deliver("".join(f"{quoted(str(path)) if shown else path}\n" for path in paths), None)


def prepare_streams() -> None:
    """Make the standard streams safe to write to: any name can be printed, and no file gets the number of a closed one."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal's encoding lacks must not end a run
            stream.reconfigure(errors="backslashreplace")
