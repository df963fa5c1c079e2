"""Blues: twelve bars of dominant sevenths, a shuffle, a boogie bass, and a lead that calls and answers with blue notes."""

from __future__ import annotations

import numpy as np

from ..patterns import CRASH, HAT, KICK, PEDAL_HAT, RIDE, SNARE, Melody, chance, drum_fill, pick, uniform
from ..score import Song
from ..theory import Chord, nearest, progression, scale_pitches, voicing

FORMS = (
    "I7 I7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7",
    "I7 IV7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7",
    "I7 IV7 I7 I7 IV7 #ivdim7 I7 VI7 ii7 V7 I7 V7",
    "i7 i7 i7 i7 iv7 iv7 i7 i7 bVI7 V7 i7 V7",
    "I7 I7 I7 I7 IV7 IV7 I7 I7 V7 V7 I7 I7",
)
LEAD_RHYTHMS = ("xxx-x---", ".xxxx---", "x-xxx-x-", "xxxxxx--", ".x.xx---", "..xxxx--", "x---xxx-")
BOOGIES = ((0, 4, 7, 9, 10, 9, 7, 4), (0, 0, 7, 7, 9, 9, 7, 7), (0, 4, 7, 9), (0, 7, 9, 7))


def compose(rng: np.random.Generator, seconds: float) -> Song:
    """Compose a blues."""
    slow = chance(rng, 0.3)
    tempo = uniform(rng, 58, 80) if slow else uniform(rng, 92, 138)
    song = Song(
        rng, tempo=tempo, seconds=seconds, swing=uniform(rng, 0.62, 0.68), timing=0.010, touch=8,
        room=uniform(rng, 0.2, 0.6), wet=uniform(rng, 0.2, 0.6), balance={"drums": 4, "lead": -2},
    )  # fmt: skip
    tonic = pick(rng, (4, 9, 7, 0, 10, 2, 5))
    chords = progression(pick(rng, FORMS), tonic)
    acoustic = chance(rng, 0.2)
    if not acoustic:
        _drums(song, rng, ride=chance(rng, 0.4))
    if not acoustic or chance(rng, 0.4):
        _bass(song, rng, chords, slow)
    _comping(song, rng, chords, acoustic)
    _lead(song, rng, chords, tonic, acoustic)
    return song


def _drums(song: Song, rng: np.random.Generator, ride: bool) -> None:
    part = song.part("drums", pick(rng, (0, 0, 8, 40)), volume=int(rng.integers(75, 105)), reverb=35)
    cymbal = RIDE if ride else HAT
    kick = pick(rng, ("x...x...", "x..xx...", "x...x..x", "x.x.x.x."))
    for index, start in song.bars():
        part.grid(start, pick(rng, ("XoxoXoxo", "XxXxXxXx", "X.xxX.xx")), cymbal, 72, step=0.5)
        part.grid(start, kick, KICK, 92, step=0.5)
        part.grid(start, "..X...X.", SNARE, 88, step=0.5)
        if ride:
            part.grid(start, "..x...x.", PEDAL_HAT, 60, step=0.5)
        if index % 12 == 11 and chance(rng, 0.7):
            drum_fill(part, rng, start + 4, 90)
        if index % 12 == 0:
            part.add(start, 1, CRASH, 75)


def _bass(song: Song, rng: np.random.Generator, chords: list[Chord], slow: bool) -> None:
    part = song.part("bass", pick(rng, (32, 33, 33, 34)), volume=int(rng.integers(90, 115)), reverb=20)
    figure = pick(rng, BOOGIES)
    eighths = (slow or chance(rng, 0.3)) and len(figure) == 8
    for index, start in song.bars():
        chord = chords[index % 12]
        root = nearest(chord.root, 35)
        for beat in range(8 if eighths else 4):
            step = figure[beat % len(figure)] if eighths else figure[(beat + 4 * (index % 2)) % len(figure)]
            step = chord.third if step == 4 else step
            length = 0.5 if eighths else 1.0
            part.add(start + beat * length, length * 0.85, root + step, 92)


def _comping(song: Song, rng: np.random.Generator, chords: list[Chord], acoustic: bool) -> None:
    style = pick(rng, ("shuffle", "shuffle", "stabs", "organ", "piano"))
    if acoustic:
        style = "shuffle"
    program = {
        "shuffle": pick(rng, (25, 26, 27, 29)), "stabs": pick(rng, (26, 27, 61)),
        "organ": pick(rng, (16, 17, 18)), "piano": pick(rng, (0, 1, 3)),
    }[style]  # fmt: skip
    if acoustic:
        program = pick(rng, (24, 25))
    part = song.part("comping", program, volume=int(rng.integers(70, 100)), pan=int(rng.integers(30, 60)))
    stabs = pick(rng, ((1.5, 3.5), (1, 3), (0.5, 2.5), (1, 2.5, 3)))
    for index, start in song.bars():
        chord = chords[index % 12]
        low = 40 + (chord.root - 40) % 12
        if style == "shuffle":  # fifth and sixth in alternation over the root
            for beat in range(4):
                top = low + (9 if beat % 2 else 7)
                part.chord(start + beat, 0.45, (low, top), 84)
                part.chord(start + beat + 0.5, 0.3, (low, top), 66)
        elif style == "organ":
            part.chord(start, 3.9, voicing(chord, 60), 70)
        else:
            for onset in stabs:
                part.chord(start + onset, 0.4, voicing(chord, 62), 76)
            if style == "piano":
                part.chord(start, 0.9, (low - 12, low), 74)


def _lead(song: Song, rng: np.random.Generator, chords: list[Chord], tonic: int, acoustic: bool) -> None:
    program = pick(rng, (22, 24, 25, 22)) if acoustic else pick(rng, (22, 26, 27, 29, 29, 66, 65, 0, 30))
    part = song.part("lead", program, volume=int(rng.integers(88, 115)), pan=int(rng.integers(60, 90)), reverb=60)
    scale = pick(rng, ("blues", "blues", "minor pentatonic", "major blues"))
    pitches = scale_pitches(tonic, scale, 55, 80)
    # Two bars of call, two of answer or rest.
    line = Melody(rng, pitches, LEAD_RHYTHMS, leap=2, order=pick(rng, ("aba.", "ab.c", "ab..cd..", "abcb", "aabc")))
    blue = {(tonic + step) % 12 for step in (3, 6, 10)}
    bending = program not in (0,)
    for index, start in song.bars():
        for beat, length, pitch in line.bar(index, chords[index % 12]):
            part.add(start + beat, length * 0.92, pitch, 96)
            if bending and pitch % 12 in blue and length >= 0.5 and chance(rng, 0.6):
                part.slide(start + beat, -1.0, 0.25)
