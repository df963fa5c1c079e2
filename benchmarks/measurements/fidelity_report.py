"""The curve and the table of `measurements.fidelity`."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from measurements.fidelity import Point, fewest_steps
from measurements.table import markdown, number

COLOURS = ("#965764", "#213392", "#32acb0", "#bc9227", "#428ef8", "#546102")
MARKERS = "osD^vP"


def names(points: Sequence[Point]) -> list[str]:
    """Of the samplers, without the reference schedule."""
    return list(dict.fromkeys(point.sampler for point in points[1:]))


def draw(points: Sequence[Point], path: Path, title: str) -> None:
    """Both distances over the number of steps, one line a sampler; the reference schedule as a dashed line."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    _panel(left, points, "feature_distance", "relative distance of the codec features")
    _panel(right, points, "mel_distance", "difference of the log-mel spectrograms (dB)")
    handles, labels = left.get_legend_handles_labels()
    figure.suptitle(title)
    figure.legend(handles, labels, loc="outside lower center", ncols=2 if len(labels) > 4 else len(labels), frameon=False)
    figure.savefig(path, dpi=160)


def _panel(axes: Axes, points: Sequence[Point], distance: str, label: str) -> None:
    for index, name in enumerate(names(points)):
        line = [point for point in points[1:] if point.sampler == name]
        axes.plot(
            [point.steps for point in line],
            [getattr(point, distance) for point in line],
            marker=MARKERS[index % len(MARKERS)],
            markersize=5,
            color=COLOURS[index % len(COLOURS)],
            label=name,
        )
    bar = points[0]
    axes.axhline(getattr(bar, distance), color="black", linestyle="--", linewidth=1, label=f"{bar.steps} DDIM steps")
    steps = sorted({point.steps for point in points[1:]})
    axes.set(xscale="log", yscale="log", xlabel="steps", ylabel=label)
    axes.set_xticks(steps, [str(step) for step in steps])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(which="major", linewidth=0.4, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def verdicts(points: Sequence[Point]) -> list[str]:
    """A sentence a sampler: the fewest steps that are no worse than the reference schedule."""
    sentences = []
    for name in names(points):
        best = fewest_steps(points[1:], name, points[0])
        sentences.append(
            f"{name}: no number of steps tried is as close as the reference schedule."
            if best is None
            else f"{name}: from {best.steps} steps ({best.passes} passes a latent, {100 * best.time:.1f} % of the time) it is "
            "no further from convergence than the reference schedule, in both distances."
        )
    return sentences


def page(points: Sequence[Point], facts: dict[str, Any], command: str, picture: str) -> str:
    """What was measured, the curve, the verdicts and the table."""
    cells = [
        (
            point.sampler,
            str(point.steps),
            str(point.passes),
            f"{point.feature_distance:.4f}",
            number(point.mel_distance),
            f"{100 * point.time:.3g} %",
        )
        for point in points
    ]
    head = ("sampler", "steps", "passes", "features", "log-mel (dB)", "time")
    return (
        f"# Sampling: steps and fidelity\n\nMade by `{command}`.\n\n"
        f"{facts['prototypes']} prototypes of {facts['model']}, spread over its classes, are decoded with guidance "
        f"{facts['guidance_scale']:g}, each from\nthe same initial noise. The distances are to the trajectory of "
        f"{facts['converged_steps']} DDIM steps from that noise, which counts as converged: of the\ncodec features, "
        "‖x - x*‖ / ‖x*‖; of the log-mel spectrograms of the decoded sound, the mean difference in dB. Passes are\nof the "
        "denoiser, for each latent. Time is of sampling alone, as a share of the reference schedule's: one latent at a time,\n"
        "two passes a step, plain attention in float32.\n\n"
        f"![Distance to the converged trajectory over the number of steps]({picture})\n\n"
        + "".join(f"- {sentence}\n" for sentence in verdicts(points))
        + f"\n{markdown(head, cells)}"
    )


def write(points: Sequence[Point], facts: dict[str, Any], command: str, folder: Path) -> None:
    """sampling.png, sampling.md and sampling.json in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    title = f"Distance to {facts['converged_steps']} DDIM steps, guidance {facts['guidance_scale']:g}, {facts['model']}"
    draw(points, folder / "sampling.png", title)
    (folder / "sampling.md").write_text(page(points, facts, command, "sampling.png"), encoding="utf-8")
    record = {"command": command, **facts, "verdicts": verdicts(points), "points": [asdict(point) for point in points]}
    (folder / "sampling.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
