"""Short solos on the eight instruments of Medley-Solos-DB: an unaccompanied line in the register and manner of each instrument.

Piano adds a left hand or plays chords; the distorted guitar has riffs in fifths, or lead lines with bends; the singer and the
bowed and blown instruments have vibrato; reeds and voice scoop into their notes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from .patterns import Melody, chance, pick, rhythm, uniform
from .score import Part, Song
from .theory import SCALES, Chord, nearest, power_chord, progression, scale_pitches, voicing

__all__ = ["SOLOS"]

RHYTHMS = (
    "x---x---", "x-x-x-x-", "xxxxxxxx", "x-xxx-xx", "x-------", "x---xxxx", "xxx-x---", "x-x---xx", "x--xx--x", "xx-x-xx-",
)  # fmt: skip
FORMS = ("I IV V I", "I vi ii V", "i iv V i", "i bVI bVII i", "ii7 V7 Imaj7 VI7", "I V vi IV", "i bVII IV i")
SCALE_CHOICES = {
    "minor": ("minor", "harmonic minor", "dorian", "blues"),
    "major": ("major", "major", "mixolydian", "major pentatonic"),
}
VIBRATO_STEP = 0.04  # seconds between two values of the bend


@dataclass(frozen=True)
class Instrument:
    """How an instrument is played.

    Attributes
    ----------
    programs : tuple of int
        General MIDI programs that stand for it.
    low, high : int
        Its register, as MIDI note numbers.
    leap : int
        Largest step of a contour, in scale places.
    vibrato : float
        Largest depth of vibrato in semitones.
    scoop : float
        Probability that a note is slid into from below.
    """

    programs: tuple[int, ...]
    low: int
    high: int
    leap: int = 2
    vibrato: float = 0.0
    scoop: float = 0.0


INSTRUMENTS = {
    "clarinet": Instrument((71,), 50, 86, leap=3, scoop=0.1),
    "distorted-electric-guitar": Instrument((30, 30, 29), 40, 84, leap=2, vibrato=0.3, scoop=0.3),
    "female-singer": Instrument((53, 53, 54, 52, 85), 55, 79, leap=1, vibrato=0.5, scoop=0.35),
    "flute": Instrument((73, 73, 73, 72), 60, 93, leap=2, vibrato=0.2),
    "piano": Instrument((0, 0, 1, 3), 48, 90, leap=3),
    "tenor-saxophone": Instrument((66,), 44, 74, leap=2, vibrato=0.25, scoop=0.3),
    "trumpet": Instrument((56, 56, 56, 59), 54, 84, leap=2, vibrato=0.15, scoop=0.1),
    "violin": Instrument((40, 40, 110), 55, 96, leap=2, vibrato=0.35, scoop=0.1),
}


def compose(name: str, rng: np.random.Generator, seconds: float) -> Song:
    """Compose a solo for one instrument."""
    instrument = INSTRUMENTS[name]
    song = Song(
        rng, tempo=uniform(rng, 62, 168), seconds=seconds, swing=pick(rng, (0.5, 0.5, 0.6, 0.66)), timing=0.010, touch=8,
        room=uniform(rng, 0.0, 0.9), wet=uniform(rng, 0.0, 0.6),
    )  # fmt: skip
    part = song.part("solo", pick(rng, instrument.programs), reverb=int(rng.integers(0, 100)))
    tonic = int(rng.integers(12))
    form = pick(rng, FORMS)
    chords = progression(form, tonic)
    if name == "piano":
        _left_hand(song, rng, part, chords)
    if name == "distorted-electric-guitar" and chance(rng, 0.5):
        _riff(song, rng, part, chords, tonic)
    else:
        _line(song, rng, part, instrument, chords, tonic, minor=form.startswith("i "))
    return song


def _line(
    song: Song, rng: np.random.Generator, part: Part, instrument: Instrument, chords: list[Chord], tonic: int, *, minor: bool
) -> None:
    """One voice, in a random part of the register, detached or legato, soft or loud."""
    low = int(rng.integers(instrument.low, instrument.high - 15))
    scale = pick(rng, SCALE_CHOICES["minor" if minor else "major"])
    step = 0.25 if song.tempo < 90 and chance(rng, 0.5) else 0.5
    rhythms = tuple(pattern * 2 for pattern in RHYTHMS) if step == 0.25 else RHYTHMS
    line = Melody(rng, scale_pitches(tonic, scale, low, low + 16), rhythms, step=step, leap=instrument.leap, order="abcb")
    legato, level = uniform(rng, 0.6, 1.02), uniform(rng, 62, 112)
    depth = uniform(rng, 0.0, instrument.vibrato)
    rate = uniform(rng, 4.5, 6.5)
    for index, start in song.bars():
        for beat, length, pitch in line.bar(index, chords[index % len(chords)]):
            begin, duration = start + beat, length * legato
            part.add(begin, duration, pitch, level + 8 * (beat % 1 == 0))
            if chance(rng, instrument.scoop):
                part.slide(begin, pick(rng, (-1.0, -1.0, -2.0)), min(0.25, duration / 2))
            elif depth > 0.05 and duration * 60 / song.tempo > 0.3:
                _vibrato(song, part, begin, duration, depth, rate)


def _vibrato(song: Song, part: Part, start: float, duration: float, depth: float, rate: float) -> None:
    """Bend a note by a sine that grows after the first 150 ms."""
    seconds = duration * 60 / song.tempo
    times = np.arange(0.15, seconds, VIBRATO_STEP)
    growth = np.minimum(1.0, (times - 0.15) / 0.3)
    for time, bend in zip(times, depth * growth * np.sin(2 * np.pi * rate * (times - 0.15)), strict=True):
        part.bends.append((start + float(time) * song.tempo / 60, float(bend)))
    part.bends.append((start + duration, 0.0))


def _left_hand(song: Song, rng: np.random.Generator, part: Part, chords: list[Chord]) -> None:
    style = pick(rng, ("none", "block", "broken", "bass"))
    if style == "none":
        return
    for index, start in song.bars():
        chord = chords[index % len(chords)]
        shape, root = voicing(chord, 52)[:3], nearest(chord.root, 38)
        if style == "block":
            for beat in (0, 2):
                part.chord(start + beat, 1.9, (root, *shape), 62)
        elif style == "broken":
            for place in range(8):
                part.add(start + place * 0.5, 0.55, (root, *shape)[(0, 1, 2, 3, 2, 3, 2, 1)[place] % (1 + len(shape))], 62)
        else:
            part.add(start, 1.9, root, 70)
            part.add(start + 2, 1.9, nearest(chord.pitch_classes[2], root), 66)


def _riff(song: Song, rng: np.random.Generator, part: Part, chords: list[Chord], tonic: int) -> None:
    """Fifths and octaves on the low strings, muted or ringing."""
    pattern = rhythm(pick(rng, RHYTHMS) * 2, 0.25) if chance(rng, 0.5) else rhythm(pick(rng, RHYTHMS))
    muted = uniform(rng, 0.3, 1.0)
    degrees = [int(rng.integers(len(SCALES["minor pentatonic"]))) for _ in pattern]
    low = scale_pitches(tonic, "minor pentatonic", 40, 58)
    follow = chance(rng, 0.5)
    for index, start in song.bars():
        for (beat, length), degree in zip(pattern, degrees, strict=True):
            fifth = power_chord(chords[index % len(chords)], 40) if follow else (low[degree], low[degree] + 7)
            part.chord(start + beat, length * muted, fifth, 98 + 10 * (beat % 1 == 0))


SOLOS: dict[str, Callable[[np.random.Generator, float], Song]] = {name: partial(compose, name) for name in INSTRUMENTS}
