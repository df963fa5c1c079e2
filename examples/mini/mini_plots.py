"""Pictures of the embedded model: spectrograms, the head's weights, the map of z."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pecmae.prototypes.plots import new_figure, plain
from pecmae.training.spectral_loss import SpectralLoss

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# Quieter than this below a picture's loudest place is black.
RANGE_DB = 65.0
# Highest normalised autocorrelation of onset strength of white noise, as `ear.pulse` measures it.
WHITE_NOISE_PULSE = 0.13


def plot_spectrograms(
    waves: Sequence[Sequence[np.ndarray]],
    titles: Sequence[Sequence[str]],
    sampling_rate: int,
    *,
    columns: Sequence[str],
    rows: Sequence[str],
) -> "Figure":
    """Draw log-mel spectrograms in a grid; each row shares its scale of loudness.

    Parameters
    ----------
    waves : sequence of sequence of np.ndarray [shape=(N,)]
        Sounds, row by row.
    titles : sequence of sequence of str
        Above each.
    sampling_rate : int
        In Hz.
    columns, rows : sequence of str
        What stands above the columns and beside the rows.
    """
    figure = new_figure(2.5 * len(columns), 1.45 * len(rows) + 0.4)
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    spectra = SpectralLoss(sampling_rate)
    for row, (sounds, names) in enumerate(zip(waves, titles, strict=True)):
        pictures = [spectra.mel(torch.from_numpy(wave)[None], 1024)[0].T.numpy() for wave in sounds]  # (bands, frames)
        decibels = [20 * np.log10(picture + 1e-6) for picture in pictures]
        loudest = max(float(picture.max()) for picture in decibels)
        for column, (picture, name, wave) in enumerate(zip(decibels, names, sounds, strict=True)):
            axes = grid[row, column]
            extent = (0.0, len(wave) / sampling_rate, 0.0, float(len(picture)))
            limits = {"vmin": loudest - RANGE_DB, "vmax": loudest}
            axes.imshow(picture, origin="lower", aspect="auto", extent=extent, cmap="magma", **limits)
            axes.set(yticks=[], xticks=range(5) if row == len(rows) - 1 else [])
            axes.set_title(plain(f"{columns[column]}\n{name}" if row == 0 else name), fontsize="small")
            if column == 0:
                axes.set_ylabel(plain(rows[row]))
    figure.supxlabel("seconds; mel bands from 0 Hz to half the sampling rate", fontsize="small")
    return figure


def plot_weights(weight: np.ndarray, labels: Sequence[str]) -> "Figure":
    """Draw the linear layer [shape=(C, M)]: what each prototype's similarity gives to each class."""
    labels = [plain(label) for label in labels]
    figure = new_figure(9, min(0.27 * len(labels), 20) + 1.1)
    from matplotlib.colors import SymLogNorm

    axes = figure.subplots()
    largest = max(float(np.abs(weight).max()), 1e-12)
    # Linear near zero only: what training adds beside a class's own prototypes is small.
    scale = SymLogNorm(linthresh=largest / 100, vmin=-largest, vmax=largest)
    per_class = weight.shape[1] // len(labels)
    image = axes.imshow(weight, cmap="RdBu_r", norm=scale, aspect="auto", interpolation="nearest")
    for edge in range(1, len(labels)):
        axes.axvline(edge * per_class - 0.5, color="black", linewidth=0.4)
    axes.set_xticks((np.arange(len(labels)) + 0.5) * per_class - 0.5, labels, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel=f"prototypes, {per_class} of each class", ylabel="class")
    figure.colorbar(
        image,
        ax=axes,
        label="weight",
        pad=0.01,
        ticks=[-largest, -largest / 10, -largest / 100, 0, largest / 100, largest / 10, largest],
        format="%.2g",
    )
    return figure


def plot_map(places: np.ndarray, classes: np.ndarray, prototypes: np.ndarray, labels: Sequence[str]) -> "Figure":
    """Draw embeddings [shape=(S, 2)] of `classes` [shape=(S,)] as dots, and prototypes [shape=(M, 2)] as stars."""
    labels = [plain(label) for label in labels]
    figure = new_figure(7.5, 6)
    axes = figure.subplots()
    own = np.arange(len(prototypes)) // (len(prototypes) // len(labels))
    for index, label in enumerate(labels):
        colour = f"C{index % 10}"
        dots, stars = places[classes == index], prototypes[own == index]
        axes.scatter(dots[:, 0], dots[:, 1], s=10, color=colour, alpha=0.6, linewidths=0)
        axes.scatter(
            stars[:, 0], stars[:, 1], s=110, marker="*", color=colour, edgecolors="black", linewidths=0.7, label=label, zorder=3
        )
    axes.set(xticks=[], yticks=[])
    axes.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    axes.spines[:].set_visible(False)
    return figure


def plot_chains(chains: Mapping[str, Mapping[str, Any]], stages: Mapping[str, str]) -> "Figure":
    """Draw what ears hear at each stage of sound, and the pulse, side by side for each model.

    Parameters
    ----------
    chains : mapping
        Model → what `ear.measure` found.
    stages : mapping
        Stage → what it is.
    """
    figure = new_figure(9, 3.4)
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    named = [plain(title).replace(" ", "\n") for title in stages.values()]
    for model, chain in chains.items():
        for ear, shares in chain["heard"].items():
            style = "-" if ear == "MusiCNN" else "--"
            left.plot(named, [100 * shares[stage] for stage in stages], style, marker="o", label=plain(f"{model}, by {ear}"))
        left.axhline(100 * chain["chance"], color="grey", linewidth=0.5)
        if chain["pulse"]:
            right.plot(named, [chain["pulse"][stage] for stage in stages], marker="o", label=plain(model))
    right.axhline(WHITE_NOISE_PULSE, color="grey", linewidth=0.5)
    left.set(ylabel="heard as its class, %", ylim=(0, 100))
    right.set(ylabel="pulse", ylim=(0, None))
    for axes in (left, right):
        axes.tick_params("x", labelsize="x-small")
        axes.legend(frameon=False, fontsize="x-small")
    return figure
