"""Mel filter banks."""

import numpy as np


def mel_bank(n_fft: int, bands: int, sampling_rate: int, *, lowest_hz: float = 0.0, narrowest_hz: float = 0.0) -> np.ndarray:
    """Triangles of height 1, equally wide in HTK's mel from `lowest_hz` to half the rate.

    Parameters
    ----------
    n_fft, bands, sampling_rate : int
    lowest_hz : float
        Where the first triangle begins.
    narrowest_hz : float
        Width that the side of a triangle has at least; a bin's, and no band stays empty.

    Returns
    -------
    np.ndarray [shape=(n_fft // 2 + 1, bands)]
    """
    lowest, highest = (2595 * np.log10(1 + hertz / 700) for hertz in (lowest_hz, sampling_rate / 2))
    edges = 700 * (10 ** (np.linspace(lowest, highest, bands + 2) / 2595) - 1)  # (bands + 2,) Hz
    bins = np.linspace(0, sampling_rate / 2, n_fft // 2 + 1)[:, None]
    centres, sides = edges[1:-1], np.maximum(np.diff(edges), narrowest_hz)
    rise, fall = (bins - centres) / sides[:-1] + 1, (centres - bins) / sides[1:] + 1
    return np.minimum(rise, fall).clip(0)
