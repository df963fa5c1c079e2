"""Reggae: the one drop, an off-beat skank, the organ's bubble and a melodic bass.

Counted slowly (59 to 86 beats a minute): kick and stick drop together on beats two and four, the kick never on one; the skank
falls between the beats.
"""

from __future__ import annotations

import numpy as np

from ..patterns import HAT, KICK, OPEN_HAT, SHAKER, SNARE, STICK, TOMS, Melody, chance, pick, uniform
from ..score import Song
from ..theory import Chord, nearest, progression, scale_pitches, voicing

FORMS = (
    ("major", "I IV"), ("major", "I V"), ("major", "I ii"), ("major", "I vi IV V"), ("major", "I V vi IV"),
    ("major", "I IV I V"), ("minor", "i iv"), ("minor", "i bVII"), ("minor", "i v"), ("minor", "i bVII bVI v"),
    ("minor", "i7 iv7 i7 v7"), ("major", "I iii IV V"),
)  # fmt: skip
# (beat, length, step above the root); most leave beat one empty or short.
BASS_LINES = (
    ((0.5, 0.4, 0), (1, 0.8, 0), (2, 0.4, 7), (2.5, 0.4, 5), (3, 0.8, 4)),
    ((0, 0.8, 0), (1.5, 0.4, 7), (2, 0.9, 0), (3.5, 0.4, -5)),
    ((0, 0.4, 0), (0.5, 0.4, 0), (1.5, 0.4, 4), (2, 0.8, 7), (3, 0.4, 4)),
    ((1, 0.4, 0), (1.5, 0.4, 0), (2, 0.4, 4), (2.5, 0.9, 7)),
    ((0, 1.3, 0), (2, 0.4, 7), (2.5, 0.4, 7), (3, 0.4, 12), (3.5, 0.4, 7)),
    ((0.5, 0.4, -5), (1, 0.9, 0), (2.5, 0.4, 4), (3, 0.9, 7)),
)
LEAD_RHYTHMS = ("x---x-x-", ".x.xx---", "..x-x-x-", "x-xx----", "xx-xx---", "x-------")


def compose(rng: np.random.Generator, seconds: float) -> Song:
    """Compose a reggae track."""
    song = Song(
        rng, tempo=uniform(rng, 118, 172) / 2, seconds=seconds, swing=uniform(rng, 0.5, 0.62), swing_unit=0.25,
        timing=0.008, touch=6, room=uniform(rng, 0.3, 0.8), wet=uniform(rng, 0.2, 0.7),
        balance={"drums": 4, "skank": -2, "lead": 4, "organ": 4},
    )  # fmt: skip
    tonic = int(rng.integers(12))
    mode, form = pick(rng, FORMS)
    chords = progression(form, tonic)
    _drums(song, rng)
    _bass(song, rng, chords)
    _skank(song, rng, chords)
    if chance(rng, 0.65):
        _bubble(song, rng, chords)
    if chance(rng, 0.8):
        _lead(song, rng, chords, tonic, mode)
    return song


def _drums(song: Song, rng: np.random.Generator) -> None:
    part = song.part("drums", pick(rng, (0, 0, 8, 25)), volume=int(rng.integers(90, 112)), reverb=45)
    third = pick(rng, (STICK, STICK, SNARE))
    hats = pick(rng, ("x.x.x.x.x.x.x.x.", "x.xxx.xxx.xxx.xx", "..x...x...x...x.", "xoxoxoxoxoxoxoxo"))
    shaker = chance(rng, 0.25)
    for index, start in song.bars():
        part.grid(start, ".x.x", KICK, 108, step=1)
        part.grid(start, ".x.x", third, 98, step=1)
        part.grid(start, hats, HAT, 66)
        if chance(rng, 0.25):
            part.grid(start, pick(rng, ("......o.......o.", "...o..x.........", "..........x..x..")), STICK, 80)
        if chance(rng, 0.15):
            part.add(start + 3.5, 0.4, OPEN_HAT, 70)
        if shaker:
            part.grid(start, "xxxxxxxx", SHAKER, 58, step=0.5)
        if index % 4 == 3 and chance(rng, 0.6):  # high timbale-like roll into the next phrase
            for place in range(int(rng.integers(2, 5))):
                part.add(start + 3 + place * 0.25, 0.2, pick(rng, (SNARE, TOMS[0], TOMS[1])), 92)


def _bass(song: Song, rng: np.random.Generator, chords: list[Chord]) -> None:
    part = song.part("bass", pick(rng, (33, 33, 32, 35, 39)), volume=int(rng.integers(112, 127)), reverb=8)
    lines = (pick(rng, BASS_LINES), pick(rng, BASS_LINES))
    for index, start in song.bars():
        chord = chords[index % len(chords)]
        root = nearest(chord.root, 34)
        for beat, length, step in lines[index % 2]:
            step = chord.third if step == 4 else step
            part.add(start + beat, length, root + step, 106)


def _skank(song: Song, rng: np.random.Generator, chords: list[Chord]) -> None:
    part = song.part("skank", pick(rng, (27, 27, 28, 25, 26)), volume=int(rng.integers(85, 110)), pan=int(rng.integers(20, 55)))
    double = chance(rng, 0.25)
    piano = song.part("piano", 0, volume=75, pan=85) if chance(rng, 0.5) else None
    for index, start in song.bars():
        shape = voicing(chords[index % len(chords)], 66)[:3]
        for half in (0.5, 1.5, 2.5, 3.5):
            part.chord(start + half, 0.15, shape, 92, strum=0.01)
            if double:
                part.chord(start + half + 0.25, 0.1, shape, 70)
            if piano is not None:
                piano.chord(start + half, 0.15, voicing(chords[index % len(chords)], 60), 74)


def _bubble(song: Song, rng: np.random.Generator, chords: list[Chord]) -> None:
    part = song.part("organ", pick(rng, (16, 17, 18)), volume=int(rng.integers(55, 82)), pan=80, chorus=40)
    for index, start in song.bars():
        chord = chords[index % len(chords)]
        for place in range(8):  # left hand around the off-beat, right hand on it
            part.chord(start + place * 0.5 + 0.25, 0.12, voicing(chord, 52)[:2], 62)
            if place % 2:
                part.chord(start + place * 0.5, 0.2, voicing(chord, 64), 74)


def _lead(song: Song, rng: np.random.Generator, chords: list[Chord], tonic: int, mode: str) -> None:
    program = pick(rng, (22, 21, 57, 56, 61, 66, 54, 53, 18, 73))
    part = song.part("lead", program, volume=int(rng.integers(75, 105)), reverb=90)
    scale = mode if chance(rng, 0.5) else f"{mode} pentatonic"
    line = Melody(rng, scale_pitches(tonic, scale, 58, 76), LEAD_RHYTHMS, order=pick(rng, ("ab..", "abac", "a.b.", "aab.")))
    for index, start in song.bars():
        for beat, length, pitch in line.bar(index, chords[index % len(chords)]):
            part.add(start + beat, length * 0.9, pitch, 88)
