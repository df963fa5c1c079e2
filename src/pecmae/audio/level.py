"""How loud sounds are that people play one after the other: alike, and without clicks. Nothing is computed from these."""

import numpy as np

TARGET_LUFS = -20.0
# A sound is not raised by more: almost-silence stays quiet.
LARGEST_GAIN_DB = 24.0
# Peaks stay below; a sound that would reach it stays quieter than the target.
PEAK = 0.99
FADE_SECONDS = 0.01
# Integrated loudness averages blocks of this length (ITU-R BS.1770); a shorter sound is one block.
BLOCK_SECONDS = 0.4


def for_playing(samples: np.ndarray, sampling_rate: int) -> np.ndarray:
    """A sound at the loudness of all that is played, faded in and out.

    Parameters
    ----------
    samples : np.ndarray [shape=(N,)]
        float32, full scale 1; left as it is.
    sampling_rate : int
        In Hz.

    Returns
    -------
    np.ndarray [shape=(N,), float32]
        At -20 LUFS, unless that took more than 24 dB or a peak above 0.99. Silence stays silent.
    """
    gain = min(10 ** ((TARGET_LUFS - loudness(samples, sampling_rate)) / 20), 10 ** (LARGEST_GAIN_DB / 20))
    peak = float(np.abs(samples).max(initial=0.0))
    if peak:
        gain = min(gain, PEAK / peak)
    return (gain * samples * _fades(len(samples), sampling_rate)).astype(np.float32)


def loudness(samples: np.ndarray, sampling_rate: int) -> float:
    """Integrated loudness of `samples` [shape=(N,)] in LUFS; -inf for silence."""
    # Imported here: it brings scipy's signal processing, which takes long to load.
    from pyloudnorm import Meter

    if not len(samples) or not np.abs(samples).max():
        return -np.inf
    meter = Meter(sampling_rate, block_size=min(BLOCK_SECONDS, len(samples) / sampling_rate))
    with np.errstate(divide="ignore"):
        return float(meter.integrated_loudness(samples))


def _fades(length: int, sampling_rate: int) -> np.ndarray:
    """Raised-cosine gains [shape=(length,)] from 0 at the first sample and to 0 at the last; a short sound has only fades."""
    width = min(round(FADE_SECONDS * sampling_rate), length // 2)
    gains = np.ones(length, np.float32)
    if width:
        rise = np.sin(np.linspace(0, np.pi / 2, width, endpoint=False)) ** 2
        gains[:width], gains[-width:] = rise, rise[::-1]
    return gains
