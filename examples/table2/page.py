"""The results page: tables, what agrees with the paper, and accuracy over the number of prototypes."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pecmae.core.configs import read_json
from pecmae.prototypes.plots import new_figure
from table2.results import markdown, mean_and_half_width

# Rows that the paper compares: the first is the better one there, and why that matters.
FINDINGS = (
    ("PECMAE-5", "PECMAE-NA-5", "the adaptor helps"),
    ("PECMAE-5", "PECMAE-1", "five prototypes a class are better than one"),
    ("PECMAE-10", "PECMAE-5", "ten are better than five"),
    ("PECMAE-5", "APNet-5", "on Medley-Solos-DB and the list of its own, though not on GTZAN, PECMAE-5 is better than APNet-5"),
    ("MLP on ECMAE-S", "PECMAE-5", "a perceptron on the same z is better than five prototypes"),
)


def merged(tables: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Results by data: shared facts of each table, and the rows of all tables of the same data."""
    found: dict[str, dict[str, Any]] = {}
    for path in tables:
        values = read_json(path, "run reproduce_table2.py again")
        entry = found.setdefault(values["shared"]["data"], {"shared": [], "rows": {}})
        entry["shared"].append(values["shared"])
        entry["rows"] |= values["rows"]
    return found


def accuracies(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Mean accuracy of each row, in %."""
    return {name: mean_and_half_width([100 * run["accuracy"] for run in runs.values()])[0] for name, runs in rows.items()}


def findings(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the paper finds, and what was found here, a sentence each, as far as the rows are there."""
    means, said = accuracies(rows), []
    for better, worse, finding in FINDINGS:
        if better not in means or worse not in means:
            continue
        verdict = "so it is here" if means[better] > means[worse] else "not here"
        said.append(f"The paper finds that {finding}; {verdict} ({better} {means[better]:.1f}, {worse} {means[worse]:.1f}).")
    best = max((name for name in means if re.fullmatch(r"PECMAE-\d+", name)), key=means.__getitem__, default=None)
    if best is not None and (mlp := means.get("MLP on ECMAE-S")) is not None:
        said.append(
            f"The best number of prototypes, {best}, is {means[best] - mlp:+.1f} points from the perceptron on the same z."
        )
    return said


def section(name: str, entry: Mapping[str, Any]) -> str:
    """One data set: how it was run, the table, the findings."""
    shared = entry["shared"][0]
    clips = ", ".join(f"{count} {split}" for split, count in shared["clips"].items())
    how = (
        f"{len(shared['labels'])} classes; clips: {clips}. Autoencoder `{shared['autoencoder']}`; heads fitted for "
        f"{shared['settings']['steps']:,} steps of {shared['settings']['batch_size']} segments"
    )
    apnet = next((each["apnet"] for each in reversed(entry["shared"]) if "apnet" in each), None)
    if "APNet-5" in entry["rows"] and apnet is not None:
        widths = ", ".join(map(str, apnet["channels"]))
        how += f"; APNet for {apnet['steps']:,} steps of {apnet['batch_size']}, with convolutions of {widths} channels"
    said = "\n".join(f"- {sentence}" for sentence in findings(entry["rows"]))
    return f"## {name}\n\n{how}.\n\n{markdown(entry['rows'])}\n{said}\n"


def draw(found: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Accuracy over the number of prototypes a class, a line for each data set, with intervals over seeds."""
    figure = new_figure(6, 3.5)
    axes = figure.add_subplot()
    for name, entry in found.items():
        points = []
        for row, runs in entry["rows"].items():
            if match := re.fullmatch(r"PECMAE-(\d+)", row):
                mean, half = mean_and_half_width([100 * run["accuracy"] for run in runs.values()])
                points.append((int(match[1]), mean, half or 0.0))
        if points:
            counts, means, halves = zip(*sorted(points), strict=True)
            axes.errorbar(counts, means, halves, marker="o", capsize=3, label=name)
    axes.set_xscale("log")
    axes.set_xticks([1, 3, 5, 10, 20, 40], ["1", "3", "5", "10", "20", "40"])
    axes.set(xlabel="prototypes a class", ylabel="class-normalised accuracy (%)")
    axes.legend()
    figure.savefig(path, dpi=110, bbox_inches="tight")


HEAD = """\
# The paper's second table

Written by `examples/draw_table2.py` from what `examples/reproduce_table2.py` measured, on the data that each section names.
Accuracy is class-normalised; ± is half the 95 % interval over seeds by Student's t, which says nothing of other clips: the
interval over clips of each run is in its `results.json`.
"""


def page(found: Mapping[str, Mapping[str, Any]], figure: str, note: str = "") -> str:
    """The whole page; `note` says what a reader has to know of the data."""
    sections = [section(name, entry) for name, entry in found.items()]
    drawn = f"## Over the number of prototypes\n\n![Accuracy over the number of prototypes a class]({figure})\n"
    return "\n".join([HEAD, *([f"{note}\n"] if note else []), *sections, drawn])
