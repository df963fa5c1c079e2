"""What a model knows about its own answers: how likely they are, when it is unsure, and what is unlike all it learned from.

Measured on tracks that nothing was fitted to and nothing was chosen by. What is promised holds for tracks that are exchangeable
with those: of the same kind of music, recorded in the same way. For another recording chain nothing is promised.

Shapes: N calibration tracks, S segments, D width, C classes, M prototypes, Q quantiles.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
import torch

from pecmae.core.files import atomic_write
from pecmae.data.tracks import EmbeddedTracks
from pecmae.errors import CheckpointError, ConfigError
from pecmae.hub.resolve import CALIBRATION_FILE
from pecmae.prototypes.head import PrototypeHead
from pecmae.prototypes.measures import segment_distances

FORMAT_VERSION = 1
# Fewer tracks promise next to nothing.
MINIMUM_TRACKS = 20
# Of what is known, the share that may be refused as unlike it.
REFUSED = 0.05
# What sets of classes and abstention promise unless told otherwise.
COVERAGE, RISK, CERTAINTY = 0.9, 0.05, 0.95
# Temperatures that are tried, in units of the head's own, and how strongly it holds them back: as one track does.
TEMPERATURE_RANGE = (0.02, 50.0)
QUANTILES = 101
NOT_CALIBRATED = (
    "This model is not calibrated; pecmae calibrate MODEL --data DIR adds what is missing and changes nothing else."
)
# Segments whose logits tell whether a calibration is of this head, and how far weights stored as float16 may move them.
PROBES, PROBE_TOLERANCE = 8, 0.02
# Of any number that is stored.
LARGEST_VALUE = 1e12


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """What was learned of a head's answers from tracks it was not fitted on, and what is usual among those it was."""

    temperature: float  # divides a track's logits before the softmax
    # Of the calibration tracks, in one order.
    true_probability: np.ndarray  # (N,) of the true class
    confidence: np.ndarray  # (N,) of the label that was given
    right: np.ndarray  # (N,) bool: that was the true class
    strangeness: np.ndarray  # (N,) mean of `segment_strangeness`, by the segments' weights
    radii: np.ndarray  # (C,) distance to a class's nearest prototype within which 95 % of its training segments lie
    # Of the training segments' similarities to each prototype.
    usual: np.ndarray  # (M,) mean
    similarity_quantiles: np.ndarray  # (M, Q) evenly spaced, from the least to the largest
    # Some segments and the head's answers to them: another head gives others.
    probe_z: np.ndarray  # (P, D)
    probe_logits: np.ndarray  # (P, C)

    @property
    def num_tracks(self) -> int:
        """Number of the calibration tracks, N."""
        return len(self.right)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Probability of every class [shape=(..., C), sums to 1] from the logits of tracks [shape=(..., C)]."""
        return softmax(logits, self.temperature)

    def least_probability(self, coverage: float = COVERAGE) -> float:
        """The probability from which on a class belongs to the set that holds the true class with this coverage.

        Split conformal prediction with the score 1 - p(true class) (Sadinle, Lei and Wasserman 2019, arXiv 1609.00451): for a
        track exchangeable with the calibration tracks the true class is in the set with a probability of at least `coverage`
        and of at most `coverage + 1 / (N + 1)`, where no two scores are equal. 0 where N is too small to exclude a class.

        Raises
        ------
        ValueError
            `coverage` does not lie between 0 and 1.
        """
        _check_share("coverage", coverage)
        rank = math.ceil((self.num_tracks + 1) * coverage)
        if rank > self.num_tracks:
            return 0.0
        return float(np.sort(self.true_probability)[::-1][rank - 1])

    def sure_from(self, risk: float = RISK, certainty: float = CERTAINTY) -> float:
        """The least probability of a label at which labels are wrong in at most a share of `risk` of the tracks that reach it.

        It holds with probability `certainty` over the draw of the calibration tracks: thresholds are tried from the strictest
        that could pass down to the mildest, in this fixed order, as long as the exact binomial bound (Clopper and Pearson) of
        the error among the tracks above stays at `risk` or less (Angelopoulos et al. 2021, arXiv 2110.01052, section 2.3).
        Infinite where even the first fails: then the calibration tracks are too few, or too many labels are wrong.

        Raises
        ------
        ValueError
            `risk` or `certainty` does not lie between 0 and 1.
        """
        from scipy.stats import beta

        _check_share("risk", risk)
        _check_share("certainty", certainty)
        order = np.argsort(-self.confidence, kind="stable")
        confidence, counts = self.confidence[order], np.arange(1, self.num_tracks + 1)
        errors = (~self.right[order]).cumsum()
        bounds = beta.ppf(certainty, errors + 1, np.maximum(counts - errors, 1e-9))
        # The fewest tracks whose bound can pass, if all their labels are right; tracks of one confidence come together.
        first = math.ceil(math.log(1 - certainty) / math.log(1 - risk))
        tried = np.append(confidence[1:] < confidence[:-1], True) & (counts >= first)
        failing = np.flatnonzero(tried & (bounds > risk))
        passing = np.flatnonzero(tried[: failing[0]] if len(failing) else tried)
        return float(confidence[passing[-1]]) if len(passing) else math.inf

    def unlikeness(self, strangeness: np.ndarray) -> np.ndarray:
        """Share of what is known that is less strange, in (0, 1), from strangeness of any shape.

        One minus the conformal p-value: of tracks exchangeable with the calibration tracks, at most a share of `REFUSED` is
        above `1 - REFUSED`.
        """
        below = np.searchsorted(np.sort(self.strangeness), strangeness, side="left")
        return below / (self.num_tracks + 1)

    def percentiles(self, similarities: np.ndarray) -> np.ndarray:
        """Share of the training segments that are less similar to a prototype, in [0, 1] [shape=(..., M), as given]."""
        flat = similarities.reshape(-1, similarities.shape[-1])
        shares = np.linspace(0, 1, self.similarity_quantiles.shape[1])
        columns = [np.interp(flat[:, m], quantiles, shares) for m, quantiles in enumerate(self.similarity_quantiles)]
        return np.stack(columns, axis=1).reshape(similarities.shape)

    def describes(self, head: PrototypeHead) -> bool:
        """Whether it was made for this head, up to the rounding of stored weights."""
        if self.probe_z.shape[1] != head.config.embedding_dim or len(self.usual) != head.config.num_prototypes:
            return False
        found = _logits(head, torch.from_numpy(self.probe_z)).numpy()
        spread = max(float(np.ptp(self.probe_logits)), 1e-6)
        return found.shape == self.probe_logits.shape and bool(
            np.abs(found - self.probe_logits).max() <= PROBE_TOLERANCE * spread
        )

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write it into the directory of its model, whole or not at all; returns the file."""
        from safetensors.numpy import save

        arrays = {item.name: np.ascontiguousarray(getattr(self, item.name)) for item in fields(self) if item.name not in _PLAIN}
        metadata = {"format_version": str(FORMAT_VERSION), "temperature": repr(self.temperature)}
        path = Path(directory) / CALIBRATION_FILE
        with atomic_write(path) as partial:
            partial.write_bytes(save(arrays, metadata))
        return path

    @classmethod
    def load(cls, directory: str | os.PathLike[str], head: PrototypeHead) -> Self | None:
        """Read it from the directory of the model with this head; None where there is none.

        Raises
        ------
        CheckpointError
            It is damaged, of a newer version, or was made for other weights.
        """
        from safetensors import SafetensorError, safe_open

        path = Path(directory) / CALIBRATION_FILE
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                version, temperature = int(metadata["format_version"]), float(metadata["temperature"])
                if version > FORMAT_VERSION:
                    raise CheckpointError(f"{path}: format version {version} is newer than this pecmae reads; upgrade it.")
                arrays = {item.name: file.get_tensor(item.name) for item in fields(cls) if item.name not in _PLAIN}
        except CheckpointError:
            raise
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise CheckpointError(f"{path}: cannot be read ({error}); {_WAY_OUT}.") from None
        if wrong := _what_is_wrong(temperature, arrays, head):
            raise CheckpointError(f"{path}: {wrong}; {_WAY_OUT}.")
        found = cls(temperature=temperature, **arrays)
        if not found.describes(head):
            raise CheckpointError(f"{path}: describes other weights than those beside it; {_WAY_OUT}.")
        return found


