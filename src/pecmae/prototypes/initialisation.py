"""Where prototypes begin, before they are trained.

Shapes: N segments, D width, M prototypes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pecmae.core.configs import check_choice

INITIALISATIONS = ("kmeans", "interleaved", "samples", "random")
# Of normalised z, over samples: what random points are drawn with.
RANDOM_STD = 0.5


def initial_prototypes(
    embeddings: Tensor, labels: Tensor, prototype_counts: Sequence[int], *, kind: str = "kmeans", seed: int = 0
) -> Tensor:
    """Prototypes to begin training with, class-major.

    Parameters
    ----------
    embeddings : Tensor [shape=(N, D)]
        Normalised z of the training set.
    labels : Tensor [shape=(N,), int64]
    prototype_counts : sequence of int [length C]
        Prototypes of each class, which needs at least as many samples.
    kind : {"kmeans", "interleaved", "samples", "random"}
        k-means centres of each class; the same centres in the order of the published code, prototype 0 of every class before
        prototype 1 of any, so that most begin in another class's region; training samples of each class; or random points.
    seed : int
        Of whatever is drawn.

    Returns
    -------
    Tensor [shape=(M, D)]

    Raises
    ------
    ConfigError
        There is no such kind, or "interleaved" is asked for classes with different numbers of prototypes.
    ValueError
        A class has fewer samples than prototypes.
    """
    check_choice("initialisation", kind, INITIALISATIONS)
    if kind == "random":
        shape = (sum(prototype_counts), embeddings.shape[1])
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(embeddings) * RANDOM_STD
    if kind == "samples":
        return _samples(embeddings, labels, prototype_counts, seed)
    centres = kmeans_prototypes(embeddings, labels, prototype_counts, seed)
    if kind == "kmeans":
        return centres
    check_choice("initialisation of classes with different numbers of prototypes", kind, _allowed(prototype_counts))
    return centres.reshape(len(prototype_counts), -1, embeddings.shape[1]).transpose(0, 1).reshape(centres.shape)


def _allowed(prototype_counts: Sequence[int]) -> tuple[str, ...]:
    return INITIALISATIONS if len(set(prototype_counts)) == 1 else ("kmeans", "samples", "random")


def _samples(embeddings: Tensor, labels: Tensor, prototype_counts: Sequence[int], seed: int) -> Tensor:
    """Training samples of each class, none twice."""
    draws = np.random.default_rng(seed)
    rows = []
    for label, count in enumerate(prototype_counts):
        own = np.flatnonzero(labels.cpu().numpy() == label)
        _require(label, len(own), count)
        rows.append(draws.choice(own, count, replace=False))
    return embeddings[torch.from_numpy(np.concatenate(rows)).to(embeddings.device)]


def _require(label: int, found: int, count: int) -> None:
    if found < count:
        raise ValueError(
            f"Class {label} has {found} training segments, fewer than prototypes_per_class={count}; "
            "add audio or ask for fewer prototypes."
        )


def kmeans_prototypes(embeddings: Tensor, labels: Tensor, prototype_counts: Sequence[int], seed: int = 0) -> Tensor:
    """Initial prototypes: k-means centres of each class, class-major.

    The published code interleaves the centres of the classes, although its linear layer and loss take them class by class;
    this is the order that the method means.

    Parameters
    ----------
    embeddings : Tensor [shape=(N, D)]
        Normalised z of the training set.
    labels : Tensor [shape=(N,), int64]
    prototype_counts : sequence of int [length C]
        Centres of each class, which needs at least as many samples.
    seed : int
        Of k-means.

    Returns
    -------
    Tensor [shape=(M, D)]

    Raises
    ------
    ValueError
        A class has fewer samples than centres.
    """
    # Imported here: scikit-learn costs a second that only fitting needs.
    from sklearn.cluster import KMeans

    centres = []
    for label, count in enumerate(prototype_counts):
        samples = embeddings[labels == label].cpu().numpy().astype(np.float32)
        _require(label, len(samples), count)
        centres.append(KMeans(count, n_init=3, random_state=seed).fit(samples).cluster_centers_)
    return torch.from_numpy(np.concatenate(centres)).to(embeddings.dtype)
