"""An evaluation as the files that a paper needs: tables to compute with, pictures to print, a table to set."""

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pecmae.core.files import atomic_write, user_path, write_json
from pecmae.core.tables import spreadsheet_cell
from pecmae.evaluation.plots import plot_confusion, plot_reliability
from pecmae.evaluation.report import EvaluationReport

# Where people read.
DECIMALS = 3
PICTURES = (".pdf", ".png")
_LATEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
          "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}  # fmt: skip


def write_paper_files(report: EvaluationReport, directory: str | os.PathLike[str]) -> list[Path]:
    """Write an evaluation into a folder, which is made; files of these names that are there are replaced.

    Parameters
    ----------
    report : EvaluationReport
    directory : path

    Returns
    -------
    list of Path
        report.json (all of it), predictions.csv (a row a track: track, true, label, correct, score, and a score of each class),
        prototypes.csv (where they were compared with training data), reliability.csv (bins of as many tracks each),
        confusion.csv, confusion and reliability as PDF and PNG, and table.tex, which needs the package booktabs.
    """
    folder = user_path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "report.json"]
    write_json(written[0], report.values)
    tables = {
        "predictions.csv": _predictions(report),
        "confusion.csv": _confusion(report),
        "reliability.csv": _reliability(report.values["confidence"]),
        "prototypes.csv": _prototypes(report.values.get("prototypes")),
    }
    for name, rows in tables.items():
        if rows:
            written.append(_write_text(folder / name, _csv(rows)))
    written.append(_write_text(folder / "table.tex", latex_table(report)))
    figures = {"confusion": plot_confusion(report.evaluation.confusion, report.evaluation.labels, title="")}
    if report.values["confidence"]:
        figures["reliability"] = plot_reliability(report.values["confidence"])
    for name, figure in figures.items():
        for ending in PICTURES:
            written.append(folder / f"{name}{ending}")
            with atomic_write(written[-1]) as partial:
                figure.savefig(partial, dpi=200, format=ending[1:], bbox_inches="tight")
    return written


def latex_table(report: EvaluationReport) -> str:
    """Recall of each class, and the figures that sum it up, as a table of LaTeX in percent."""
    evaluation, values = report.evaluation, report.values
    counts = evaluation.confusion.sum(1)
    rows = [
        f"{_latex(label)} & {counts[index]} & {100 * evaluation.recalls[label]:.1f} \\\\"
        for index, label in enumerate(evaluation.labels)
        if label in evaluation.recalls
    ]
    interval = evaluation.interval()
    if evaluation.accuracy is not None and interval is not None:
        low, high = (f"{100 * value:.1f}" for value in interval)
        mean = f"mean recall & {counts.sum()} & {100 * evaluation.accuracy:.1f} ({low}--{high}) \\\\"
        rows += [r"\midrule", mean]
    caption = f"{_latex(values['data'])}, {_latex(values['split'])}: recall in \\%, with a 95\\,\\% interval over tracks."
    body = "\n".join(rows)
    return (
        "\\begin{table}\n\\centering\n\\begin{tabular}{lrr}\n\\toprule\nclass & tracks & recall \\\\\n\\midrule\n"
        f"{body}\n\\bottomrule\n\\end{{tabular}}\n\\caption{{{caption}}}\n\\end{{table}}\n"
    )


def _predictions(report: EvaluationReport) -> list[dict[str, Any]]:
    found = report.evaluation
    rows = []
    for index, name in enumerate(found.names):
        true, label = found.labels[found.true[index]], found.labels[found.predicted[index]]
        row = {"track": name, "true": true, "label": label, "correct": int(true == label), "score": found.scores[index]}
        if found.class_scores is not None:
            row |= {f"score_{other}": found.class_scores[index, c] for c, other in enumerate(found.labels)}
        rows.append(row)
    return rows


def _confusion(report: EvaluationReport) -> list[dict[str, Any]]:
    found = report.evaluation
    return [
        {"true": label, **dict(zip(found.labels, row, strict=True))}
        for label, row in zip(found.labels, found.confusion.tolist(), strict=True)
    ]


def _reliability(confidence: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"of": kind, "bin": number, **part}
        for kind in ("scores", "probabilities")
        if kind in confidence
        for number, part in enumerate(confidence[kind]["bins"], 1)
    ]


def _prototypes(health: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    rows = []
    for found in () if health is None else health["prototypes"]:
        nearest = found["nearest"][0] if found["nearest"] else {}
        plain = {name: value for name, value in found.items() if name != "nearest"}
        rows.append(plain | {"nearest_track": nearest.get("track", ""), "nearest_offset": nearest.get("offset", "")})
    return rows


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _rounded(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _rounded(value: Any) -> Any:
    return spreadsheet_cell(value) if isinstance(value, str | int) else f"{value:.{DECIMALS}f}"


def _latex(text: str) -> str:
    return re.sub(r"[&%$#_{}~^\\]", lambda found: _LATEX[found[0]], text)


def _write_text(path: Path, text: str) -> Path:
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path
