"""Harmony: Roman numerals to chords, chords to voicings, scales to pitches. Pitches are MIDI note numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["SCALES", "Chord", "chord_tones", "nearest", "power_chord", "progression", "scale_pitches", "voicing"]

QUALITIES = {
    "": (0, 4, 7),
    "m": (0, 3, 7),
    "5": (0, 7),
    "6": (0, 4, 7, 9),
    "7": (0, 4, 7, 10),
    "9": (0, 4, 7, 10, 14),
    "13": (0, 4, 10, 14, 21),
    "maj7": (0, 4, 7, 11),
    "maj9": (0, 4, 7, 11, 14),
    "m6": (0, 3, 7, 9),
    "m7": (0, 3, 7, 10),
    "m9": (0, 3, 7, 10, 14),
    "m7b5": (0, 3, 6, 10),
    "dim": (0, 3, 6),
    "dim7": (0, 3, 6, 9),
    "7b9": (0, 4, 7, 10, 13),
    "sus4": (0, 5, 7),
    "add9": (0, 4, 7, 14),
}
SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "blues": (0, 3, 5, 6, 7, 10),
    "major blues": (0, 2, 3, 4, 7, 9),
    "major pentatonic": (0, 2, 4, 7, 9),
    "minor pentatonic": (0, 3, 5, 7, 10),
}
_DEGREES = {"I": 0, "II": 2, "III": 4, "IV": 5, "V": 7, "VI": 9, "VII": 11}
_NUMERAL = re.compile(r"([b#]?)(VII|VI|IV|V|III|II|I|vii|vi|iv|v|iii|ii|i)(.*)")


@dataclass(frozen=True)
class Chord:
    """A chord: the pitch class of its root (0 is C) and its intervals in semitones above the root."""

    root: int
    intervals: tuple[int, ...]

    @property
    def pitch_classes(self) -> tuple[int, ...]:
        """Pitch classes of its notes, 0 to 11, root first."""
        return tuple((self.root + interval) % 12 for interval in self.intervals)

    @property
    def third(self) -> int:
        """Semitones from the root to the third (4 where the chord has none)."""
        return 3 if 3 in self.intervals else 4


def progression(numerals: str, tonic: int) -> list[Chord]:
    """Read Roman numerals: ``"ii7 V7 Imaj7"``. Lower case is minor; ``b`` and ``#`` lower and raise the root."""
    return [_parse(numeral, tonic) for numeral in numerals.split()]


def _parse(numeral: str, tonic: int) -> Chord:
    match = _NUMERAL.fullmatch(numeral)
    if match is None:
        raise ValueError(f"{numeral!r} is not a Roman numeral such as I, ii7 or bVII; correct the progression.")
    accidental, degree, quality = match.groups()
    if degree.islower() and not quality.startswith(("dim", "m", "5")):
        quality = "m" + quality
    if quality not in QUALITIES:
        raise ValueError(f"{numeral!r} has the unknown chord quality {quality!r}; use one of {sorted(QUALITIES)}.")
    root = tonic + _DEGREES[degree.upper()] + {"": 0, "b": -1, "#": 1}[accidental]
    return Chord(root % 12, QUALITIES[quality])


def nearest(pitch_class: int, target: int) -> int:
    """Find the pitch of a pitch class closest to ``target``."""
    return target + (pitch_class - target + 6) % 12 - 6


def scale_pitches(tonic: int, scale: str, low: int, high: int) -> list[int]:
    """List the pitches of a scale from ``low`` to ``high``, ascending."""
    members = {(tonic + step) % 12 for step in SCALES[scale]}
    return [pitch for pitch in range(low, high + 1) if pitch % 12 in members]


def chord_tones(chord: Chord, low: int, high: int) -> list[int]:
    """List the pitches of a chord from ``low`` to ``high``, ascending."""
    members = set(chord.pitch_classes)
    return [pitch for pitch in range(low, high + 1) if pitch % 12 in members]


def voicing(chord: Chord, centre: int, *, size: int = 4, rootless: bool = False) -> list[int]:
    """Voice a chord closely around ``centre``: each tone at its nearest place, so that neighbouring chords lead smoothly."""
    classes: Sequence[int] = chord.pitch_classes
    if rootless and len(classes) > 3:
        classes = classes[1:]
    return sorted({nearest(pitch_class, centre) for pitch_class in classes[:size]})


def power_chord(chord: Chord, lowest: int, *, octave: bool = True) -> list[int]:
    """Root, fifth and octave, with the root as low as possible but not below ``lowest``."""
    root = lowest + (chord.root - lowest) % 12
    return [root, root + 7, root + 12] if octave else [root, root + 7]
