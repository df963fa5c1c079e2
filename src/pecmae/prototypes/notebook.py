"""How answers show themselves in a notebook: bars, a timeline in the classes' colours, and what spoke loudest."""

import html
from collections.abc import Mapping, Sequence

import numpy as np

from pecmae.prototypes.plots import COLOURS

SHOWN = 5  # classes and prototypes
_BAR = "display:inline-block;height:0.8em;vertical-align:middle;background:"


def colour(index: int) -> str:
    """Of a class, the same as in pictures and pages."""
    return COLOURS[index % len(COLOURS)]


def score_bars(scores: Mapping[str, float], labels: Sequence[str], *, shown: int = SHOWN) -> str:
    """A bar for each of the first `shown` classes; scores are at most 1."""
    return _bars([(name, value, value, colour(labels.index(name))) for name, value in list(scores.items())[:shown]])


def part_bars(parts: Sequence[tuple[str, float, int | None]]) -> str:
    """A bar for each part of a sum: name, value, and the class whose colour it takes, if any."""
    largest = max((abs(value) for _, value, _ in parts), default=0.0) or 1.0
    return _bars(
        [(name, value, abs(value) / largest, "#bbbbbb" if index is None else colour(index)) for name, value, index in parts]
    )


def timeline(classes: np.ndarray, labels: Sequence[str]) -> str:
    """A strip of the classes [shape=(S,)] that segments are closest to, and its legend."""
    if not len(classes):
        return ""
    width = 100 / len(classes)
    pieces = "".join(
        f'<span title="{html.escape(f"segment {number + 1}: {labels[index]}")}" '
        f'style="display:inline-block;height:1em;width:{width:.3f}%;background:{colour(int(index))}"></span>'
        for number, index in enumerate(classes)
    )
    legend = " ".join(
        f'<span style="color:{colour(int(index))}">■</span> {html.escape(labels[int(index)])}' for index in np.unique(classes)
    )
    strip = f'<div style="max-width:32em;font-size:0;line-height:0">{pieces}</div>'
    return f'{strip}<div style="font-size:smaller">{legend}</div>'


def _bars(rows: Sequence[tuple[str, float, float, str]]) -> str:
    cells = "".join(
        f'<tr><td style="text-align:right">{html.escape(name)}</td>'
        f'<td style="text-align:left;min-width:12em"><span style="{_BAR}{paint};width:{10 * min(1.0, share):.2f}em"></span> '
        f"{value:.2f}</td></tr>"
        for name, value, share, paint in rows
    )
    return f"<table>{cells}</table>"
