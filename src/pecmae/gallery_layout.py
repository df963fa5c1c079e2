"""Where things stand on the gallery's map and in its matrix.

Shapes: D width, C classes, M prototypes, E sampled embeddings.
"""

from typing import Any

import numpy as np
import torch

from pecmae.companion import Companion
from pecmae.model import PECMAE


@torch.no_grad()
def plane(model: PECMAE, companion: Companion | None) -> tuple[np.ndarray, np.ndarray, float]:
    """Prototypes and embeddings on the two directions in which they vary most, and the share of the variance there."""
    prototypes = model.head.projected_prototypes().double().cpu().numpy()
    samples = np.zeros((0, prototypes.shape[1])) if companion is None else companion.sample_z.astype(np.float64)
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


def matrix_cells(weight: np.ndarray, per_class: int) -> dict[str, Any]:
    """Cells of the linear layer: column, row, opacity, sign; the largest weight is opaque."""
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
    return {"cells": cells, "largest": largest, "columns": weight.shape[1], "rows": weight.shape[0], "per_class": per_class}
