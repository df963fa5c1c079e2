"""Recorded speech: the prompts and dialogues of packages, joined into files of a minute."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pecmae.audio.segments import load_audio
from pecmae.errors import AudioError

from .catalogue import read_rows
from .decoding import SAMPLING_RATE, keep_copyright, write_sound
from .packages import Fetch, Package, fetch_debian, unpacked

__all__ = ["SpeechSource", "collect_speech", "read_speech_sources"]

SPEECH = Path(__file__).with_name("speech.csv")
_FILE_SECONDS, _PAUSE_SECONDS = 60.0, 0.25
_SHORTEST_SECONDS = 0.4  # letters and digits make a stutter, not speech
_PEAK = 0.5


@dataclass(frozen=True)
class SpeechSource:
    """A Debian package of recorded speech."""

    package: str
    language: str
    licence: str
    split: str


def read_speech_sources(path: Path = SPEECH) -> list[SpeechSource]:
    """Read the list of packages of speech."""
    return read_rows(SpeechSource, path)


def collect_speech(
    sources: list[SpeechSource], packages: Mapping[str, Package], output: Path, *, fetch: Fetch = fetch_debian
) -> Iterator[Path]:
    """Join each package's recordings into ``output/SPLIT/PACKAGE/NNN.wav``; yields each file.

    A package that has left its copyright file in ``output/copyright`` is complete and is not fetched again.
    """
    for source in sources:
        folder = output / source.split / source.package
        if not (output / "copyright" / source.package).exists():
            with unpacked(packages[source.package], fetch) as files:
                recordings = sorted(p for p in files.rglob("*") if p.suffix in {".wav", ".ogg"})
                for number, minute in enumerate(_minutes(recordings)):
                    write_sound(folder / f"{number:03d}.wav", minute)
                keep_copyright(files, source.package, output)
        yield from sorted(folder.glob("*.wav"))


def _minutes(recordings: list[Path]) -> Iterator[np.ndarray]:
    """Join recordings of the same peak, with pauses, into arrays (samples,) of about a minute."""
    parts: list[np.ndarray] = []
    length = 0
    for path in recordings:
        try:
            samples = load_audio(path, target_rate=SAMPLING_RATE)
        except AudioError:
            continue  # some prompts are empty files, on purpose
        peak = float(np.abs(samples).max())
        if len(samples) < _SHORTEST_SECONDS * SAMPLING_RATE or peak < 0.01:
            continue
        parts += [samples * (_PEAK / peak), np.zeros(round(_PAUSE_SECONDS * SAMPLING_RATE), np.float32)]
        length += len(parts[-2]) + len(parts[-1])
        if length >= _FILE_SECONDS * SAMPLING_RATE:
            yield np.concatenate(parts)
            parts, length = [], 0
    if parts:
        yield np.concatenate(parts)
