"""Pictures of an evaluation and of a model with matplotlib, which is an extra.

Shapes: B panels, N samples, C classes, M prototypes, S segments.
"""

import io
import os
from typing import TYPE_CHECKING

import numpy as np

from pecmae.prototypes.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pecmae.evaluation.tracks import Evaluation

# Shares above this are written in white on their dark cell.
DARK = 0.6


def save_small(figure: "Figure", path: str | os.PathLike[str], *, dpi: int = 100, colours: int = 256) -> None:
    """Write a figure as a PNG of few colours, a fraction of its usual size."""
    from PIL import Image

    whole = io.BytesIO()
    figure.savefig(whole, format="png", dpi=dpi)
    picture = Image.open(whole).convert("RGB").quantize(colours, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)


def plot_confusion(evaluation: "Evaluation", *, title: str = "") -> "Figure":
    """Draw which labels each class's tracks got, as shares of the class, with the number of tracks in each cell.

    Parameters
    ----------
    evaluation : Evaluation
    title : str
        Above the picture; the accuracy by default.

    Returns
    -------
    matplotlib.figure.Figure
        `figure.savefig("confusion.png")` writes it.

    Raises
    ------
    PecmaeError
        matplotlib is not installed.
    """
    counts, labels = evaluation.confusion, evaluation.labels
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2.2 + 0.5 * len(labels)
    figure = new_figure(side + 0.6, side)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(counts > 0):
        colour = "white" if shares[row, column] > DARK else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize="small")
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(labels)), labels)
    low, high = evaluation.interval()
    accuracy = f"class-normalised accuracy {100 * evaluation.accuracy:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
    axes.set(xlabel="label given", ylabel="true class", title=title or accuracy)
    figure.colorbar(image, ax=axes, label="share of the class", shrink=0.8)
    return figure
