"""Pictures of an explanation with matplotlib, which is an extra."""

from typing import TYPE_CHECKING

import numpy as np

from pecmae.errors import PecmaeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pecmae.outputs import Explanation

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


def plot_explanation(explanation: "Explanation", label: str, count: int) -> "Figure":
    """Draw an explanation; see `Explanation.plot`."""
    figure = new_figure(9, 5)
    above, below = figure.subplots(2, 1, height_ratios=(1, 2))
    _draw_segments(above, explanation)
    _draw_contributions(below, explanation, label, count)
    return figure


def _draw_segments(axes: "Axes", explanation: "Explanation") -> None:
    """A bar a segment: the closest prototype's class as its colour, its similarity as its height."""
    winners = explanation.winners
    classes = explanation.prototype_labels[winners]
    for index in np.unique(classes):
        segments = np.flatnonzero(classes == index)
        heights = explanation.segment_similarities[segments, winners[segments]]
        axes.bar(segments, heights, width=0.96, color=COLOURS[index % len(COLOURS)], label=explanation.labels[index])
    axes.set(xlabel="segment", ylabel="similarity", title="Closest prototype of each segment", xlim=(-0.5, len(winners) - 0.5))
    axes.legend(frameon=False, fontsize="small", ncols=5, loc="upper left", bbox_to_anchor=(0, -0.3))
    axes.spines[["top", "right"]].set_visible(False)


def _draw_contributions(axes: "Axes", explanation: "Explanation", label: str, count: int) -> None:
    """A bar a contribution, the rest and the bias; together they are the logit."""
    index = explanation.labels.index(label)
    row = explanation.contributions[index]
    shown = np.argsort(-np.abs(row), kind="stable")[:count]
    names = [f"{name} {number}" for name, number in (explanation.names[m] for m in shown)]
    values = [float(row[m]) for m in shown]
    colours = [COLOURS[explanation.prototype_labels[m] % len(COLOURS)] for m in shown]
    if others := len(row) - len(shown):
        names.append(f"{others} others")
        values.append(float(row.sum() - row[shown].sum()))
        colours.append("#bbbbbb")
    names.append("bias")
    values.append(float(explanation.bias[index]))
    colours.append("#bbbbbb")
    bars = axes.barh(names, values, color=colours)
    axes.bar_label(bars, [f"{value:+.3f}" for value in values], padding=3, fontsize="small")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(title=f"What makes up the logit of {label}: {explanation.logits[index]:.3f}")
    axes.spines[["top", "right", "left"]].set_visible(False)
