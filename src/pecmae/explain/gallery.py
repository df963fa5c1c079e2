"""The prototype gallery: every prototype of a model, heard, and how it does.

Shapes: D width, C classes, K prototypes per class, M prototypes, R seeds, E sampled embeddings.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from pecmae.audio.compression import compressed
from pecmae.explain.media import picture_uri
from pecmae.explain.pages import Page, model_facts, readable, render_page
from pecmae.explain.sounds import PrototypeSounds, without_audio_warnings
from pecmae.model import PECMAE
from pecmae.prototypes.measures import duplicate_pairs, purity
from pecmae.prototypes.neighbours import Neighbours

SEEDS = range(4)


@dataclass(frozen=True, kw_only=True)
class SoundView:
    """One sound of a prototype, and what the model hears in it."""

    seed: int
    # The class it gets, and its score.
    label: str
    score: float
    # Of its embedding to the prototype that it was made from, as the head measures it.
    distance: float


@dataclass(frozen=True, kw_only=True)
class PrototypeView:
    """A prototype as the page shows it."""

    # Among all M, and within its class.
    index: int
    number: int
    label: str
    # The most typical one first: the one whose embedding comes closest to the prototype.
    sounds: tuple[SoundView, ...]
    # Spectrogram of the most typical sound, a data URI.
    picture: str
    # Sounds that get the prototype's own class.
    survived: int
    # Training segments that it is the closest of all to; None: not known.
    wins: int | None
    dead: bool | None
    # Training segments nearest to it; None: not known.
    nearest: tuple[dict[str, Any], ...] | None
    # Names of prototypes that are almost equal to it.
    duplicates: tuple[str, ...] = ()
    # Share of the nearest training segments that are of its class; None: not known.
    purity: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Gallery(Page):
    """A model's prototypes, their sounds and their health."""

    seeds: tuple[int, ...]
    prototypes: tuple[PrototypeView, ...]
    # Of the linear layer [shape=(C, M)].
    weight: np.ndarray
    # In the plane [shape=(M, 2) and (E, 2)], classes of the sampled embeddings [shape=(E,)], and the share of the variance
    # that the plane holds.
    prototype_places: np.ndarray
    embedding_places: np.ndarray
    embedding_labels: np.ndarray
    variance_shown: float
    # Training segments in all; None: not known.
    num_segments: int | None
    # Compressed, by element: sound-PROTOTYPE-SEED.
    sounds: dict[str, dict[str, str]]

    @property
    def missing(self) -> tuple[str, ...]:
        """What the model's directory does not hold, as sentences."""
        if self.num_segments is not None:
            return ()
        return (
            "This model's directory holds no companion.safetensors, so how often prototypes win, their purity, the dead ones, "
            "their nearest training segments and the embeddings on the map are not known.",
        )

    @property
    def survival(self) -> float:
        """Share of all sounds that get their prototype's class."""
        return sum(view.survived for view in self.prototypes) / (len(self.prototypes) * len(self.seeds))

    @property
    def dead(self) -> int | None:
        """Prototypes that no training segment is closest to; None: not known."""
        return None if self.num_segments is None else sum(bool(view.dead) for view in self.prototypes)

    @property
    def duplicates(self) -> int:
        """Prototypes that are almost equal to another one."""
        return sum(bool(view.duplicates) for view in self.prototypes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: all but the sounds."""
        return {
            **super().to_dict(),
            "seeds": list(self.seeds),
            "num_segments": self.num_segments,
            "missing": list(self.missing),
            "survival": self.survival,
            "dead": self.dead,
            "duplicates": self.duplicates,
            "weight": self.weight.tolist(),
            "variance_shown": self.variance_shown,
            "prototype_places": self.prototype_places.tolist(),
            "prototypes": [asdict(view) for view in self.prototypes],
        }

    def to_html(self) -> str:
        """Return the page: one file that needs nothing else."""
        rows = [(label, [view for view in self.prototypes if view.label == label]) for label in self.labels]
        return render_page(
            "gallery",
            {"page": self.to_dict()},
            self.sounds,
            gallery=self,
            rows=rows,
            matrix=matrix_cells(self.weight, np.bincount(self.prototype_labels, minlength=len(self.labels)).tolist()),
            places=fitted(self.prototype_places, self.embedding_places),
        )


def build_gallery(
    model: PECMAE,
    *,
    name: str,
    neighbours: Neighbours | None = None,
    sounds: PrototypeSounds | None = None,
    seeds: Sequence[int] = SEEDS,
    progress: Callable[[int], Callable[[], None]] = lambda total: lambda: None,
) -> Gallery:
    """Sonify all prototypes and gather what is known of them.

    Parameters
    ----------
    model : PECMAE
    name : str
        Of the model, as people should read it.
    neighbours : Neighbours, optional
        Without it the page says what is missing.
    sounds : PrototypeSounds, optional
        Where sounds come from; those made by an interrupted run are not made again. By default the cache of the user.
    seeds : sequence of int
        A sound of each prototype for each.
    progress : callable
        Called with the number of steps (a sound, a prototype); returns what is called after each.
    """
    source = sounds or PrototypeSounds(model)
    count = model.head.config.num_prototypes
    advance = progress(count * len(seeds) + count)
    source.make([(m, seed) for seed in seeds for m in range(count)], advance)
    twins = duplicate_pairs(model.head)
    pure = None if neighbours is None else purity(torch.from_numpy(neighbours.nearest_label), model.head.prototype_labels.cpu())
    views: list[PrototypeView] = []
    stored: dict[str, dict[str, str]] = {}
    for m in range(count):
        waves = {seed: source.get(m, seed) for seed in seeds}
        view = _view(model, m, waves, neighbours)
        same = tuple("{} {}".format(*_name(model, a + b - m)) for a, b in twins if m in (a, b))
        views.append(replace(view, duplicates=same, purity=None if pure is None else float(pure[m])))
        stored |= {f"sound-{m}-{seed}": compressed(wave, model.sampling_rate) for seed, wave in waves.items()}
        advance()
    places, embeddings, variance = plane(model, neighbours)
    return Gallery(
        **model_facts(model, name),
        seeds=tuple(seeds),
        prototypes=tuple(views),
        weight=model.head.linear.weight.detach().cpu().numpy(),
        prototype_places=places,
        embedding_places=embeddings,
        embedding_labels=np.zeros(0, int) if neighbours is None else neighbours.sample_labels,
        variance_shown=variance,
        num_segments=None if neighbours is None else neighbours.num_segments,
        sounds=stored,
    )


def write_gallery(model: PECMAE, output: str | os.PathLike[str], **options: Any) -> Gallery:
    """Write the page; options and errors as for `build_gallery`."""
    gallery = build_gallery(model, **{"name": "", **options})
    gallery.write(output)
    return gallery


def _view(model: PECMAE, prototype: int, waves: Mapping[int, np.ndarray], neighbours: Neighbours | None) -> PrototypeView:
    """What is known of one prototype on its own, from its sounds by seed and from the neighbours."""
    label, number = _name(model, prototype)
    heard = sorted((_heard(model, wave, prototype, seed) for seed, wave in waves.items()), key=lambda view: view.distance)
    return PrototypeView(
        index=prototype,
        number=number,
        label=label,
        sounds=tuple(heard),
        picture=picture_uri(waves[heard[0].seed], model.sampling_rate),
        survived=sum(view.label == label for view in heard),
        wins=None if neighbours is None else int(neighbours.wins[prototype]),
        dead=None if neighbours is None else not neighbours.wins[prototype],
        nearest=None if neighbours is None else tuple(_named(neighbours.nearest(prototype), model)),
    )


def _name(model: PECMAE, prototype: int) -> tuple[str, int]:
    """Class of a prototype, and its number within the class."""
    label, _, number = model.prototype_name(prototype).rpartition(" ")
    return readable(label), int(number)


@torch.no_grad()
def _heard(model: PECMAE, samples: np.ndarray, prototype: int, seed: int) -> SoundView:
    """Give a prototype's sound back to the model."""
    with without_audio_warnings():
        track = model.embed_track(samples, sampling_rate=model.sampling_rate)
    prediction = model.classify(track.z, duration=track.duration)
    distances = model.head.distances(track.z.to(model.head.prototypes.device))
    return SoundView(
        seed=seed, label=readable(prediction.label), score=prediction.score, distance=float(distances[:, prototype].mean())
    )


def _named(nearest: list[dict[str, Any]], model: PECMAE) -> list[dict[str, Any]]:
    return [item | {"track": readable(item["track"]), "label": readable(model.labels[item["label"]])} for item in nearest]


@torch.no_grad()
def plane(model: PECMAE, neighbours: Neighbours | None) -> tuple[np.ndarray, np.ndarray, float]:
    """Prototypes and embeddings on the two directions in which they vary most, and the share of the variance there."""
    prototypes = model.head.projected_prototypes().double().cpu().numpy()
    samples = np.zeros((0, prototypes.shape[1])) if neighbours is None else neighbours.sample_z.astype(np.float64)
    points = np.concatenate([prototypes, samples])
    points -= points.mean(0)
    _, spread, directions = np.linalg.svd(points, full_matrices=False)
    directions = directions[:2]
    # The sign of a direction is arbitrary; fixed, the same model gives the same map.
    directions *= np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(1)])[:, None]
    flat = points @ directions.T
    flat = np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
    variance = float((spread[:2] ** 2).sum() / max(float((spread**2).sum()), 1e-12))
    return flat[: len(prototypes)], flat[len(prototypes) :], variance