_WAY_OUT = "write it again with pecmae calibrate, or delete it"
_PLAIN = ("temperature",)


def _what_is_wrong(temperature: float, arrays: Mapping[str, np.ndarray], head: PrototypeHead) -> str | None:
    """Why numbers cannot be what was learned of a head's answers, if they cannot."""
    config = head.config
    tracks, probes = len(arrays["right"].ravel()), len(arrays["probe_z"])
    quantiles = arrays["similarity_quantiles"].shape[-1]
    shapes = {
        **dict.fromkeys(("true_probability", "confidence", "right", "strangeness"), (tracks,)),
        "radii": (config.num_classes,),
        "usual": (config.num_prototypes,),
        "similarity_quantiles": (config.num_prototypes, quantiles),
        "probe_z": (probes, config.embedding_dim),
        "probe_logits": (probes, config.num_classes),
    }
    if not 0 < temperature < LARGEST_VALUE:
        return f"its temperature is {temperature}"
    for name, array in arrays.items():
        if array.shape != shapes[name] or array.dtype.kind != ("b" if name == "right" else "f") or not array.size:
            return f"{name} has the shape {array.shape} and the type {array.dtype}, not {shapes[name]}"
        if name != "right" and not np.abs(array).max() <= LARGEST_VALUE:  # NaN too
            return f"{name} holds values that cannot be"
    return None if (arrays["radii"] > 0).all() else "radii holds values that cannot be"


