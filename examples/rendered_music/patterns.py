"""Rhythm and melody that several genres share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from .score import Part
from .theory import Chord, chord_tones, nearest

__all__ = ["Melody", "chance", "drum_fill", "pick", "rhythm", "uniform", "walking_bar"]

T = TypeVar("T")

# General MIDI percussion keys.
KICK, STICK, SNARE, CLAP, SNARE2 = 36, 37, 38, 39, 40
HAT, PEDAL_HAT, OPEN_HAT, CRASH, RIDE, BELL = 42, 44, 46, 49, 51, 53
TOMS = (50, 48, 45, 43, 41)
TAMBOURINE, COWBELL, SHAKER, CONGA_LOW, CONGA_HIGH, CONGA_MUTE = 54, 56, 82, 64, 63, 62


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Draw one of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]


def chance(rng: np.random.Generator, probability: float) -> bool:
    """Decide: True with the given probability."""
    return bool(rng.random() < probability)


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number between two bounds."""
    return float(rng.uniform(low, high))


def rhythm(pattern: str, step: float = 0.5) -> list[tuple[float, float]]:
    """Read a rhythm as (onset, duration) in beats: ``x`` starts a note, ``-`` holds it, ``.`` rests."""
    notes: list[tuple[float, float]] = []
    for index, mark in enumerate(pattern):
        if mark == "x":
            notes.append((index * step, step))
        elif mark == "-" and notes:
            onset, duration = notes[-1]
            notes[-1] = (onset, duration + step)
    return notes


def drum_fill(part: Part, rng: np.random.Generator, end: float, velocity: float = 95, beats: float = 1.0) -> None:
    """Sixteenths on snare and toms over the last ``beats`` before ``end``."""
    count = round(beats * 4)
    for index in range(count):
        if chance(rng, 0.85):
            drum = SNARE if chance(rng, 0.3) else TOMS[min(len(TOMS) - 1, index * len(TOMS) // count)]
            part.add(end - beats + index * 0.25, 0.2, drum, velocity * (0.8 + 0.2 * index / count))


class Melody:
    """A line of recurring one-bar motifs: heard ideas, not a random walk.

    A motif is a rhythm and a contour. Each time it starts on the chord tone nearest to where the line stands, and notes on the
    beat are drawn to chord tones.

    Parameters
    ----------
    rng : np.random.Generator
        Draws rhythms and contours, once.
    pitches : sequence of int
        The pitches that the line may use, ascending.
    rhythms : sequence of str
        Rhythms of one bar, see :func:`rhythm`.
    step : float
        Length of a mark of a rhythm in beats.
    leap : int
        Largest step of a contour, in places of ``pitches``.
    order : str
        The sequence of motifs, one letter a bar; a dot is a bar of rest.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        pitches: Sequence[int],
        rhythms: Sequence[str],
        *,
        step: float = 0.5,
        leap: int = 2,
        order: str = "abac",
    ) -> None:
        self.pitches, self.order = list(pitches), order
        self.place = len(self.pitches) // 2
        self.motifs: dict[str, list[tuple[float, float, int]]] = {}
        for name in sorted(set(order) - {"."}):
            notes = rhythm(pick(rng, rhythms), step)
            self.motifs[name] = [(onset, length, int(rng.integers(-leap, leap + 1))) for onset, length in notes]

    def bar(self, index: int, chord: Chord) -> list[tuple[float, float, int]]:
        """Give the notes of a bar of the form as (beat, duration, pitch)."""
        name = self.order[index % len(self.order)]
        if name == ".":
            return []
        home = (len(self.pitches) // 2 + self.place) // 2
        self.place = self._to_chord(home, chord)
        line = []
        for onset, length, move in self.motifs[name]:
            self.place = min(len(self.pitches) - 1, max(0, self.place + move))
            if onset % 1 == 0 or length >= 1:
                self.place = self._to_chord(self.place, chord)
            line.append((onset, length, self.pitches[self.place]))
        return line

    def _to_chord(self, place: int, chord: Chord) -> int:
        tones = [index for index, pitch in enumerate(self.pitches) if pitch % 12 in chord.pitch_classes]
        return min(tones, key=lambda index: abs(index - place)) if tones else place


def walking_bar(rng: np.random.Generator, chord: Chord, following: Chord, last: int, beats: int = 4) -> list[int]:
    """Walk a bar: the root, chord tones on the way, and a step by semitone or tone into the next root."""
    low, high = 28, 50
    root = nearest(chord.root, min(high - 5, max(low + 5, last)))
    target = nearest(following.root, root)
    line = [root]
    for _ in range(beats - 2):
        tones = [pitch for pitch in chord_tones(chord, low, high) if pitch != line[-1] and abs(pitch - line[-1]) <= 7]
        line.append(pick(rng, tones) if tones else root)
    line.append(target + pick(rng, (-1, 1, -1, 2, -2)))
    return [pitch if pitch >= low else pitch + 12 for pitch in line]
