"""What prototypes listen to that is not music: level, bandwidth, noise floor, and where a recording comes from.

Shapes: N tracks, M prototypes, G groups of tracks.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from pecmae.audio.segments import load_audio
from pecmae.errors import PecmaeError
from pecmae.evaluation.stability import said_before

# A property counts as heard from this correlation on, where it is also no accident.
FLAGGED, ACCIDENT = 0.5, 0.01
FRAME_SECONDS, HEARD_SECONDS = 0.05, 60
# Of the frames of a track, the share that is as soft as its noise floor; of its energy, what lies within its bandwidth.
SOFTEST, WITHIN = 0.1, 0.99
SMALLEST = 1e-5  # −100 dB
# Tracks that a kind of file needs to count as a source.
FEWEST = 5
N_FFT = 1024


def recording_properties(path: Path, sampling_rate: int) -> dict[str, float]:
    """Level, noise floor (dB of full scale) and bandwidth (Hz) of the first minute of a file, mixed and at one rate."""
    wave = load_audio(path, target_rate=sampling_rate)[: HEARD_SECONDS * sampling_rate]
    frame = round(FRAME_SECONDS * sampling_rate)
    whole = wave[: len(wave) // frame * frame].reshape(-1, frame) if len(wave) >= frame else wave[None]
    levels = np.sqrt(np.square(whole).mean(1))
    padded = np.pad(wave, (0, max(0, N_FFT - len(wave))))
    spectra = padded[: len(padded) // N_FFT * N_FFT].reshape(-1, N_FFT) * np.hanning(N_FFT)
    energy = np.square(np.abs(np.fft.rfft(spectra))).sum(0).cumsum()
    bandwidth = np.searchsorted(energy, WITHIN * energy[-1]) * sampling_rate / N_FFT
    return {
        "level": _decibels(np.sqrt(np.square(wave).mean())),
        "noise floor": _decibels(float(np.quantile(levels, SOFTEST))),
        "bandwidth": float(bandwidth),
    }


def recording_source(path: Path) -> str:
    """The kind of file that a recording comes as: its format, rate and channels, such as "mp3, 44100 Hz, 2 channels"."""
    try:
        found = soundfile.info(str(path))
    except (soundfile.SoundFileError, OSError):
        return path.suffix.lower().removeprefix(".")
    return f"{found.format.lower()}, {found.samplerate} Hz, {found.channels} channels"


def listening_report(
    similarities: np.ndarray, labels: np.ndarray, paths: Sequence[Path], sampling_rate: int, names: Sequence[str]
) -> dict[str, Any]:
    """Correlate the similarity of tracks to each prototype with properties that are not music, within classes.

    Parameters
    ----------
    similarities : np.ndarray [shape=(N, M)]
        Of tracks to prototypes.
    labels : np.ndarray [shape=(N,)]
        Classes of the tracks: what a class has in common is taken off both sides first.
    paths : sequence of Path [length N]
    sampling_rate : int
        At which tracks are heard, in Hz.
    names : sequence of str [length M]
        Of the prototypes.

    Returns
    -------
    dict
        For each property: `strongest` (the largest absolute correlation), `prototype` that has it, and those `flagged`, whose
        correlation is at least `FLAGGED` and significant at `ACCIDENT` over all prototypes. "source" is the kind of file (see
        `recording_source`), by the correlation ratio, where there are two with `FEWEST` tracks each.
    """
    rows = [_properties_or_none(path, sampling_rate) for path in paths]
    heard = np.array([row is not None for row in rows])
    similarities, labels = similarities[heard], labels[heard]
    found = {}
    kept = [row for row in rows if row is not None]
    for name in kept[0] if kept else ():
        values = np.array([row[name] for row in kept])
        found[name] = _flags(
            _correlations(_within(similarities, labels), _within(values[:, None], labels)[:, 0]), labels, names
        )
    sources = np.array([recording_source(path) for path, usable in zip(paths, heard, strict=True) if usable])
    kinds, counts = np.unique(sources, return_counts=True)
    common = np.isin(sources, kinds[counts >= FEWEST])
    if len(kinds[counts >= FEWEST]) > 1:
        ratios = _correlation_ratios(_within(similarities[common], labels[common]), sources[common])
        found["source"] = _flags(ratios, labels[common], names)
    return found


def _properties_or_none(path: Path, sampling_rate: int) -> Mapping[str, float] | None:
    try:
        with said_before():
            return recording_properties(path, sampling_rate)
    except (PecmaeError, OSError):
        return None


def _within(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Values [shape=(N, ...)] less the mean of their class."""
    means = {label: values[labels == label].mean(0) for label in np.unique(labels)}
    return values - np.stack([means[label] for label in labels])


def _correlations(columns: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Of each centred column [shape=(N, M)] with centred values [shape=(N,)]; 0 where either is constant."""
    lengths = np.sqrt(np.square(columns).sum(0) * np.square(values).sum())
    return np.divide(values @ columns, lengths, out=np.zeros(columns.shape[1]), where=lengths > SMALLEST**2)


def _correlation_ratios(columns: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Share of each column's variance that lies between groups, as a root [shape=(M,)]."""
    total = np.square(columns - columns.mean(0)).sum(0)
    between = sum(
        (groups == group).sum() * np.square(columns[groups == group].mean(0) - columns.mean(0)) for group in np.unique(groups)
    )
    return np.sqrt(np.divide(between, total, out=np.zeros(columns.shape[1]), where=total > SMALLEST**2))


def _flags(correlations: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Those that are large and no accident (Student's t, Bonferroni over the prototypes)."""
    from scipy.stats import t

    freedom = len(labels) - len(np.unique(labels)) - 1
    strongest = int(np.abs(correlations).argmax())
    flagged: list[str] = []
    if freedom > 0:
        limit = t.ppf(1 - ACCIDENT / (2 * len(names)), freedom)
        least = max(FLAGGED, limit / np.sqrt(freedom + limit**2))
        flagged = [names[int(m)] for m in np.flatnonzero(np.abs(correlations) >= least)]
    return {"strongest": float(correlations[strongest]), "prototype": names[strongest], "flagged": flagged}


def _decibels(amplitude: float) -> float:
    return float(20 * np.log10(max(float(amplitude), SMALLEST)))
