"""The work list of a data set: which clips, with which seeds, in which files, made by many processes."""

from __future__ import annotations

import csv
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
import soundfile as sf

from .genres import GENRES
from .render import SAMPLE_RATE, draw_chain, render_song
from .score import Song
from .solos import SOLOS

__all__ = ["FAMILIES", "SPLITS", "Clip", "compose", "plan", "render", "write_index"]

FAMILIES: dict[str, dict[str, Callable[[np.random.Generator, float], Song]]] = {"genres": GENRES, "solos": SOLOS}
SPLITS = ("train", "validation", "test", "other")
UNSEEN_SPLIT = "other"  # the one with effects that no other split has


@dataclass(frozen=True)
class Clip:
    """One clip of a data set: everything that decides how it sounds, but for the sound font."""

    family: str
    split: str
    label: str
    index: int
    seconds: float
    seed: int

    @property
    def path(self) -> Path:
        """Where it lies below the output folder: ``genres/train/jazz/jazz.00012.wav``."""
        return Path(self.family, self.split, self.label, f"{self.label}.{self.index:05d}.wav")

    def generator(self, stage: str) -> np.random.Generator:
        """Seed a random generator that no other clip, and no other stage of this clip, shares."""
        names = (self.family, self.split, self.label, stage)
        return np.random.default_rng([self.seed, self.index, *(crc32(name.encode()) for name in names)])


def plan(family: str, counts: dict[str, int], *, seconds: float, seed: int, labels: Sequence[str] = ()) -> list[Clip]:
    """List the clips to make, labels interleaved, so that a data set that is not yet complete is balanced.

    Parameters
    ----------
    family : str
        ``genres`` or ``solos``.
    counts : dict
        Clips a class, for each split.
    seconds : float
        Length of a clip.
    seed : int
        Seed of the whole data set.
    labels : sequence of str
        The classes; all of the family by default.
    """
    chosen = list(labels) or sorted(FAMILIES[family])
    return [
        Clip(family, split, label, index, seconds, seed)
        for split, count in counts.items()
        for index in range(count)
        for label in chosen
    ]


def compose(clip: Clip) -> tuple[Song, bytes]:
    """Compose a clip: its song and its MIDI file."""
    rng = clip.generator("composition")
    song = FAMILIES[clip.family][clip.label](rng, clip.seconds)
    return song, song.midi(rng)


def render(
    clips: Sequence[Clip], output: Path, sound_font: Path, *, workers: int = 1, keep_midi: bool = False
) -> Iterator[tuple[Clip, bool]]:
    """Make the clips that do not exist yet.

    Yields
    ------
    (Clip, bool)
        Each clip when its file is complete, and whether it was made now (False: it was there).
    """
    jobs = [(clip, output, sound_font, keep_midi) for clip in clips]
    if workers <= 1:
        yield from map(_make, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(_make, jobs)


def write_index(clips: Sequence[Clip], output: Path) -> Path:
    """Write ``index.csv`` (label, path, split, seed) of the clips that exist, and of those listed before."""
    path = output / clips[0].family / "index.csv"
    rows: dict[str, dict[str, str]] = {}
    if path.exists():
        with path.open(newline="") as file:
            rows = {row["path"]: row for row in csv.DictReader(file)}
    for clip in clips:
        if (output / clip.path).exists():
            name = clip.path.relative_to(clip.family).as_posix()
            rows[name] = {"label": clip.label, "path": name, "split": clip.split, "seed": str(clip.seed)}
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["label", "path", "split", "seed"])
        writer.writeheader()
        writer.writerows(rows[name] for name in sorted(rows))
    partial.replace(path)
    return path


def _make(job: tuple[Clip, Path, Path, bool]) -> tuple[Clip, bool]:
    clip, output, sound_font, keep_midi = job
    target = output / clip.path
    midi_target = target.with_suffix(".mid")
    if target.exists() and (midi_target.exists() or not keep_midi):
        return clip, False
    song, midi = compose(clip)
    target.parent.mkdir(parents=True, exist_ok=True)
    if keep_midi:
        midi_target.write_bytes(midi)
    if target.exists():
        return clip, False
    rng = clip.generator("effects")
    chain = draw_chain(rng, unseen=clip.split == UNSEEN_SPLIT)
    samples = render_song(song, midi, sound_font, clip.seconds, chain, rng)
    # A file under its final name is always complete: that is what resuming relies on.
    partial = target.with_name(f".{target.stem}.{os.getpid()}.part")
    sf.write(partial, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    partial.replace(target)
    return clip, True
