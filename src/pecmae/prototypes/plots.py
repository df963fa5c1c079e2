"""Pictures of an explanation with matplotlib, which is an extra."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pecmae.errors import PecmaeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Those of the pages: they differ for the colour-blind.
COLOURS = (
    *("#213392", "#32acb0", "#bc9227", "#965764", "#428ef8"),
    *("#546102", "#c89673", "#4a301a", "#047bac", "#3c3459"),
)


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of that many inches.

    Raises
    ------
    PecmaeError
        matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise PecmaeError("Plotting needs matplotlib; install it with pip install 'pecmae[plot]'.") from None
    return Figure(figsize=(width, height), layout="constrained")


def plain(text: str) -> str:
    """Text that matplotlib shows as it is: between two dollar signs it would read mathematics."""
    return text.replace("$", r"\$")


def plot_explanation(
    labels: Sequence[str],
    segment_classes: np.ndarray,
    segment_similarities: np.ndarray,
    parts: Sequence[tuple[str, float, int | None]],
    title: str,
) -> "Figure":
    """Draw an explanation; see `pecmae.Explanation.plot`.

    Parameters
    ----------
    labels : sequence of str
        All classes.
    segment_classes, segment_similarities : np.ndarray [shape=(S,)]
        Class of the prototype closest to each segment, and its similarity.
    parts : sequence of (str, float, int or None)
        What sums to the logit: a name, a value and the class whose colour it takes, if any.
    title : str
        Of the lower picture.
    """
    figure = new_figure(9, 5)
    above, below = figure.subplots(2, 1, height_ratios=(1, 2))
    _draw_segments(above, labels, segment_classes, segment_similarities)
    _draw_parts(below, parts, title)
    return figure


def _draw_segments(axes: "Axes", labels: Sequence[str], classes: np.ndarray, similarities: np.ndarray) -> None:
    """A bar a segment: the closest prototype's class as its colour, its similarity as its height."""
    for index in np.unique(classes):
        segments = np.flatnonzero(classes == index)
        axes.bar(segments, similarities[segments], width=0.96, color=COLOURS[index % len(COLOURS)], label=plain(labels[index]))
    axes.set(xlabel="segment", ylabel="similarity", title="Closest prototype of each segment", xlim=(-0.5, len(classes) - 0.5))
    axes.legend(frameon=False, fontsize="small", ncols=5, loc="upper left", bbox_to_anchor=(0, -0.3))
    axes.spines[["top", "right"]].set_visible(False)


def _draw_parts(axes: "Axes", parts: Sequence[tuple[str, float, int | None]], title: str) -> None:
    """A bar a part; together they are the logit."""
    names, values, classes = zip(*parts, strict=True)
    colours = ["#bbbbbb" if index is None else COLOURS[index % len(COLOURS)] for index in classes]
    bars = axes.barh([plain(name) for name in names], values, color=colours)
    axes.bar_label(bars, [f"{value:+.3f}" for value in values], padding=3, fontsize="small")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(title=plain(title))
    axes.spines[["top", "right", "left"]].set_visible(False)