def fitted(prototypes: np.ndarray, embeddings: np.ndarray, width: float = 1000, height: float = 620) -> dict[str, Any]:
    """Points in a picture's own units, with a margin."""
    points = np.concatenate([prototypes, embeddings])
    low, high = points.min(0), points.max(0)
    margin = 24.0
    room = np.array([width, height]) - 2 * margin
    scaled = margin + (points - low) / np.maximum(high - low, 1e-12) * room
    scaled[:, 1] = height - scaled[:, 1]
    rounded = scaled.round(1).tolist()
    return {
        "width": width,
        "height": height,
        "prototypes": rounded[: len(prototypes)],
        "embeddings": rounded[len(prototypes) :],
    }


def matrix_cells(weight: np.ndarray, counts: Sequence[int]) -> dict[str, Any]:
    """Cells of the linear layer: column, row, opacity, sign; the largest weight is opaque.

    `counts` are the prototypes of each class, whose columns stand together from `firsts` on.
    """
    largest = max(float(np.abs(weight).max()), 1e-12)
    cells = [
        {
            "x": m,
            "y": c,
            "opacity": round(abs(float(weight[c, m])) / largest, 3),
            "plus": bool(weight[c, m] > 0),
            "value": float(weight[c, m]),
        }
        for c, m in np.argwhere(np.abs(weight) >= largest / 100).tolist()
    ]
    firsts = (np.cumsum(counts) - counts).tolist()
    shape = {"columns": weight.shape[1], "rows": weight.shape[0]}
    return {"cells": cells, "largest": largest, **shape, "counts": list(counts), "firsts": firsts}
