"""The prototype gallery: every prototype of a model, heard, and how it does.

Shapes: D width, C classes, K prototypes per class, M prototypes, R seeds, E sampled embeddings.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from pecmae.companion import Companion
from pecmae.gallery_layout import fitted, matrix_cells, plane
from pecmae.model import PECMAE
from pecmae.pictures import picture_uri
from pecmae.prototype_measures import duplicate_pairs, purity
from pecmae.rendering import Page, model_facts, readable, render_page
from pecmae.sounds import PrototypeSounds, compressed, without_audio_warnings

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
            matrix=matrix_cells(self.weight, self.prototypes_per_class),
            places=fitted(self.prototype_places, self.embedding_places),
        )


def build_gallery(
    model: PECMAE,
    *,
    name: str,
    companion: Companion | None = None,
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
    companion : Companion, optional
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
    pure = None if companion is None else purity(torch.from_numpy(companion.nearest_label), model.head.prototype_labels.cpu())
    views: list[PrototypeView] = []
    stored: dict[str, dict[str, str]] = {}
    for m in range(count):
        waves = {seed: source.get(m, seed) for seed in seeds}
        view = _view(model, m, waves, companion)
        same = tuple("{} {}".format(*_name(model, a + b - m)) for a, b in twins if m in (a, b))
        views.append(replace(view, duplicates=same, purity=None if pure is None else float(pure[m])))
        stored |= {f"sound-{m}-{seed}": compressed(wave, model.sampling_rate) for seed, wave in waves.items()}
        advance()
    places, embeddings, variance = plane(model, companion)
    return Gallery(
        **model_facts(model, name),
        seeds=tuple(seeds),
        prototypes=tuple(views),
        weight=model.head.linear.weight.detach().cpu().numpy(),
        prototype_places=places,
        embedding_places=embeddings,
        embedding_labels=np.zeros(0, int) if companion is None else companion.sample_labels,
        variance_shown=variance,
        num_segments=None if companion is None else companion.num_segments,
        sounds=stored,
    )


def write_gallery(model: PECMAE, output: str | os.PathLike[str], **options: Any) -> Gallery:
    """Write the page; options and errors as for `build_gallery`."""
    gallery = build_gallery(model, **{"name": "", **options})
    gallery.write(output)
    return gallery


def _view(model: PECMAE, prototype: int, waves: Mapping[int, np.ndarray], companion: Companion | None) -> PrototypeView:
    """What is known of one prototype on its own, from its sounds by seed and from the companion."""
    label, number = _name(model, prototype)
    heard = sorted((_heard(model, wave, prototype, seed) for seed, wave in waves.items()), key=lambda view: view.distance)
    return PrototypeView(
        index=prototype,
        number=number,
        label=label,
        sounds=tuple(heard),
        picture=picture_uri(waves[heard[0].seed], model.sampling_rate),
        survived=sum(view.label == label for view in heard),
        wins=None if companion is None else int(companion.wins[prototype]),
        dead=None if companion is None else not companion.wins[prototype],
        nearest=None if companion is None else tuple(_named(companion.nearest(prototype), model)),
    )


def _name(model: PECMAE, prototype: int) -> tuple[str, int]:
    """Class of a prototype, and its number within the class."""
    label, number = divmod(prototype, model.head.config.prototypes_per_class)
    return readable(model.labels[label]), number


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