def calibrate(head: PrototypeHead, held_out: EmbeddedTracks, training: EmbeddedTracks, *, seed: int = 0) -> Calibration:
    """Learn how far a head's answers can be trusted.

    Parameters
    ----------
    head : PrototypeHead
    held_out : EmbeddedTracks
        Labelled tracks that the head was neither fitted on nor chosen by; what is promised is promised for tracks like them.
        The temperature is fitted to the same tracks as the sets' limit: one number more, which costs less than a track.
    training : EmbeddedTracks
        What it was fitted on: what is usual.
    seed : int
        Of the choice of segments that tell whether a calibration belongs to a head.

    Raises
    ------
    ConfigError
        There are fewer than `MINIMUM_TRACKS` tracks held out.
    """
    count = len(held_out.track_labels)
    if count < MINIMUM_TRACKS:
        raise ConfigError(f"{count} tracks are too few to calibrate a model; give at least {MINIMUM_TRACKS}.")
    labels = held_out.track_labels.numpy()
    logits = held_out.average(_logits(head, held_out.z)).numpy()  # (N, C)
    temperature = fit_temperature(logits, labels, head.config.temperature)
    probabilities = softmax(logits, temperature)
    examples = training.whole()
    radii = class_radii(head, examples)
    with torch.no_grad():
        similarities = head.similarities(examples.z.to(head.prototypes.device)).double().cpu().numpy()  # (segments, M)
    probes = np.sort(np.random.default_rng(seed).permutation(len(examples.z))[:PROBES])
    return Calibration(
        temperature=temperature,
        true_probability=probabilities[np.arange(count), labels],
        confidence=probabilities.max(1),
        right=probabilities.argmax(1) == labels,
        strangeness=track_strangeness(head, held_out, radii),
        radii=radii,
        usual=similarities.mean(0),
        similarity_quantiles=np.quantile(similarities, np.linspace(0, 1, QUANTILES), axis=0).T,
        probe_z=examples.z[probes].numpy(),
        probe_logits=_logits(head, examples.z[probes]).numpy(),
    )


