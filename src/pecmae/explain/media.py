"""Pictures and sounds small enough for a page."""

import base64
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

from pecmae.audio.mel import mel_bank

if TYPE_CHECKING:
    pass

WINDOW_SAMPLES = 1024
# Quieter than this below the loudest place is left blank.
RANGE_DB = 60.0
# Above 1, what is quiet is drawn fainter.
CONTRAST = 1.7
# A picture's loudest place counts as at least this loud (dB of full scale), so that near-silence stays blank.
FLOOR_DB = -50.0
LOWEST_HZ = 40.0
# Shades of a picture: 4 bits a pixel.
SHADES = 16


def spectrogram(samples: np.ndarray, sampling_rate: int, *, width: int = 160, height: int = 64) -> np.ndarray:
    """Mel spectrogram as shades.

    Parameters
    ----------
    samples : np.ndarray [shape=(N,)]
        float32.
    sampling_rate : int
        In Hz.
    width, height : int
        Columns (time) and rows (mel bands, the lowest last) of the picture.

    Returns
    -------
    np.ndarray [shape=(height, width), uint8]
        0 (blank) … 15.
    """
    centres = (np.arange(width) + 0.5) * len(samples) / width
    starts = np.round(centres).astype(int)
    padded = np.pad(samples, WINDOW_SAMPLES // 2)
    frames = padded[np.minimum(starts, len(samples) - 1)[:, None] + np.arange(WINDOW_SAMPLES)]  # (width, window)
    window = np.hanning(WINDOW_SAMPLES).astype(np.float32)
    magnitude = np.abs(np.fft.rfft(frames * window, axis=1)) * (2 / window.sum())  # (width, bins)
    bands = mel_bank(
        WINDOW_SAMPLES, height, sampling_rate, lowest_hz=LOWEST_HZ, narrowest_hz=sampling_rate / WINDOW_SAMPLES
    ).T  # (height, bins)
    decibels = 10 * np.log10(bands @ (magnitude.T**2) + 1e-12)  # (height, width)
    loudest = max(float(decibels.max()), FLOOR_DB)
    shades = np.clip((decibels - loudest) / RANGE_DB + 1, 0, 1) ** CONTRAST * (SHADES - 1)
    return np.round(shades[::-1]).astype(np.uint8)


def png(shades: np.ndarray) -> bytes:
    """Encode shades [shape=(height, width), 0 … 15] as a PNG of black ink on nothing: a page inverts it when it is dark."""
    height, width = shades.shape
    even = np.pad(shades, ((0, 0), (0, width % 2)))
    packed = (even[:, ::2] << 4 | even[:, 1::2]).astype(np.uint8)
    rows = np.pad(packed, ((0, 0), (1, 0)))  # each row begins with its filter: none
    opacity = bytes(round(255 * level / (SHADES - 1)) for level in range(SHADES))
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 4, 3, 0, 0, 0)),
        (b"PLTE", bytes(3 * SHADES)),
        (b"tRNS", opacity),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    ]
    chunks = (struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def picture_uri(samples: np.ndarray, sampling_rate: int, *, width: int = 160, height: int = 64) -> str:
    """Return the spectrogram of `samples` [shape=(N,)] as a data URI; parameters as for `spectrogram`."""
    data = png(spectrogram(samples, sampling_rate, width=width, height=height))
    return "data:image/png;base64," + base64.b64encode(data).decode()


def outline(samples: np.ndarray, points: int = 40) -> list[int]:
    """Peaks of equal pieces of `samples` [shape=(N,)], in thousandths of full scale."""
    pieces = np.array_split(np.abs(samples), points)
    return [min(1000, round(1000 * float(piece.max()))) if len(piece) else 0 for piece in pieces]
