"""How well probabilities fit what happens: calibration error, proper scores, and what is gained by leaving labels out.

Shapes: N tracks, C classes.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from pecmae.data.tracks import EmbeddedTracks
from pecmae.prototypes.calibration import COVERAGE, REFUSED, Calibration, track_strangeness
from pecmae.prototypes.head import PrototypeHead

BINS = 10
LEAST_PROBABILITY = 1e-12


@dataclass(frozen=True, eq=False)
class Confidence:
    """Probabilities of labelled tracks, and what became of them."""

    probabilities: np.ndarray  # (N, C)
    true: np.ndarray  # (N,) class numbers

    @cached_property
    def confidence(self) -> np.ndarray:
        """Of the label that is given [shape=(N,)]."""
        return self.probabilities.max(1)

    @cached_property
    def right(self) -> np.ndarray:
        """Whether it is the true one [shape=(N,), bool]."""
        return self.probabilities.argmax(1) == self.true

    @cached_property
    def bins(self) -> list[dict[str, float]]:
        """Mean confidence and share of right labels in bins of as many tracks each, from the least confident up."""
        order = np.argsort(self.confidence, kind="stable")
        parts = [part for part in np.array_split(order, BINS) if len(part)]
        return [
            {"confidence": float(self.confidence[part].mean()), "right": float(self.right[part].mean()), "tracks": len(part)}
            for part in parts
        ]

    @property
    def calibration_error(self) -> float:
        """Expected calibration error over bins of equal mass (Nixon et al. 2019, arXiv 1904.01685)."""
        return float(sum(abs(part["confidence"] - part["right"]) * part["tracks"] for part in self.bins) / len(self.true))

    @property
    def brier(self) -> float:
        """Brier score: mean over tracks of the squared distance of the probabilities to the truth, 0 (best) to 2."""
        return float(np.square(self.probabilities - np.eye(self.probabilities.shape[1])[self.true]).sum(1).mean())

    @property
    def negative_log_likelihood(self) -> float:
        """Mean over tracks of -log p(true class), in nepers."""
        own = self.probabilities[np.arange(len(self.true)), self.true]
        return float(-np.log(np.maximum(own, LEAST_PROBABILITY)).mean())

    @cached_property
    def risks(self) -> np.ndarray:
        """Share of wrong labels among the n most confident tracks, for n = 1 … N [shape=(N,)]: the risk-coverage curve."""
        order = np.argsort(-self.confidence, kind="stable")
        return (~self.right[order]).cumsum() / np.arange(1, len(order) + 1)

    @property
    def area_under_risk(self) -> float:
        """Area under the risk-coverage curve (AURC, Geifman, Uziel and El-Yaniv 2019, arXiv 1805.08206): 0 is best."""
        return float(self.risks.mean())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "calibration_error": self.calibration_error,
            "brier": self.brier,
            "negative_log_likelihood": self.negative_log_likelihood,
            "area_under_risk": self.area_under_risk,
            "bins": self.bins,
            "risks": self.risks.tolist(),
        }


@torch.no_grad()
def confidence_report(head: PrototypeHead, calibration: Calibration | None, tracks: EmbeddedTracks) -> dict[str, Any]:
    """What scores are worth as probabilities, and what calibrated ones are; with what a calibration promises, kept or not.

    Parameters
    ----------
    head : PrototypeHead
    calibration : Calibration, optional
        Of the head.
    tracks : EmbeddedTracks

    Returns
    -------
    dict
        `scores` and `probabilities`: see `Confidence.to_dict`. `sets`: how often sets at `COVERAGE` hold the true class, and
        their mean size. `given`: share of the labels that are sure, and of these that are wrong. `refused`: share of the tracks
        that are called unknown. Without a calibration, `scores` alone; nothing for a head whose scores are no shares of 1.
    """
    logits = tracks.average(head(tracks.z.to(head.prototypes.device)).cpu())  # (N, C)
    true = tracks.track_labels.numpy()
    found: dict[str, Any] = {}
    if head.config.classification_loss == "cross_entropy":
        found["scores"] = Confidence(head.scores(logits).double().numpy(), true).to_dict()
    if calibration is None:
        return found
    confidence = Confidence(calibration.probabilities(logits.numpy()), true)
    sets = confidence.probabilities >= calibration.least_probability(COVERAGE)  # (N, C)
    sure = confidence.confidence >= calibration.sure_from()
    unlike = calibration.unlikeness(track_strangeness(head, tracks, calibration.radii)) > 1 - REFUSED
    return {
        **found,
        "probabilities": confidence.to_dict(),
        "sets": {
            "wanted": COVERAGE,
            "coverage": float(sets[np.arange(len(true)), true].mean()),
            "size": float(sets.sum(1).mean()),
        },
        "given": {"share": float(sure.mean()), "wrong": float((~confidence.right[sure]).mean()) if sure.any() else None},
        "refused": float(unlike.mean()),
    }