def fit_temperature(logits: np.ndarray, labels: np.ndarray, usual: float) -> float:
    """The temperature of the lowest negative log-likelihood (Guo et al. 2017, arXiv 1706.04599).

    A weak prior around the head's own keeps it finite where every label is right, and moves it by less than a track does.

    Parameters
    ----------
    logits : np.ndarray [shape=(N, C)]
    labels : np.ndarray [shape=(N,)]
        Class numbers.
    usual : float
        The head's own temperature.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    def loss(log_ratio: float) -> float:
        log_likelihood = log_softmax(logits / (usual * math.exp(log_ratio)), axis=1)[np.arange(len(labels)), labels].sum()
        return float(-log_likelihood + log_ratio**2 / 2)

    bounds = math.log(TEMPERATURE_RANGE[0]), math.log(TEMPERATURE_RANGE[1])
    # The likelihood has one maximum in 1 / temperature; the grid finds its neighbourhood.
    grid = np.linspace(*bounds, 41)
    best = int(np.argmin([loss(value) for value in grid]))
    near = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    return usual * math.exp(float(minimize_scalar(loss, bounds=near, method="bounded").x))


def softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Softmax of `logits` / `temperature` over the last axis, in double precision."""
    scaled = np.asarray(logits, np.float64) / temperature
    powers = np.exp(scaled - scaled.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def class_distances(head: PrototypeHead, z: torch.Tensor) -> np.ndarray:
    """Distance of each z [shape=(S, D)] to the nearest prototype of each class [shape=(S, C)], as the head measures it."""
    distances = segment_distances(head, z).double()  # (S, M)
    owners = head.prototype_labels.cpu().expand_as(distances)
    nearest = torch.full((len(z), head.config.num_classes), torch.inf, dtype=torch.float64)
    return nearest.scatter_reduce(1, owners, distances, "amin").numpy()


def class_radii(head: PrototypeHead, examples: EmbeddedTracks) -> np.ndarray:
    """Distance to a class's nearest prototype within which 95 % of its segments lie [shape=(C,)].

    A class without a segment is as wide as the widest.
    """
    own, among = examples.labels.numpy(), class_distances(head, examples.z)  # (S, C)
    radii = np.array([_radius(among[own == label, label]) for label in range(head.config.num_classes)])
    return np.where(np.isnan(radii), np.nanmax(radii), radii)


def track_strangeness(head: PrototypeHead, tracks: EmbeddedTracks, radii: np.ndarray) -> np.ndarray:
    """Mean of `segment_strangeness` over the segments of each track, by their weights [shape=(N,)]."""
    return tracks.average(torch.from_numpy(segment_strangeness(class_distances(head, tracks.z), radii))).numpy()


def segment_strangeness(distances: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """How far segments lie from everything, in radii of the class that they are nearest to by that measure [shape=(S,)].

    Above 1, a segment is further from every class than 95 % of that class's training segments. The strangeness of a track is
    the mean over its segments, by their weights.

    Parameters
    ----------
    distances : np.ndarray [shape=(S, C)]
        See `class_distances`.
    radii : np.ndarray [shape=(C,)]
    """
    return np.asarray((distances / radii).min(1))


def _logits(head: PrototypeHead, z: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return head(z.to(head.prototypes.device)).cpu()


def _radius(distances: np.ndarray) -> float:
    """The distance within which 95 % of a class's segments lie; NaN where it has none."""
    return max(float(np.quantile(distances, 1 - REFUSED)), 1e-9) if len(distances) else math.nan


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name}={value} must lie between 0 and 1.")
