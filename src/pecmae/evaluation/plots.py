"""Pictures of an evaluation and of a model with matplotlib, which is an extra.

Shapes: B panels, N samples, C classes, M prototypes, S segments.
"""

import io
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pecmae.prototypes.plots import new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Shares above this are written in white on their dark cell.
DARK = 0.6
# Inches for a class of a confusion matrix, as far as the picture's largest side allows; numbers in cells that are smaller would
# not be read, and of more names than fit some are left out.
CLASS_INCHES, LARGEST_INCHES, READABLE_INCHES, SMALLEST_POINTS = 0.5, 20.0, 0.3, 4.0


def save_small(figure: "Figure", path: str | os.PathLike[str], *, dpi: int = 100, colours: int = 256) -> None:
    """Write a figure as a PNG of few colours, a fraction of its usual size."""
    from PIL import Image

    whole = io.BytesIO()
    figure.savefig(whole, format="png", dpi=dpi)
    picture = Image.open(whole).convert("RGB").quantize(colours, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)


def plot_reliability(report: Mapping[str, Any], *, title: str = "") -> "Figure":
    """Draw how often labels of a confidence are right, before and after calibration, beside the line where both are equal.

    Parameters
    ----------
    report : mapping
        From `pecmae.evaluation.confidence.confidence_report`.
    title : str

    Raises
    ------
    PecmaeError
        matplotlib is not installed.
    """
    figure = new_figure(4.5, 4.5)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
    for name, marker, label in (("scores", "o", "scores"), ("probabilities", "s", "calibrated probabilities")):
        if name in report:
            bins, error = report[name]["bins"], report[name]["calibration_error"]
            points = [[part[key] for part in bins] for key in ("confidence", "right")]
            axes.plot(*points, marker=marker, markersize=4, label=f"{label}, error {error:.3f}")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="share of labels that are right", title=plain(title))
    axes.legend(loc="upper left", frameon=False)
    return figure


def plot_confusion(confusion: np.ndarray, classes: Sequence[str], *, title: str = "") -> "Figure":
    """Draw which labels each class's tracks got, as shares of the class, with the number of tracks in each cell.

    Parameters
    ----------
    confusion : np.ndarray [shape=(C, C)]
        Tracks of each class (rows) that got each label (columns).
    classes : sequence of str
    title : str
        Above the picture.

    Returns
    -------
    matplotlib.figure.Figure
        `figure.savefig("confusion.png")` writes it.

    Raises
    ------
    PecmaeError
        matplotlib is not installed.
    """
    counts, labels = confusion, [plain(label) for label in classes]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    inches = min(CLASS_INCHES, LARGEST_INCHES / len(labels))  # of a class
    side = 2.2 + inches * len(labels)
    figure = new_figure(side + 0.6, side)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(counts > 0) if inches >= READABLE_INCHES else ():
        colour = "white" if shares[row, column] > DARK else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize="small")
    points = min(10.0, 72 * inches)
    named = range(0, len(labels), int(np.ceil(SMALLEST_POINTS / points)))
    names, size = [labels[index] for index in named], max(points, SMALLEST_POINTS)
    axes.set_xticks(named, names, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
    axes.set_yticks(named, names, fontsize=size)
    axes.set(xlabel="label given", ylabel="true class", title=plain(title))
    figure.colorbar(image, ax=axes, label="share of the class", shrink=0.8)
    return figure
