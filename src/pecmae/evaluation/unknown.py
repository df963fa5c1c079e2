"""Whether a model knows what it does not know: sound that is none of its classes.

Shapes: N known tracks, U unknown ones.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pecmae.audio.segments import find_audio_files
from pecmae.autoencoder.embedding import TrackEmbedding
from pecmae.data.embedding_cache import EmbeddingCache
from pecmae.data.tracks import EmbeddedTracks
from pecmae.errors import ConfigError
from pecmae.model import PECMAE
from pecmae.prototypes.calibration import NOT_CALIBRATED, REFUSED, track_strangeness

# Share of the known tracks that is accepted where false positives are counted.
ACCEPTED = 1 - REFUSED


def detection_report(known: np.ndarray, unknown: np.ndarray) -> dict[str, float]:
    """How well a number tells the unknown, where it should be larger, from the known.

    Parameters
    ----------
    known, unknown : np.ndarray [shape=(N,) and (U,)]
        Such as unlikeness or strangeness.

    Returns
    -------
    dict
        `auroc`: that of a random unknown track is larger than that of a random known one, ties count half; 0.5 is chance.
        `false_positives`: share of the unknown that is accepted where 95 % of the known are.
    """
    from scipy.stats import mannwhitneyu

    limit = np.quantile(known, ACCEPTED)
    return {
        "auroc": float(mannwhitneyu(unknown, known).statistic / (len(known) * len(unknown))),
        "false_positives": float((unknown <= limit).mean()),
    }


def unknown_report(
    model: PECMAE, known: EmbeddedTracks, sources: Sequence[Path], cache: EmbeddingCache, *, progress: bool = False
) -> dict[str, Any]:
    """Ask a model about sound that is none of its classes.

    Parameters
    ----------
    model : PECMAE
        Calibrated.
    known : EmbeddedTracks
        Tracks of its classes that it has not met.
    sources : sequence of Path
        Files and folders; each is reported apart.
    cache : EmbeddingCache
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    dict
        By the name of each source: the number of `sounds`, how many were called unknown (`refused`, a share), and
        `detection_report` by their unlikeness.

    Raises
    ------
    ConfigError
        The model is not calibrated, or a source holds no audio that can be read.
    """
    calibration = model.calibration
    if calibration is None:
        raise ConfigError(NOT_CALIBRATED)
    of_known = calibration.unlikeness(track_strangeness(model.head, known, calibration.radii))
    found: dict[str, Any] = {}
    for source in sources:
        tracks = cache.embed(find_audio_files([source]), progress=progress)
        answers = [model.classify(track) for track in tracks if isinstance(track, TrackEmbedding)]
        if not answers:
            raise ConfigError(f"{source}: no audio in it can be read; give sounds that are none of the model's classes.")
        unlikeness = np.array([answer.unlikeness for answer in answers])
        found[str(source)] = {
            "sounds": len(answers),
            "refused": float(np.mean([not answer.known for answer in answers])),
            **detection_report(of_known, unlikeness),
        }
    return found
